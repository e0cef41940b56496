"""A job on a Ray cluster: its address, the engine that hands out inputs, the worker."""
