"""Statistics of W under the prior, computed once when a mapping network is converted.

    w_mean        E w, the centre of truncation and of the search
    w_norm_mean   E |w|
    v_mean, v_covariance   of v = w where w >= 0, else 5 w

v undoes the last leaky ReLU (slope 0.2) of the mapping network, which leaves W almost Gaussian:
the whitened space of PULSE. NumPy and not JAX, because an accelerator would multiply float32
matrices at a lower precision, and the numbers should not depend on the machine.

Source: Menon et al., "PULSE: Self-Supervised Photo Upsampling via Latent Space Exploration of
Generative Models", 2020, and its code.
"""

import math

import numpy as np

_CHUNK = 2048


def w_statistics(
    weights: list[np.ndarray], biases: list[np.ndarray], *, samples: int = 2**17, seed: int = 0
) -> dict[str, np.ndarray]:
    """Moments of W over seeded standard normal latents.

    Args:
        weights: Effective weights of the mapping network's layers, each [in out].
        biases: Their biases, each [out].
        samples: How many latents are mapped, rounded up to whole chunks of 2,048.
        seed: Of the latents.

    Returns:
        `w_mean` [d], `w_norm_mean` [], `v_mean` [d] and `v_covariance` [d d] (divided by the
        number of samples), float32.
    """
    rng = np.random.default_rng(seed)
    chunks = -(-samples // _CHUNK)
    w_sum, norm_sum, v_sum, vv_sum = 0.0, 0.0, 0.0, 0.0
    for _ in range(chunks):
        z = rng.standard_normal((_CHUNK, weights[0].shape[0]), dtype=np.float32)
        w = _mapped(z, weights, biases)
        v = np.where(w >= 0, w, 5 * w)
        w_sum += w.sum(axis=0, dtype=np.float64)
        norm_sum += np.linalg.norm(w, axis=1).sum(dtype=np.float64)
        v_sum += v.sum(axis=0, dtype=np.float64)
        vv_sum += (v.T @ v).astype(np.float64)
    count = chunks * _CHUNK
    v_mean = np.asarray(v_sum / count)
    statistics = {
        "w_mean": w_sum / count,
        "w_norm_mean": norm_sum / count,
        "v_mean": v_mean,
        "v_covariance": vv_sum / count - np.outer(v_mean, v_mean),
    }
    return {name: np.asarray(value, np.float32) for name, value in statistics.items()}


def _mapped(x: np.ndarray, weights: list[np.ndarray], biases: list[np.ndarray]) -> np.ndarray:
    x = x / np.sqrt(np.mean(np.square(x), axis=1, keepdims=True) + 1e-8)
    for weight, bias in zip(weights, biases, strict=True):
        x = x @ weight
        x += bias
        x *= math.sqrt(2)
        np.maximum(x, 0.2 * x, out=x)
    return x
