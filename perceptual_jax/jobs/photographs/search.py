"""What finds the faces of an input: by hand, the caller's function, or the nets."""

import os
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import UInt8

from perceptual_jax.checkpoints.catalogue import WeightsError
from perceptual_jax.checkpoints.onnx import is_installed
from perceptual_jax.errors import UsageError
from perceptual_jax.io.images import ImageError
from perceptual_jax.io.inputs import Input
from perceptual_jax.jobs.photographs.options import PhotographOptions
from perceptual_jax.photographs.detection.find import MIN_FACE, find_faces
from perceptual_jax.photographs.detection.nets import FaceNets, load_face_nets
from perceptual_jax.photographs.face import Face
from perceptual_jax.photographs.marks import Mark, check_names, marked_faces, marks_of, read_marks

Pixels = UInt8[np.ndarray, "h w 3"]

_THREADS = 8

MISSING = (
    "faces are searched for with onnxruntime; install it with pip install 'perceptual-jax[photos]'"
)


def load_nets(report: Callable[[str], None] | None) -> FaceNets:
    """Loads the nets that find faces, for the cores of this machine.

    Args:
        report: Receives lines for the user.

    Raises:
        UsageError: If onnxruntime is not installed.
        WeightsError: If the nets cannot be fetched.
    """
    if not is_installed():
        raise UsageError(MISSING)
    return load_face_nets(report=report, threads=min(os.cpu_count() or 1, _THREADS))


class Finder:
    """Finds the faces of inputs; the nets are loaded for the first that needs them."""

    def __init__(
        self,
        options: PhotographOptions,
        find: Callable[[Pixels], Sequence[Face]] | None,
        report: Callable[[str], None],
    ):
        """Reads the file of boxes, and loads no nets yet.

        Args:
            options: Settings of the photographs.
            find: The caller's own search, or None for the nets.
            report: Receives lines for the user.

        Raises:
            UsageError: If the file of boxes cannot be read.
        """
        self._marks = {} if options.boxes is None else read_marks(options.boxes)
        self._options, self._find, self._report = options, find, report
        self._nets: FaceNets | None = None

    def marks_of(self, source: Input) -> list[Mark]:
        """The marks of an input in the file of boxes."""
        return marks_of(self._marks, str(source.path)) if self._marks else []

    def check_marks(self, inputs: Sequence[Input]) -> None:
        """Checks that the file of boxes is of these inputs.

        Raises:
            UsageError: If it marks a picture that is not among them.
        """
        if self._options.boxes is not None:
            names = [str(source.path) for source in inputs]
            check_names(self._options.boxes, self._marks, names)

    def prepare(self) -> str | None:
        """Loads the nets, unless that is done or none are needed.

        Returns:
            Why faces cannot be searched for, as a clause; None if they can.

        Raises:
            UsageError, WeightsError: If they cannot be, and must be.
        """
        return None if self._find is not None else self._load()

    def _load(self) -> str | None:
        if self._nets is not None:
            return None
        try:
            self._nets = load_nets(self._report)
        except (UsageError, WeightsError) as error:
            if self._options.align == "always":
                raise
            return str(error)
        return None

    def __call__(self, source: Input, pixels: Pixels) -> Sequence[Face]:
        """The faces of an input.

        Raises:
            ImageError: If a mark lies outside of it, or its landmarks cannot be searched for.
        """
        if marks := self.marks_of(source):
            boxed = any(mark.ndim == 1 for mark in marks)
            if boxed and (why_not := self._load()) is not None:
                raise ImageError(f"of a box the landmarks are searched for, and {why_not}")
            try:
                return marked_faces(pixels, marks, self._nets, name=source.path.name)
            except UsageError as error:
                raise ImageError(str(error)) from error
        if self._find is not None:
            return self._find(pixels)
        assert self._nets is not None, "prepare() loads the nets"
        return find_faces(pixels, self._nets, min_face=self._options.min_face or MIN_FACE)
