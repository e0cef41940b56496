"""Networks and parameters of metrics, narrow and random, for what needs no trained ones."""

import numpy as np

from perceptual_jax.evaluation.metrics.brisque import Regression
from perceptual_jax.evaluation.metrics.niqe import Pristine
from perceptual_jax.evaluation.metrics.rank_vgg import RankHead

ALEX_KERNELS = (11, 5, 3, 3, 3)
VGG_WIDTHS = (2, 2, 3, 3, 4, 4, 4, 5, 5, 5, 5, 5, 5)


def perceptual_parameters(network):
    """Arrays as of `lpips-alex` or `lpips-vgg`, of a few channels."""
    rng = np.random.default_rng(3)
    kernels = ALEX_KERNELS if network == "alex" else (3,) * 13
    widths = (4, 5, 6, 4, 4) if network == "alex" else VGG_WIDTHS
    heads = range(5) if network == "alex" else (1, 3, 6, 9, 12)
    arrays, before = {}, 3
    for i, (kernel, width) in enumerate(zip(kernels, widths, strict=True)):
        shape = (kernel, kernel, before, width)
        arrays[f"conv{i}.weight"] = rng.normal(size=shape, scale=np.prod(shape[:3]) ** -0.5)
        arrays[f"conv{i}.bias"] = rng.normal(size=width, scale=0.1)
        before = width
    for i, layer in enumerate(heads):
        arrays[f"head{i}"] = rng.uniform(0, 1, widths[layer])
    return {name: value.astype(np.float32) for name, value in arrays.items()}


def pristine():
    """Statistics of the size of those of photographs."""
    rng = np.random.default_rng(4)
    root = rng.normal(size=(36, 36), scale=0.1)
    return Pristine(rng.uniform(0.5, 1.5, 36), root @ root.T + 0.01 * np.eye(36))


def regression():
    """A regression with a few vectors near the statistics of the pictures of `textured`."""
    rng = np.random.default_rng(5)
    return Regression(
        low=np.full(36, -1.0),
        high=np.full(36, 4.0),
        vectors=rng.uniform(-1, 1, (40, 36)),
        weights=rng.normal(size=40, scale=100),
        gamma=np.float64(0.05),
        rho=np.float64(-20.0),
    )


def textured(shape, seed=0):
    """A picture in [-1, 1] of 8-bit levels with edges, texture and a flat part."""
    rng = np.random.default_rng(seed)
    height, width = shape
    smooth = np.cumsum(np.cumsum(rng.normal(size=(height, width, 3)), axis=0), axis=1)
    smooth /= np.abs(smooth).max()
    picture = np.clip(0.7 * smooth + 0.1 * rng.normal(size=(height, width, 3)), -1, 1)
    picture[: height // 8, : width // 8] = 0.5
    return (np.round((picture + 1) * 127.5) / 127.5 - 1).astype(np.float32)


def narrow_rank_head():
    """A head of `rank-vgg (ours)` on the features of the narrow VGG16."""
    rng = np.random.default_rng(6)
    features = 2 * sum(VGG_WIDTHS[layer] for layer in (1, 3, 6, 9, 12))
    arrays = {
        "mean": rng.uniform(0, 1, features),
        "scale": rng.uniform(1, 3, features),
        "weight0": rng.normal(size=(features, 4)),
        "bias0": rng.normal(size=4),
        "weight1": 10 * rng.normal(size=4),
        "bias1": np.float32(3.0),
    }
    return RankHead(**{name: np.asarray(value, np.float32) for name, value in arrays.items()})
