"""Exact samples of degraded images from the likelihood, given a restored image.

All noise is drawn first; a sample is then a deterministic function of it, the only x with

    x = F(x),    F(x)_ij = draw from p(x_ij | pixels before it, restored), with the noise of (i, j)

and the three methods are three solvers. `naive` draws one pixel after the other, with a whole
evaluation of the network for each; `jacobi` iterates x <- F(x) until the fixed point;
`wavefront` computes every activation once, a slanted front of pixels at a time (`wavefront`).

They compute in float64. In float32 the order of a sum can change the level to which a pixel is
rounded, and all pixels after it; in float64 the three results are bit-identical.

Source: Song et al., "Accelerating feedforward computation via parallel nonlinear equation
solving", 2021 (jacobi); Ramachandran et al., "Fast generation for convolutional autoregressive
models", 2017 (caching).
"""

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Key

from perceptual_jax.likelihood.likelihood import Likelihood
from perceptual_jax.likelihood.logistic_mixture import Noise, draw_noise, sample
from perceptual_jax.likelihood.wavefront import wavefront
from perceptual_jax.types import Given, JpegHeader, unknown_header

Method = Literal["wavefront", "jacobi", "naive"]


def sample_degraded(
    model: Likelihood,
    restored: Float[Array | np.ndarray, "h w 3"],
    key: Key[Array, ""],
    *,
    header: JpegHeader | None = None,
    method: Method = "wavefront",
    temperature: float = 1.0,
) -> Float32[np.ndarray, "h w 3"]:
    """A degraded image, drawn from p(degraded | restored).

    Args:
        model: The likelihood.
        restored: The condition, in [-1, 1], at the size of the sample.
        key: PRNG key; consumed. The same key gives the same picture by every method.
        header: Header of the JPEG to draw; None if it is unknown.
        method: Solver; `naive` is for tests, `jacobi` for small pictures.
        temperature: Scale of the noise. 1 is exact; smaller values avoid improbable pixels, which
            lead to contexts that no training picture had.

    Returns:
        The picture, on the grid of 8-bit levels in [-1, 1].
    """
    known = unknown_header() if header is None else header
    height, width, _ = restored.shape
    with jax.enable_x64(True):
        noise = draw_noise(key, (height, width), model.config.components)
        wide = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), model)
        wide = dataclasses.replace(wide, dtype="float64", min_log_scale=None)
        condition = jnp.asarray(np.asarray(restored), jnp.float64)
        picture = _METHODS[method](wide, condition, known, noise, jnp.float64(temperature))
        return np.asarray(picture).astype(np.float32)


def redraw(
    model: Likelihood,
    degraded: Float[Array, "h w 3"],
    restored: Float[Array, "h w 3"],
    header: JpegHeader,
    noise: Noise,
    temperature: float | Float[Array, ""],
) -> Float[Array, "h w 3"]:
    """The function F: every pixel drawn again, given those before it in `degraded`."""
    mixture = model.mixture(model.prepare(Given(degraded, header)), restored)
    return sample(mixture, noise, temperature=temperature, component=model.config.component)


@jax.jit
def _jacobi(
    model: Likelihood, restored: Array, header: JpegHeader, noise: Noise, temperature: Array
) -> Array:
    def body(state: tuple[Array, Array]) -> tuple[Array, Array]:
        x, _ = state
        following = redraw(model, x, restored, header, noise, temperature)
        return following, jnp.any(following != x)

    start = (jnp.zeros_like(restored), jnp.array(True))
    return jax.lax.while_loop(lambda state: state[1], body, start)[0]


@jax.jit
def _naive(
    model: Likelihood, restored: Array, header: JpegHeader, noise: Noise, temperature: Array
) -> Array:
    height, width, _ = restored.shape

    def body(n: Array, x: Array) -> Array:
        i, j = n // width, n % width
        drawn = redraw(model, x, restored, header, noise, temperature)
        return x.at[i, j].set(drawn[i, j])

    return jax.lax.fori_loop(0, height * width, body, jnp.zeros_like(restored))


_METHODS = {"wavefront": wavefront, "jacobi": _jacobi, "naive": _naive}
