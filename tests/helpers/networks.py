"""Narrow networks of every kind, with random weights."""

import dataclasses
import functools

import jax
import numpy as np

from perceptual_jax.degradation.corruptions import jpeg
from perceptual_jax.likelihood.config import PRESETS
from perceptual_jax.likelihood.likelihood import Likelihood
from perceptual_jax.likelihood.pixelcnn import folded_network, weight_shapes
from perceptual_jax.training.step import Batch
from perceptual_jax.types import JpegHeader
from tests.helpers.pictures import as_float, picture

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
    """A likelihood with random weights, of the spread that keeps a layer's outputs near 1."""
    rng = np.random.default_rng(seed)
    arrays = {}
    for name, shape in weight_shapes(config).items():
        spread = 0.1 if name.endswith(".b") else np.prod(shape[:-1]) ** -0.5
        values = rng.normal(scale=spread, size=shape).astype(np.float32)
        arrays[name] = jax.numpy.asarray(values)
    return Likelihood(folded_network(config, arrays))
