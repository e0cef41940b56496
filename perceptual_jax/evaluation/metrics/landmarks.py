"""How far the landmarks of a face moved: the normalised mean error, in percent.

    100/5 * sum over eyes, nose and corners of the mouth |p - q| / |distance of the original's eyes|

O-Net, the network that confirms faces in photographs, says both pictures' landmarks. Pictures in
FFHQ framing have their face at one place, so nothing is detected, and a face that the restoration
moved counts as moved. Like the identity's network it judges only; no search optimises it.

Source: the "LMD" of blind face restoration (Wang et al., "GFPGAN", CVPR 2021 and after) in pixels
at 512 px, here divided by the distance of the eyes, as in face alignment (Sagonas et al., "300
Faces in-the-Wild Challenge", ICCVW 2013).
"""

import numpy as np
from jaxtyping import Float, Float64, UInt8
from PIL import Image

from perceptual_jax.evaluation.metrics.identity import square_side
from perceptual_jax.photographs.detection.nets import ONet
from perceptual_jax.photographs.detection.onet import find_landmarks
from perceptual_jax.photographs.detection.rules import UNCERTAIN

_FACE = np.array([0.171, 0.240, 0.829, 0.898])
"""The square around the face in FFHQ framing, edges as parts of the side: the mean of RetinaFace's
boxes, made square, on 60 CelebA-HQ faces."""


def landmarks_of(image: UInt8[np.ndarray, "h w 3"], net: ONet) -> Float64[np.ndarray, "5 2"]:
    """Eyes, nose and corners of the mouth: x and y as parts of the picture's side.

    Args:
        image: A square picture in FFHQ framing.
        net: O-Net.

    Raises:
        ValueError: If the picture is not square, or shows no face there.
    """
    side = square_side(image, metric="landmarks")
    score, points = find_landmarks(Image.fromarray(image), _FACE * side, net, angle=0.0)
    if score < UNCERTAIN:
        raise ValueError("no face is seen where FFHQ's framing has it, so it has no landmarks")
    return (points + 0.5) / side


def landmark_distance(
    restored: Float[np.ndarray, "5 2"], original: Float[np.ndarray, "5 2"]
) -> float:
    """The mean distance of landmarks in percent of the original's distance of the eyes.

    At least 0; lower is nearer.

    Example:
        >>> face = np.array([[0.4, 0.5], [0.6, 0.5], [0.5, 0.62], [0.42, 0.72], [0.58, 0.72]])
        >>> round(landmark_distance(face + [0.01, 0], face), 6)
        5.0
    """
    apart = np.linalg.norm(restored - original, axis=1).mean()
    return float(100 * apart / np.linalg.norm(original[1] - original[0]))
