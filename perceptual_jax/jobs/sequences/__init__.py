"""Sequences of frames: their faces are tracked, restored frame by frame, and put back."""
