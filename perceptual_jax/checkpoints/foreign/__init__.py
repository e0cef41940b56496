"""Weights under the names and layouts of other projects, converted to this one's."""
