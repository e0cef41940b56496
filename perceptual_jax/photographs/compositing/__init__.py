"""Putting restored faces back into their photograph: warp, masks, colours and grain."""
