"""Faces in photographs: found, aligned, and put back restored."""
