"""Restores degraded faces by searching the latent space of a face generator, in JAX.

The public names are those of `__init__.pyi`. They are imported when they are first used, so that
`import perceptual_jax` and the help of the command line do not wait for JAX.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

__version__ = "0.1.0"
