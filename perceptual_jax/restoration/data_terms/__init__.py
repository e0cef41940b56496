"""Data terms: how far a picture is from one that degrades to the given one."""
