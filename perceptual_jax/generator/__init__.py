"""Generators: the mapping network, StyleGAN2, MobileStyleGAN, and draft resolution."""
