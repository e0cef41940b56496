"""The data term for unknown damage: downscale, a blur of unknown width, and noise of unknown level.

    value = min over widths s of  mean_{h,w,c} (blur_s(D(x)) - y)^2,     images in [0, 1]

The minimum over the degradation's own parameters is their profile likelihood: at each step the
width is the one that explains the degraded image best, given the face of that step, so the face
need not hold the blur. What no width explains is noise. Its level is the root of the value, and it
is left unexplained as far as the prior resists it.

A faded picture has lost contrast and saturation as well. With `colours` an affine map of colours,
y = C x + b, is fitted, too, by ridge regression towards the identity.

Source: the blur is the first step of BSRGAN's and GFPGAN's degradations; Murphy and van der Vaart,
"On Profile Likelihood", 2000.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from perceptual_jax.degradation.canvas import canvas_mean
from perceptual_jax.degradation.resampling import Filter, downscale, resample
from perceptual_jax.restoration.data_terms.downscale import DownscaleL2, L2Target
from perceptual_jax.types import Given

WIDTHS = (0.0, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8)
"""Widths of the blur that are compared: standard deviations in pixels of the degraded image."""


COLOUR_RIDGE = 0.01
"""Ridge of the map of colours, a variance of pictures in [-1, 1], whose own is about 0.2."""


class BlurTarget(NamedTuple):
    """The target of `BlurredL2` for one degraded image."""

    target: L2Target
    blurs: Float[Array, "s h h"]
    """One matrix for each width; its rows sum to 1 over the filled part of a canvas."""


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class BlurredL2:
    """Mean squared error under the best of several blurs. Holds no arrays: static.

    Example:
        >>> term, flat = BlurredL2(), jnp.zeros((16, 16, 3))
        >>> value, _ = term.evaluate(term.prepare(Given(flat), 32), jnp.full((32, 32, 3), 0.2))
        >>> round(float(value), 6)
        0.01
    """

    filter: Filter = "bicubic"
    """Filter of the downscale, see `resample_matrix`."""
    widths: tuple[float, ...] = WIDTHS
    """Widths of the blur in pixels of the degraded image."""
    colours: bool = False
    """Whether an affine map of colours is fitted, too."""

    def prepare(self, given: Given, resolution: int) -> BlurTarget:
        """The target and the blurs; computed once for each image.

        Args:
            given: The degraded image, square.
            resolution: Pixels of a side of the restored images to come. A larger degraded image is
                reduced to it, and the widths with it.
        """
        target = DownscaleL2(self.filter).prepare(given, resolution)
        size = target.image.shape[0]
        whole = given.image.shape[0] if given.side is None else given.side
        filled = size if target.side is None else target.side
        ratio = jnp.minimum(1.0, filled / whole)
        blurs = jnp.stack([_blur_matrix(size, width * ratio, filled) for width in self.widths])
        return BlurTarget(target, blurs)

    def evaluate(
        self, cache: BlurTarget, image: Float[Array, "r r 3"]
    ) -> tuple[Float[Array, ""], Float[Array, "h w"]]:
        """The term's value and its map over the pixels, under the best width.

        Args:
            cache: Result of `prepare`.
            image: Restored image in [-1, 1], not smaller than that of `cache`.
        """
        value, best, errors = self._compare(cache, image)
        return value, errors[best]

    def fitted(
        self, cache: BlurTarget, image: Float[Array, "r r 3"]
    ) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """Width of the blur in pixels of the compared size, and noise level in [0, 1] units.

        Args:
            cache: Result of `prepare`.
            image: Restored image in [-1, 1].
        """
        value, best, _ = self._compare(cache, image)
        return jnp.asarray(self.widths)[best], jnp.sqrt(value)

    def _compare(
        self, cache: BlurTarget, image: Float[Array, "r r 3"]
    ) -> tuple[Float[Array, ""], Array, Float[Array, "s h w"]]:
        target = cache.target
        if target.matrix is None:
            height, width, _ = target.image.shape
            reduced = downscale(image, (height, width), filter=self.filter)
        else:
            reduced = resample(image, target.matrix, target.matrix)

        def errors_of(blur: Float[Array, "h h"]) -> Float[Array, "h w"]:
            shown = resample(reduced, blur, blur)
            if self.colours:
                shown = _recoloured(shown, target)
            return jnp.mean(((shown - target.image) / 2) ** 2, axis=-1)

        errors = jax.vmap(errors_of)(cache.blurs)
        if target.side is None:
            means = jnp.mean(errors, axis=(1, 2))
        else:
            side = target.side
            means = jax.vmap(lambda e: canvas_mean(e, side))(errors)
        best = jnp.argmin(means)
        return means[best], best, errors


def _recoloured(shown: Float[Array, "h w 3"], target: L2Target) -> Float[Array, "h w 3"]:
    """`shown` under the affine map of colours that brings it nearest to the target."""
    height, width, _ = shown.shape
    side_y, side_x = (height, width) if target.side is None else (target.side, target.side)
    inside = (jnp.arange(height) < side_y)[:, None] & (jnp.arange(width) < side_x)[None, :]
    weights = inside / jnp.sum(inside)

    def mean(x: Float[Array, "h w c"]) -> Float[Array, "1 1 c"]:
        return jnp.sum(x * weights[:, :, None], axis=(0, 1), keepdims=True)

    x, y = shown - mean(shown), target.image - mean(target.image)
    ridge = COLOUR_RIDGE * jnp.eye(3)
    exact = jax.lax.Precision.HIGHEST
    across = jnp.einsum("hw,hwi,hwj->ij", weights, y, x, precision=exact)
    within = jnp.einsum("hw,hwi,hwj->ij", weights, x, x, precision=exact)
    matrix = jnp.linalg.solve(within + ridge, (across + ridge).T).T
    return jnp.einsum("ij,hwj->hwi", matrix, x, precision=exact) + mean(target.image)


def _blur_matrix(
    size: int, width: float | Float[Array, ""], filled: int | Array
) -> Float[Array, "h h"]:
    """A Gaussian blur of a line, renormalised where the line ends; width 0 is the identity."""
    i = jnp.arange(size, dtype=jnp.float32)
    distance = jnp.square(i[:, None] - i[None, :])
    taps = jnp.exp(-distance / (2 * jnp.maximum(jnp.asarray(width), 1e-3) ** 2))
    inside = (i < filled)[None, :]
    # Rows beyond the filled part are not compared; they must only stay finite.
    taps = jnp.where(inside | (distance == 0), taps, 0.0)
    return taps / jnp.sum(taps, axis=1, keepdims=True)
