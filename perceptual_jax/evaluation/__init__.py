"""How good a restoration is: metrics, and sheets to look at."""
