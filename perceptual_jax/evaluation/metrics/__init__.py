"""Metrics: of one picture, of two, of sets of them."""
