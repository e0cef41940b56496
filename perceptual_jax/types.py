"""The values that travel between the rooms of the house, and the names of their axes.

Axis names in shape annotations, the same in every file:

    n        images of a batch              h w c   height, width, channels of an image (c = 3)
    k        style vectors of one image     d       dimension of the latent spaces Z and W
    m        prior samples in the bank      t       steps of a search

Images are float32 in [-1, 1], height-width-channel. One image is the unit everywhere; `jax.vmap`
makes the batch. All types here are `NamedTuple`s, hence immutable pytrees.
"""

import enum
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

from jaxtyping import Array, Float, Int, Key

Noise = tuple[Float[Array, "_ _"], ...]
"""One map per noise input of a synthesis network, from the coarsest, unit variance."""


class Status(enum.IntEnum):
    """How a search ended. Part of every `Restoration`, so one bad image never stops a batch."""

    OK = 0
    """All steps were taken with finite losses."""
    NOT_FINITE = 1
    """A loss became NaN or infinite: that image stopped there and kept its best finite state."""

    @property
    def message(self) -> str:
        """One sentence for the user: what happened and what to do."""
        if self is Status.OK:
            return "all steps were taken"
        return (
            "the loss became NaN or infinite, so the search stopped at its best finite state; "
            "lower learning_rate or check the input"
        )


class LossTerms(NamedTuple):
    """The terms of the objective, unweighted, and their weighted sum."""

    data: Float[Array, "*t"]
    """Data term on pixels: a mean squared error of [0, 1] images, or a JPEG's box."""
    nll: Float[Array, "*t"]
    """Bits/dim of the degraded image under a learned likelihood; 0 without one."""
    cross: Float[Array, "*t"]
    """PULSE's geodesic cross loss between the styles."""
    mmd2: Float[Array, "*t"]
    """Squared maximum mean discrepancy between the styles and the prior (Eq. 7)."""
    total: Float[Array, "*t"]
    """Weighted sum, what the optimiser sees."""


class Latents(NamedTuple):
    """What the search moves: points of the search space (W or whitened W) and noise maps."""

    points: Float[Array, "*n k d"]
    noise: tuple[Float[Array, "..."], ...]


class SearchState(NamedTuple):
    """One image's search between two steps."""

    latents: Latents
    optimizer: Any
    best: Latents
    best_terms: LossTerms
    best_step: Int[Array, "*n"]
    step: Int[Array, "*n"]
    """Steps in all stages so far."""
    status: Int[Array, "*n"]


class Fit(NamedTuple):
    """How well a restored image degrades to the given one."""

    consistency_psnr: Float[Array, "*n"]
    """PSNR between the downscaled restored image and the degraded one, in decibels."""
    bits: Float[Array, "*n h w"] | None
    """Bits/dim of each pixel of the degraded image under the likelihood; None without one."""


class Restoration(NamedTuple):
    """The result for one image (or, with leading axes `n`, for a batch)."""

    image: Float[Array, "*n h w c"]
    """Restored image at the generator's resolution, clipped to [-1, 1]."""
    styles: Float[Array, "*n k d"]
    """W+ styles that give `image`."""
    noise: tuple[Float[Array, "..."], ...]
    """Noise maps that give `image`."""
    terms: LossTerms
    """Terms at the returned state, at the last stage's resolution."""
    trace: LossTerms
    """Terms at every step of every stage."""
    best_step: Int[Array, "*n"]
    """The step, counted over all stages, whose state is returned."""
    status: Int[Array, "*n"]
    """A `Status`."""
    fit: Fit
    """Of `image`."""


@runtime_checkable
class Generator(Protocol):
    """What the search needs of a generator: an immutable pytree with these members."""

    @property
    def resolution(self) -> int:
        """Pixels of a side of the synthesised image."""
        ...

    @property
    def num_styles(self) -> int:
        """k: style vectors that reach the image."""
        ...

    @property
    def z_dim(self) -> int:
        """Dimension of Z."""
        ...

    @property
    def w_mean(self) -> Float[Array, " d"]:
        """Mean of W."""
        ...

    def mapping(self, z: Float[Array, " d"]) -> Float[Array, " d"]:
        """One latent of Z to W, without truncation."""
        ...

    def synthesis(self, styles: Float[Array, "k d"], noise: Noise) -> Float[Array, "h w c"]:
        """The image of W+ styles, at full resolution, not clipped."""
        ...

    def noise_maps(
        self,
        key: Key[Array, ""] | None = None,
        *,
        mode: Literal["const", "random", "none"] = "const",
    ) -> Noise:
        """The noise inputs, unit variance: the network's own, standard normal draws, or zeros."""
        ...

    def num_seen_styles(self, resolution: int) -> int:
        """How many of the first styles a picture at `resolution` depends on."""
        ...

    def draft(
        self, styles: Float[Array, "k d"], noise: Noise, resolution: int
    ) -> Float[Array, "h w c"]:
        """About the same image, area-downscaled to `resolution`, for a fraction of the cost."""
        ...
