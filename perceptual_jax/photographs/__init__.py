"""Faces in photographs: found, framed as the generator knows them, and put back."""
