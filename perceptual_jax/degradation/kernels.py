"""Blur kernels, their application to 8-bit images, and a Gaussian blur of batches under JAX.

Kernels are odd squares that sum to 1. With r^2 = v^T S^-1 v at offset v, S of the two standard
deviations turned by an angle:

    generalised   exp(-r^(2 shape) / 2)      (shape 1 is the Gaussian)
    plateau       1 / (1 + r^(2 shape))

Source: Wang et al., "Real-ESRGAN", 2021 (the families and their ranges).
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special
from jaxtyping import Array, Float, UInt8

Kernel = Float[np.ndarray, "k k"]


def gaussian(sigma: float, minor: float, angle: float, *, shape: float = 1.0) -> Kernel:
    """A Gaussian kernel, or a generalised one.

    Args:
        sigma: Standard deviation along the angle, in pixels.
        minor: Standard deviation across the angle, in pixels.
        angle: Angle in degrees.
        shape: Exponent; 1 is the Gaussian, smaller values have longer tails, larger are flatter.
    """
    radius2, _ = _radius2(sigma, minor, angle)
    return _normalised(np.exp(-0.5 * radius2**shape))


def plateau(sigma: float, minor: float, angle: float, *, shape: float) -> Kernel:
    """A kernel with a flat top and algebraic tails; see `gaussian` for the arguments."""
    radius2, _ = _radius2(sigma, minor, angle)
    return _normalised(1 / (1 + radius2**shape))


def motion(length: float, angle: float) -> Kernel:
    """A motion blur: a line of uniform weight, `length` pixels long, anti-aliased by sampling."""
    reach = math.ceil(length / 2)
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1))
    steps = np.linspace(-length / 2, length / 2, 16 * reach + 1)
    direction = math.radians(angle)
    rows, columns = reach - steps * math.sin(direction), reach + steps * math.cos(direction)
    top, left = np.floor(rows).astype(int), np.floor(columns).astype(int)
    down, right = rows - top, columns - left
    for i, j, weight in (
        (0, 0, (1 - down) * (1 - right)),
        (0, 1, (1 - down) * right),
        (1, 0, down * (1 - right)),
        (1, 1, down * right),
    ):
        inside = (top + i < len(kernel)) & (left + j < len(kernel))
        np.add.at(kernel, (top[inside] + i, left[inside] + j), weight[inside])
    return _normalised(kernel)


def sinc(cutoff: float, *, size: int = 21) -> Kernel:
    """A circular low-pass filter, which rings as an over-sharpened picture does.

    Args:
        cutoff: Cut-off frequency in radians per pixel, up to pi.
        size: Pixels of a side of the kernel; odd.
    """
    offsets = np.arange(size) - size // 2
    radius = np.hypot(offsets[:, None], offsets[None])
    # 2 J1(x) / x tends to 1 at the centre.
    x = np.maximum(cutoff * radius, 1e-9)
    return _normalised(cutoff**2 / (2 * np.pi) * scipy.special.j1(x) / x)


def convolve(image: UInt8[np.ndarray, "h w 3"], kernel: Kernel) -> UInt8[np.ndarray, "h w 3"]:
    """The image filtered by a kernel, with mirrored edges, rounded to 8-bit levels."""
    reach = len(kernel) // 2
    padded = np.pad(image.astype(np.float32), ((reach,) * 2, (reach,) * 2, (0, 0)), "symmetric")
    size = padded.shape[:2]
    spectrum = np.fft.rfft2(padded, axes=(0, 1)) * np.fft.rfft2(kernel, s=size)[:, :, None]
    full = np.fft.irfft2(spectrum, s=size, axes=(0, 1))
    result = full[2 * reach :, 2 * reach :]
    return np.clip(np.rint(result), 0, 255).astype(np.uint8)


def gaussian_blur(x: Float[Array, "n h w 3"], sigma: Float[Array, "n 1 1 1"]) -> Array:
    """Gaussian blur with a kernel of 9 taps and edges repeated, another sigma for each image."""
    taps = jnp.arange(-4, 5, dtype=jnp.float32)
    kernel = jnp.exp(-0.5 * (taps[None] / sigma[:, 0, 0]) ** 2)
    kernel = kernel / jnp.sum(kernel, axis=1, keepdims=True)
    for axis in (1, 2):
        padding = [(0, 0)] * 4
        padding[axis] = (4, 4)
        padded = jnp.pad(x, padding, mode="edge")
        size = x.shape[axis]
        terms = [
            kernel[:, i, None, None, None] * jax.lax.slice_in_dim(padded, i, i + size, axis=axis)
            for i in range(9)
        ]
        x = jnp.sum(jnp.stack(terms), axis=0)
    return x


def _radius2(sigma: float, minor: float, angle: float) -> tuple[np.ndarray, int]:
    reach = max(1, min(20, math.ceil(3 * max(sigma, minor))))
    offsets = np.arange(-reach, reach + 1.0)
    direction = math.radians(angle)
    along = offsets[None] * math.cos(direction) - offsets[:, None] * math.sin(direction)
    across = offsets[None] * math.sin(direction) + offsets[:, None] * math.cos(direction)
    return (along / sigma) ** 2 + (across / minor) ** 2, reach


def _normalised(kernel: np.ndarray) -> np.ndarray:
    return kernel / kernel.sum()
