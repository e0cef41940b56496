"""Faces over the frames of a sequence: tracks, smoothed places, and flicker."""
