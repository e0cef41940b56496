"""The mean of W under the prior, computed once when a mapping network is converted.

It is the centre of truncation and of the search. NumPy and not JAX, because an accelerator would
multiply float32 matrices at a lower precision, and the numbers should not depend on the machine.
"""

import math

import numpy as np

_CHUNK = 2048


def mean_of_w(
    weights: list[np.ndarray], biases: list[np.ndarray], *, samples: int = 2**17, seed: int = 0
) -> np.ndarray:
    """Estimates the mean of W over seeded standard normal latents.

    Args:
        weights: Effective weights of the mapping network's layers, each [in out].
        biases: Effective biases of the same layers, each [out].
        samples: Number of latents that are mapped, rounded up to whole chunks of 2,048.
        seed: Seed of the latents.

    Returns:
        The mean [d], float32.
    """
    rng = np.random.default_rng(seed)
    chunks = -(-samples // _CHUNK)
    total = 0.0
    for _ in range(chunks):
        z = rng.standard_normal((_CHUNK, weights[0].shape[0]), dtype=np.float32)
        total += _mapped(z, weights, biases).sum(axis=0, dtype=np.float64)
    return np.asarray(total / (chunks * _CHUNK), np.float32)


def _mapped(x: np.ndarray, weights: list[np.ndarray], biases: list[np.ndarray]) -> np.ndarray:
    x = x / np.sqrt(np.mean(np.square(x), axis=1, keepdims=True) + 1e-8)
    for weight, bias in zip(weights, biases, strict=True):
        x = x @ weight
        x += bias
        x *= math.sqrt(2)
        np.maximum(x, 0.2 * x, out=x)
    return x
