"""Whether two pictures show the same person, by a network for face recognition (SFace).

SFace describes a face, cropped so that eyes, nose and mouth lie at fixed places of 112 x 112
pixels, by 128 numbers; the distance of two faces is 1 minus the cosine of their descriptors.
Pictures in FFHQ framing have these places already, so the crop is a fixed box of them and nothing
is detected: a face that the restoration moved counts as changed.

The network is an ONNX file, which onnxruntime runs (the extra `identity`). It is for judging: a
search that optimised it would fool it.

Source: Zhong et al., "SFace: Sigmoid-Constrained Hypersphere Loss for Robust Face Recognition",
IEEE TIP 2021, as in OpenCV's model zoo; the places are those of ArcFace's crops (Deng et al. 2019)
and the mean landmarks of FFHQ at 512 px, as facexlib has them.
"""

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from perceptual_jax.checkpoints.onnx import is_installed, session
from perceptual_jax.errors import UsageError

SAME_PERSON = 1 - 0.363
"""Distance below which OpenCV's model zoo takes two pictures for one person (on LFW)."""

_SIDE = 112
_ARCFACE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655],
     [70.7299, 92.2041]]
) / _SIDE  # fmt: skip
_FFHQ = np.array(
    [[192.98138, 239.94708], [318.90277, 240.1936], [256.63416, 314.01935],
     [201.26117, 371.41043], [313.08905, 371.15118]]
) / 512  # fmt: skip
"""x and y of eyes, nose and corners of the mouth, as fractions of the side."""


def crop_box() -> tuple[float, float, float, float]:
    """Left, top, right and bottom of SFace's crop in a picture of FFHQ framing, as fractions.

    The least squares over scale and shift; FFHQ's pictures are upright, so nothing is turned.

    Example:
        >>> [round(side, 3) for side in crop_box()]
        [0.126, 0.12, 0.875, 0.868]
    """
    source, target = _FFHQ - _FFHQ.mean(axis=0), _ARCFACE - _ARCFACE.mean(axis=0)
    side = np.sum(source**2) / np.sum(source * target)
    left, top = _FFHQ.mean(axis=0) - side * _ARCFACE.mean(axis=0)
    return float(left), float(top), float(left + side), float(top + side)


def square_side(image: UInt8[np.ndarray, "h w 3"], *, metric: str) -> int:
    """Pixels of a side of a picture that may be in FFHQ framing.

    Args:
        image: The picture.
        metric: The metric that needs it, for the message.

    Raises:
        ValueError: If it is not square.
    """
    height, width, _ = image.shape
    if height != width:
        raise ValueError(
            f"{metric} needs square face crops in FFHQ framing, got {width} x {height} pixels"
        )
    return width


def crop_face(image: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "112 112 3"]:
    """The crop that SFace describes.

    Args:
        image: A square picture in FFHQ framing.

    Raises:
        ValueError: If it is not square.
    """
    side = square_side(image, metric="identity")
    left, top, right, bottom = (edge * side for edge in crop_box())
    face = Image.fromarray(image).resize(
        (_SIDE, _SIDE), Image.Resampling.LANCZOS, box=(left, top, right, bottom)
    )
    return np.array(face)


class FaceDescriptor:
    """SFace, run on one thread."""

    def __init__(self, onnx: UInt8[np.ndarray, " n"]):
        """Builds the network.

        Args:
            onnx: The bytes of the file: the measure `sface`.

        Raises:
            UsageError: If onnxruntime is not installed.
        """
        if not is_installed():
            raise UsageError(
                "the metric identity needs onnxruntime: install perceptual-jax with its extra "
                "`identity`"
            )
        self._session = session(onnx)
        picture, *unused = self._session.get_inputs()
        self._input = picture.name
        # The file still declares the weights, which it holds in eight bits under other names, as
        # inputs; no layer reads them.
        self._unused = {one.name: np.zeros(one.shape, np.float32) for one in unused}

    def describe(self, image: UInt8[np.ndarray, "h w 3"]) -> Float[np.ndarray, "128"]:
        """The descriptor of the face in a picture of FFHQ framing.

        Raises:
            ValueError: If the picture is not square.
        """
        pixels = crop_face(image).astype(np.float32).transpose(2, 0, 1)[None]
        return self._session.run(None, {self._input: pixels, **self._unused})[0][0]


def identity_distance(a: Float[np.ndarray, " d"], b: Float[np.ndarray, " d"]) -> float:
    """1 minus the cosine of two descriptors: 0 for equal ones, at most 2; lower is more alike.

    No unit. Below `SAME_PERSON` two photographs mostly show one person.

    Example:
        >>> identity_distance(np.array([1.0, 0.0]), np.array([0.0, 3.0]))
        1.0
    """
    return float(1 - a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))
