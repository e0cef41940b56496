"""Generators as files: what is known by name, how to get it, read it, convert it and load it."""
