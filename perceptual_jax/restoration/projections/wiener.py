"""The last word of the data where its damage is not known: a Wiener filter of what is unexplained.

A picture's downscale x is blurred by h, which is fitted (`blur_fit`), and compared with the
degraded image y. What is unexplained is the picture's error e, blurred, and noise n. In a cosine
transform T, band by band,

    r  =  y - h x  =  h e + n,        x  <-  x + M^+ T^-1 [ g r ],    g = h |e|^2 / |r|^2

Which part of a band is noise? Noise is everywhere, while errors of a search sit at edges and in
hair. So the lower quartile of |r| over the pixels tells them apart: it is 0.319 standard deviations
for noise alone, and 0.7 of that or less for errors alone.

    |n|^2 = |r|^2 clip((a - a0) / (1 - a0)),      a = (quartile / 0.319)^2 / |r|^2

The error has no more power than the picture itself, |x|^2. Hairs and pores that the degraded image
has lost are beyond the noise and stay; so do those that a JPEG has quantised to zero, where y has
less power than h x.

Source: Wiener 1949; Donoho and Johnstone, "Ideal spatial adaptation by wavelet shrinkage", 1994,
for noise by quantiles; Wang et al. 2023 (DDNM) for the move of the range space.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from perceptual_jax.degradation.resampling import Filter, resample
from perceptual_jax.restoration.data_terms.blurred import COLOUR_RIDGE
from perceptual_jax.restoration.projections.blur_fit import (
    blur_response,
    cosine_matrix,
    fit_damage,
    frequencies,
    rings_of,
)
from perceptual_jax.restoration.projections.feasible import downscale_matrix, right_inverse
from perceptual_jax.types import Given

MAX_GAIN = 2.0
"""Largest gain: how much of a blur is undone. Measured on 12 faces as old photographs: identity
0.312 at 1 and 0.291 at 2, LPIPS 0.215 and 0.214; with a worse model of the noise 1.5 cost LPIPS."""

SURE = 0.5
"""The ratio a0 of an error without noise. Measured on 16 faces as old photographs, identity and
LPIPS: 0.352 and 0.232 at 0, 0.334 and 0.231 at 0.4 (that of a Laplace distribution), 0.322 and
0.231 at 0.55, where grain begins to show."""

BANDS = 14
"""Bands of frequency, triangles over its logarithm."""

LOWEST = 2.0
"""Cycles per side of the lowest band. Quantiles of fewer than `_TOLD` waves tell nothing: there the
noise is at most that of the first band above."""
_TOLD = 8.0

_QUANTILE, _OF_NORMAL = 0.25, 0.31864
"""The quartile, and that of the magnitude of a standard normal distribution."""

_OPPONENT = np.array([[1, 1, 1], [1, 0, -1], [1, -2, 1]]) / np.sqrt([[3], [2], [6]])
"""Orthonormal luma and chromas: a face's chromas have little power, a camera's noise much."""

_LOST = 0.02
"""Ridge of the inverse map of colours, relative to the sum of the map's squares: a colour that is
damped to a seventh of the others is not amplified again."""

_FLOOR = 1e-12
"""Power in squared pictures in [-1, 1] below which there is none."""


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class WienerProjection:
    """Moves a picture by the Wiener estimate of its error. Holds no arrays: static.

    Example:
        >>> flat = Given(jnp.full((16, 16, 3), 0.5))
        >>> moved = WienerProjection()(flat, jnp.zeros((32, 32, 3)))
        >>> round(float(moved[8, 8, 0]), 2)
        0.5
    """

    filter: Filter = "bicubic"
    """Filter of the downscale, see `resample_matrix`."""
    strength: float = 1.0
    """Fraction of the way in [0, 1] that the picture is moved."""
    colours: bool = False
    """Whether the degraded image has lost contrast and saturation: x is mapped to its colours by
    `fit_colours` first, and the error is mapped back."""

    def __call__(self, given: Given, image: Float[Array, "r r 3"]) -> Float[Array, "r r 3"]:
        """The moved picture; not clipped.

        Args:
            given: The degraded image, square and not larger than the picture.
            image: A picture in [-1, 1].
        """
        size, resolution = given.image.shape[0], image.shape[0]
        if max(given.image.shape[:2]) > resolution:
            return image
        side = size if given.side is None else given.side
        rows = downscale_matrix(given, size, resolution, self.filter)
        cosines, frequency = cosine_matrix(size, side), frequencies(size, side)
        x = resample(resample(image, rows, rows), cosines, cosines)
        y = resample(given.image, cosines, cosines)
        colours = jnp.eye(3)
        if self.colours:
            colours = fit_colours(x, y)
            y = y.at[0, 0].set(colours @ x[0, 0])  # the mean colour is the restored one
            # Where the blur is known, colours are, too: a second fit leaves out what is lost.
            width = fit_damage(
                rings_of(x @ (_OPPONENT @ colours).T, y @ _OPPONENT.T, frequency)
            ).width
            colours = fit_colours(blur_response(frequency, width)[:, :, None] * x, y)
            x, y = x @ colours.T, y.at[0, 0].set(colours @ x[0, 0])
        x, y = x @ _OPPONENT.T, y @ _OPPONENT.T
        response = blur_response(frequency, fit_damage(rings_of(x, y, frequency)).width)
        gain = wiener_gain(x, y, response, frequency * side, cosines)
        error = (gain * (y - response[:, :, None] * x)) @ _OPPONENT
        error = error @ _back(colours).T if self.colours else error
        # A degraded image that is not finite says nothing, and must not cost the picture.
        error = jnp.where(jnp.isfinite(error), error, 0.0)
        moved = resample(error, cosines.T, cosines.T)
        inverse = right_inverse(rows)
        return image + self.strength * resample(moved, inverse, inverse)


def fit_colours(x: Float[Array, "k k 3"], y: Float[Array, "k k 3"]) -> Float[Array, "3 3"]:
    """The linear map of colours that brings one transformed picture nearest to another.

    Means, the first coefficients, are left out. The fit is a ridge regression towards the identity.

    Args:
        x: Coefficients of the picture that is mapped.
        y: Coefficients of the other picture.
    """
    exact = jax.lax.Precision.HIGHEST
    x, y = x.at[0, 0].set(0.0), y.at[0, 0].set(0.0)
    count = jnp.maximum(jnp.count_nonzero(x[:, :, 0]), 1)
    ridge = COLOUR_RIDGE * jnp.eye(3)
    across = jnp.einsum("hwi,hwj->ij", y, x, precision=exact) / count
    within = jnp.einsum("hwi,hwj->ij", x, x, precision=exact) / count
    return jnp.linalg.solve(within + ridge, (across + ridge).T).T


def _back(colours: Float[Array, "3 3"]) -> Float[Array, "3 3"]:
    """The map of colours back, without what the first one has nearly lost."""
    square = colours @ colours.T
    ridge = _LOST * jnp.trace(square) * jnp.eye(3)
    return colours.T @ jnp.linalg.inv(square + ridge)


def wiener_gain(
    x: Float[Array, "k k c"],
    y: Float[Array, "k k c"],
    response: Float[Array, "k k"],
    cycles: Float[Array, "k k"],
    cosines: Float[Array, "k i"],
) -> Float[Array, "k k c"]:
    """The gain from what is unexplained to the estimate of the picture's error, 0 to `MAX_GAIN`.

    Args:
        x: Coefficients of the picture at the size of the degraded image.
        y: Coefficients of the degraded image.
        response: The blur's factor at each of them.
        cycles: Their frequencies in cycles per side; infinite beyond the filled part of a canvas.
        cosines: The transform, from `cosine_matrix`.
    """
    filled = jnp.any(cosines != 0, axis=0)
    inside = (filled[:, None] & filled[None, :])[:, :, None]
    side = jnp.count_nonzero(filled)
    top = jnp.log2(side / jnp.sqrt(2.0))
    centres = jnp.linspace(np.log2(LOWEST), top, BANDS)
    octave = jnp.log2(jnp.clip(cycles, LOWEST, 2.0**top))
    h = response[:, :, None]

    def measured(centre: Float[Array, ""]) -> tuple[Array, ...]:
        weight = jnp.maximum(1 - jnp.abs(octave - centre) / (centres[1] - centres[0]), 0.0)
        # Nothing blurs the mean, and noise has none.
        weight = jnp.where(jnp.isfinite(cycles) & (cycles > 0), weight, 0.0)[:, :, None]
        r = resample(weight * (y - h * x), cosines.T, cosines.T)
        magnitude = jnp.where(inside, jnp.abs(r), jnp.nan)
        quartile = jnp.nanquantile(magnitude, _QUANTILE, axis=(0, 1)) / _OF_NORMAL
        powers = (jnp.sum((weight * z) ** 2, axis=(0, 1)) / side**2 for z in (x, h * x, y))
        return jnp.sum(r * r, axis=(0, 1)) / side**2, quartile**2, *powers

    power, quartile, own, shown, given = jax.lax.map(measured, centres)
    told = jnp.argmax(centres >= np.log2(_TOLD))
    below = jnp.arange(BANDS)[:, None] < told
    quartile = jnp.where(below, jnp.minimum(quartile, quartile[told][None, :]), quartile)
    noise = jnp.clip((quartile / jnp.maximum(power, _FLOOR) - SURE) / (1 - SURE), 0.0, 1.0)
    error = jnp.minimum(power * (1 - noise), shown)  # blurred, as it is seen
    damped = jnp.sqrt(shown / jnp.maximum(own, _FLOOR))
    gain = jnp.minimum(error / jnp.maximum(damped * power, _FLOOR), MAX_GAIN)
    gain = gain * jnp.clip(given / jnp.maximum(shown, _FLOOR), 0.0, 1.0)
    at = jax.vmap(lambda g: jnp.interp(octave, centres, g), -1, -1)(gain)
    return at.at[0, 0].set(1.0)
