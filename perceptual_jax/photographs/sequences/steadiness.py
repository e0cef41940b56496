"""How much a face flickers beside its input, and what keeps it steady from frame to frame.

Two consecutive frames of a track are compared in the face's frame, so that its movement through the
picture does not count. There, the input stands still where the change of its luma d, blurred so
that noise averages out, is no more than noise:

    still  =  |G(d)| <= LEVELS + 2 std(G(noise)),        within the ellipse of the head
    flicker  =  mean of |change of luma| over the still pixels

A restored face F is mixed with the one before, P, where the input stands still,

    F  <-  P + keep (F - P),         keep = min(KEEP, change of the input / change of the result)

so that it changes no more than its input does, however noisy the search is. Everything else is that
of the new frame.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8
from scipy.ndimage import gaussian_filter

from perceptual_jax.photographs.compositing.masks import ellipse_mask, smoothstep
from perceptual_jax.photographs.compositing.tone import luma, noise_level, resized

LEVELS = 2.0
"""Change in levels of 255 up to which the input stands still, beside its noise."""
KEEP = 0.5
"""Largest part of a change that is taken over at once where the input stands still."""
_BLUR = 1 / 48
"""Standard deviation of the blur in parts of the crop's side; at least a pixel."""


class Flicker(NamedTuple):
    """Changes of luma over the still pixels of some pairs of frames, summed; they can be added."""

    pixels: float = 0.0
    given: float = 0.0
    """Sum of the changes of the input, in levels of 255."""
    result: float = 0.0
    """That of the result."""

    def __add__(self, other: "Flicker") -> "Flicker":  # pyright: ignore[reportIncompatibleMethodOverride]
        """The changes of both."""
        return Flicker(*(a + b for a, b in zip(self, other, strict=True)))

    @property
    def ratio(self) -> float | None:
        """Flicker of the result over that of the input; None if the input does not change."""
        return self.result / self.given if self.given > 0 else None

    def to_json(self) -> dict[str, float | None]:
        """The means, in levels of 255, and their ratio."""
        pixels = max(self.pixels, 1.0)
        return {
            "input": self.given / pixels,
            "result": self.result / pixels,
            "ratio": self.ratio,
            "pixels": self.pixels,
        }


def stillness(
    before: UInt8[np.ndarray, "n n 3"], after: UInt8[np.ndarray, "n n 3"]
) -> Float32[np.ndarray, "n n"]:
    """How still a face's crop of the input stands from one frame to the next.

    Args:
        before: The crop of the first frame.
        after: That of the second one, in its own frame of the face.

    Returns:
        1 where it stands still, falling to 0 where it changes by twice the limit.
    """
    difference = luma(after) - luma(before)
    sigma = max(1.0, _BLUR * len(before))
    noise = noise_level(np.repeat(difference[:, :, None], 3, axis=2))
    limit = LEVELS + 2 * noise / (2 * np.sqrt(np.pi) * sigma)
    moved = np.abs(gaussian_filter(difference, sigma, mode="reflect"))
    return smoothstep(2 - moved / limit).astype(np.float32)


def _head(size: int) -> Bool[np.ndarray, "n n"]:
    """The pixels of a crop that a restored face replaces for the most part."""
    y, x = (np.mgrid[:size, :size] + 0.5) / size
    return ellipse_mask(np.stack([x, y], axis=-1)) > 0.5


def change(
    before: Float[np.ndarray, "n n 3"] | UInt8[np.ndarray, "n n 3"],
    after: Float[np.ndarray, "n n 3"] | UInt8[np.ndarray, "n n 3"],
    still: Bool[np.ndarray, "n n"],
) -> float:
    """The sum of the absolute changes of luma over the still pixels, in levels of 255."""
    return float(np.abs(luma(after) - luma(before))[still].sum(dtype=np.float64))


def flicker(
    given: tuple[UInt8[np.ndarray, "n n 3"], UInt8[np.ndarray, "n n 3"]],
    result: tuple[UInt8[np.ndarray, "n n 3"], UInt8[np.ndarray, "n n 3"]],
) -> Flicker:
    """The flicker of two consecutive frames of a face.

    Args:
        given: The face in the input, in both frames, at one size.
        result: The same places of the result, at the same size.
    """
    still = _head(len(given[0])) & (stillness(*given) == 1)
    return Flicker(float(still.sum()), change(*given, still), change(*result, still))


def steadied(
    face: Float[np.ndarray, "m m 3"],
    face_before: Float[np.ndarray, "m m 3"],
    crops: tuple[UInt8[np.ndarray, "n n 3"], UInt8[np.ndarray, "n n 3"]],
    *,
    keep: float = KEEP,
) -> Float32[np.ndarray, "m m 3"]:
    """A restored face that changes no more than its input where that stands still.

    Args:
        face: The restored face, in levels.
        face_before: The steadied face of the frame before.
        crops: The input in the face's frame, before and now, at one size.
        keep: Largest part of a change that is taken over.
    """
    weight = stillness(*crops)
    still = _head(len(weight)) & (weight == 1)
    before, now = (resized(x, len(still)) for x in (face_before, face))
    allowed, wanted = change(*crops, still), change(before, now, still)
    keep = min(keep, allowed / wanted) if wanted > 0 else keep
    weight = np.clip(resized(np.repeat(weight[:, :, None], 3, axis=2), len(face)), 0, 1)
    moved = face_before - face
    return (face + (1 - keep) * weight * moved).astype(np.float32)
