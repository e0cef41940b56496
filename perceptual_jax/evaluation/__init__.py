"""Evaluation of restorations: metrics and comparison sheets."""
