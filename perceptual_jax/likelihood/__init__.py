"""A learned p(degraded | restored): the network, its exact likelihood, and samples of it."""
