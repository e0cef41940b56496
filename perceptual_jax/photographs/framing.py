"""Whether a picture is a face crop in FFHQ framing already, so that it goes in as it is.

Other projects frame faces differently: closer, wider, or only upright. Such crops are searched for
their face, like any photograph.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8

from perceptual_jax.photographs.face import Face

_TOLERANCE = 0.06
"""Distance of a corner of the face's quad from the picture's, in parts of its side: what landmarks
err on crops in FFHQ framing, and what the framings of FFHQ and CelebA-HQ differ by."""
_PIXELS = 1.5
"""The same, in pixels, which matters for small pictures."""
_BESIDE = 0.5
"""Side of another face, in parts of the picture's, from which it is a picture of several."""


def is_aligned(picture: UInt8[np.ndarray, "h w 3"], faces: Sequence[Face]) -> bool:
    """Whether the picture is square and holds one face, framed as FFHQ frames it.

    Smaller faces beside it, as in many backgrounds, do not count. In the smallest pictures no face
    may be found; then the answer is no.

    Args:
        picture: RGB.
        faces: What `find_faces` found in it; whether they would be left alone does not matter.
    """
    height, width, _ = picture.shape
    if height != width:
        return False
    large = [face for face in faces if face.side > _BESIDE * width]
    if len(large) != 1 or large[0].turned:
        return False
    edges = np.array([[0, 0], [0, 1], [1, 1], [1, 0]]) * width - 0.5
    distance = np.hypot(*(large[0].quad - edges).T).max()
    return bool(distance <= _TOLERANCE * width + _PIXELS)
