"""The settings of a job over photographs, beside those of any job."""

import dataclasses
import hashlib
from pathlib import Path
from typing import Any, Literal, get_args

from perceptual_jax.errors import UsageError
from perceptual_jax.io.files import reason_of
from perceptual_jax.jobs.photographs.background import LANCZOS, check_background

Align = Literal["auto", "always", "never"]
Which = Literal["all", "largest", "center"]
Mask = Literal["ellipse", "face"]

SMALL = 1500
"""Longer side in pixels below which photographs are enlarged by 2 if nothing is asked for."""
MAX_UPSCALE = 4.0


@dataclasses.dataclass(frozen=True)
class PhotographOptions:
    """How faces are found in photographs and put back.

    Raises:
        UsageError: If a value is out of its range, the file of boxes cannot be read, or the command
            for the background cannot be run.
    """

    align: Align = "auto"
    """`auto`: aligned crops go in as they are, everything else is searched for faces; `always`: so
    is everything; `never`: all inputs are aligned crops."""
    upscale: float | None = None
    """Factor of the result's size, from 1 to 4; None for 2 where the longer side is below 1500
    pixels, else 1."""
    faces: Which = "all"
    """Which faces of a photograph are restored."""
    min_face: int | None = None
    """Smallest height of a face in pixels; None for the detector's own."""
    boxes: Path | None = None
    """A file of boxes or landmarks, by hand, for the photographs that it names."""
    background: str = LANCZOS
    """What enlarges the photograph around the faces: `lanczos`, or a command of another program
    with {input} and {output}, and {scale} if it wants it."""
    mask: Mask = "ellipse"
    """`ellipse` replaces the head with its hair, `face` the face alone."""
    grain: bool = False
    """Add the photograph's grain to the restored faces."""

    def __post_init__(self) -> None:
        """Checks the values."""
        for name, kinds in (("align", Align), ("faces", Which), ("mask", Mask)):
            value, known = getattr(self, name), get_args(kinds)
            if value not in known:
                raise UsageError(f"{name} must be one of {', '.join(known)}, got {value!r}")
        if self.upscale is not None and not 1 <= self.upscale <= MAX_UPSCALE:
            raise UsageError(f"upscale must be from 1 to {MAX_UPSCALE:g}, got {self.upscale:g}")
        if self.min_face is not None and self.min_face < 1:
            raise UsageError(f"min_face must be at least 1 pixel, got {self.min_face}")
        check_background(self.background)
        _ = self.boxes_sha256

    @property
    def boxes_sha256(self) -> str | None:
        """SHA-256 of the file of boxes; None if there is none."""
        if self.boxes is None:
            return None
        try:
            return hashlib.sha256(self.boxes.read_bytes()).hexdigest()
        except OSError as error:
            raise UsageError(
                f"the boxes in {self.boxes} cannot be read ({reason_of(error)})"
            ) from error

    def of_finding(self) -> dict[str, Any]:
        """The settings that decide which faces are found."""
        return {
            "faces": self.faces,
            "min_face": self.min_face,
            "boxes_sha256": self.boxes_sha256,
        }

    def of_result(self) -> dict[str, Any]:
        """The settings that decide how a photograph comes out, for its record."""
        return self.of_finding() | {
            "upscale": self.upscale,
            "background": self.background,
            "mask": self.mask,
            "grain": self.grain,
        }

    def scale_for(self, width: int, height: int, *, restored: bool) -> float:
        """The factor of a photograph's size.

        Args:
            width: Pixels.
            height: Pixels.
            restored: Whether a face is put into it; a mere copy is enlarged only if that is asked
                for.
        """
        if self.upscale is not None:
            return self.upscale
        return 2.0 if restored and max(width, height) < SMALL else 1.0


AUTO = PhotographOptions()
