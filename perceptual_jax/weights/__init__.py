"""The weights of generators: what is known, how to get it, how it is kept and loaded."""
