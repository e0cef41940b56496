"""Scores of folders of pictures: pairs, runs, tables, and what is kept of them."""
