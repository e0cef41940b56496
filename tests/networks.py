"""Narrow networks of every kind, with random weights."""

import dataclasses
import functools

import jax
import numpy as np
from pictures import as_float, picture

from perceptual_jax.degradation.corruptions import jpeg
from perceptual_jax.degradation.jpeg import JpegHeader
from perceptual_jax.likelihood.config import PRESETS
from perceptual_jax.likelihood.layers import fold
from perceptual_jax.likelihood.likelihood import Likelihood
from perceptual_jax.likelihood.pixelcnn import init_weights
from perceptual_jax.training.step import Batch

NARROW = {"channels": 6, "blocks": 2, "components": 3, "encoder_channels": 8}
FAST = dataclasses.replace(PRESETS["fast"], **NARROW | {"blocks": 1})
PAPER = dataclasses.replace(PRESETS["paper"], **NARROW)
RIGHTWARD = dataclasses.replace(FAST, blocks=2, injection="rightward", mean="condition", phase=8)
CONFIGS = {"fast": FAST, "paper": PAPER, "rightward": RIGHTWARD}


@functools.cache
def batch(n=4, height=32, width=32):
    """Pictures, their JPEGs of quality 15, and the headers."""
    images = [picture(i, height, width) for i in range(n)]
    files = [jpeg(image, quality=15, subsampling="4:2:0") for image in images]
    header = JpegHeader(*(np.stack(x) for x in zip(*(f.header for f in files), strict=True)))
    degraded = np.stack([as_float(file.image) for file in files])
    return Batch(
        jax.numpy.asarray(degraded),
        jax.numpy.asarray(np.stack([*map(as_float, images)])),
        JpegHeader(*map(jax.numpy.asarray, header)),
    )


@functools.cache
def network(config, seed=0):
    """A likelihood with initialised weights."""
    data = batch()
    make = jax.jit(init_weights, static_argnums=0)
    weights = make(
        config, jax.random.key(seed, impl="rbg"), data.degraded, data.restored, data.header
    )
    return Likelihood(fold(weights), config)
