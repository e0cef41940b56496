"""The types that the packages share, and the names of their axes.

Axis names in shape annotations, the same in every file:

    n        images of a batch              h w c   height, width, channels of an image (c = 3)
    k        style vectors of one image     d       dimension of the latent spaces Z and W
    m        prior samples in the bank      t       steps of a search

Images are float32 in [-1, 1], height-width-channel. One image is the unit everywhere; `jax.vmap`
makes the batch. All types here are `NamedTuple`s, hence immutable pytrees.
"""

import enum
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Array, Float, Int, Key

Noise = tuple[Float[Array, "_ _"], ...]
"""One map for each noise input of a synthesis network, from the coarsest, of unit variance."""


class Status(enum.IntEnum):
    """The outcome of a search, part of every `Restoration`: one bad image never stops a batch."""

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


Terms = dict[str, Float[Array, "..."]]
"""The unweighted terms of an objective by name, and `total`, the weighted sum that is minimised. A
term is NaN in stages that give it no weight, where it is not evaluated."""


class JpegHeader(NamedTuple):
    """The known parameters of the JPEG that an image comes from, as arrays that can be batched."""

    tables: Float[Array | np.ndarray, "*n 2 8 8"]
    """Quantisation steps of luma and chroma, [vertical, horizontal frequency]; 0 if unknown."""
    subsampling: Int[Array | np.ndarray, "*n"]
    """Chroma subsampling: 0 is 4:4:4, 1 is 4:2:2, 2 is 4:2:0, -1 is unknown."""
    phase: Int[Array | np.ndarray, "*n 2"]
    """Row and column of the image's first pixel in the JPEG grid, 0 to 15; -1 if unknown."""


def unknown_header() -> JpegHeader:
    """The header of an image whose JPEG parameters are all unknown."""
    return JpegHeader(
        np.zeros((2, 8, 8), np.float32), np.asarray(-1, np.int32), np.array([-1, -1], np.int32)
    )


class Given(NamedTuple):
    """A degraded image with the known parameters of its degradation.

    Images of many sizes share one compiled search: each fills the upper left of a canvas, an array
    of one of few sizes (`degradation.canvas`), and data terms are evaluated only there.
    """

    image: Float[Array, "*n h w 3"]
    """The degraded image, in [-1, 1]."""
    header: JpegHeader = unknown_header()
    """The header of the JPEG that the image comes from; batched with the image."""
    side: Int[Array, "*n"] | None = None
    """Side in pixels of the part that is the image; the rest repeats its edge. None if the image
    fills the array, which then need not be square."""

    @property
    def size(self) -> int:
        """Longer side of the array in pixels, batched or not."""
        return max(self.image.shape[-3:-1])


class Latents(NamedTuple):
    """The variables of the search. A stage moves some of them; None stands for those it does not.

    With `features` the latents cover F/W+ (Kang et al., "GAN Inversion for Out-of-Range Images with
    Geometric Transformations", 2021): the picture of the styles, with a freedom of place and shape
    that no styles have.
    """

    points: Float[Array, "*n k d"]
    """Points in the search space, W or whitened W."""
    noise: tuple[Float[Array, "..."], ...]
    """Trainable noise maps, from the coarsest."""
    features: Float[Array, "*n r r c"] | None = None
    """Offset of the features after the block of r px, in units of each channel's standard deviation
    under the prior; None if the search has none."""


class SearchState(NamedTuple):
    """The state of one image's search between two steps."""

    latents: Latents
    optimizer: Any
    best: Latents
    best_terms: Terms
    best_step: Int[Array, "*n"]
    step: Int[Array, "*n"]
    """Number of steps so far, over all stages."""
    status: Int[Array, "*n"]


class Fit(NamedTuple):
    """The agreement of a restored image, once degraded, with the given one."""

    consistency_psnr: Float[Array, "*n"]
    """PSNR between the downscaled restored image and the degraded one, in decibels; under the
    fitted blur if one was fitted."""
    bits: Float[Array, "*n h w"] | None
    """Bits per dim of each pixel of the degraded image; None without a likelihood."""
    blur: Float[Array, "*n"] | None = None
    """Width of the fitted blur in pixels of the degraded image; None if none was fitted."""
    noise: Float[Array, "*n"] | None = None
    """Level of the noise that remains, in levels of 255; None if no blur was fitted."""


class Restoration(NamedTuple):
    """The result for one image (or, with leading axes `n`, for a batch)."""

    image: Float[Array, "*n h w c"]
    """Restored image at the generator's resolution, clipped to [-1, 1]."""
    styles: Float[Array, "*n k d"]
    """W+ styles that give `image`."""
    noise: tuple[Float[Array, "..."], ...]
    """Noise maps that give `image`."""
    offset: Float[Array, "*n r r c"] | None
    """Offset of the features after the block of r px that gives `image`, in the network's units;
    None if the search moves no features."""
    terms: Terms
    """Terms of the returned state, at the last stage's resolution."""
    trace: Terms
    """Terms at every step of every stage."""
    best_step: Int[Array, "*n"]
    """The step, counted over all stages, whose state is returned."""
    status: Int[Array, "*n"]
    """The outcome, a `Status`."""
    fit: Fit
    """The agreement of `image` with the input."""


@runtime_checkable
class DataTerm(Protocol):
    """The mismatch between a restored image and the degraded one, which a search minimises.

    It is a pytree, so that it can be an argument of compiled functions: a `NamedTuple` of arrays, a
    dataclass registered with JAX, or one registered as static if it holds no arrays.
    """

    def prepare(self, given: Given, resolution: int) -> Any:
        """Precomputes the arrays that `evaluate` needs, once for each image and stage.

        Args:
            given: The degraded image; not batched.
            resolution: Side in pixels of the images to be evaluated.
        """
        ...

    def evaluate(
        self, cache: Any, image: Float[Array, "r r 3"]
    ) -> tuple[Float[Array, ""], Float[Array, "h2 w2"]]:
        """Returns the value, differentiable in the image, and a map of its contributions.

        Args:
            cache: The result of `prepare`.
            image: A restored image, in about [-1, 1].
        """
        ...


@runtime_checkable
class Generator(Protocol):
    """The interface of a generator for the search: an immutable pytree with these members."""

    @property
    def resolution(self) -> int:
        """Side of the synthesised image in pixels."""
        ...

    @property
    def num_styles(self) -> int:
        """Number k of style vectors that the image depends on."""
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
        """Maps one latent from Z to W, without truncation."""
        ...

    def synthesis(
        self,
        styles: Float[Array, "k d"],
        noise: Noise,
        offset: Float[Array, "r r c"] | None = None,
    ) -> Float[Array, "h w 3"]:
        """Synthesises the image of W+ styles, at full resolution, not clipped.

        `offset` is added to the features after the block of its size. A search that moves no
        features never passes it.
        """
        ...

    def noise_maps(
        self,
        key: Key[Array, ""] | None = None,
        *,
        mode: Literal["const", "random", "none"] = "const",
    ) -> Noise:
        """The noise inputs: the network's own, standard normal draws, or zeros."""
        ...

    def num_seen_styles(self, resolution: int) -> int:
        """Number of the first styles that an image at `resolution` depends on."""
        ...

    def draft(
        self,
        styles: Float[Array, "k d"],
        noise: Noise,
        resolution: int,
        offset: Float[Array, "r r c"] | None = None,
    ) -> Float[Array, "h w 3"]:
        """The image area-downscaled to `resolution`, approximated at a fraction of the cost."""
        ...

    def features(
        self, styles: Float[Array, "k d"], noise: Noise, resolution: int
    ) -> Float[Array, "r r c"]:
        """The activations after the block of a resolution; only for searches that move them."""
        ...
