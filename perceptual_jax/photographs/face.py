"""A face in a photograph: where it is, how it is framed, and why it may be left alone.

Two ways to count places, both in pixels of the upright photograph, x to the right and y down:

    box               edges: the first pixel reaches from 0 to 1
    landmarks, quad   centres: the first pixel lies at 0, so an edge coordinate minus 1/2
"""

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Float64

LANDMARKS = ("eye_left", "eye_right", "nose", "mouth_left", "mouth_right")
"""Names of the landmarks; left and right are those of the picture."""


@dataclasses.dataclass(frozen=True, eq=False)
class Face:
    """One face of a photograph."""

    box: tuple[float, float, float, float]
    """Left, top, right and bottom edge, pixels; it may reach beyond the photograph."""
    score: float
    """Score of the detector, 0 to 1; 1 for a face that was marked by hand."""
    confirmed: float | None
    """Score of the network that confirms faces (O-Net), 0 to 1; None if landmarks were marked."""
    landmarks: Float64[np.ndarray, "5 2"]
    """x and y of `LANDMARKS`, pixel centres."""
    quad: Float64[np.ndarray, "4 2"]
    """x and y of the corners of the FFHQ crop, pixel centres: upper left, lower left, lower right,
    upper right, as the face sees it. It may reach beyond the photograph."""
    skipped: str | None = None
    """Why the face is left as it is, in one sentence; None if it is to be restored."""
    turned: int = 0
    """Quarter turns, counter-clockwise, that the photograph was given before the face was found."""

    @property
    def side(self) -> float:
        """Side of the quad in pixels."""
        return float(np.linalg.norm(self.quad[3] - self.quad[0]))

    def to_json(self) -> dict[str, Any]:
        """The face as an object that JSON can represent; landmarks by name."""
        landmarks = zip(LANDMARKS, self.landmarks.tolist(), strict=True)
        return dataclasses.asdict(self) | {
            "box": list(self.box),
            "landmarks": dict(landmarks),
            "quad": self.quad.tolist(),
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "Face":
        """The face of an object that `to_json` made.

        Raises:
            KeyError: If a field is missing.
        """
        left, top, right, bottom = map(float, value["box"])
        return cls(
            box=(left, top, right, bottom),
            score=float(value["score"]),
            confirmed=None if value["confirmed"] is None else float(value["confirmed"]),
            landmarks=np.array([value["landmarks"][name] for name in LANDMARKS], np.float64),
            quad=np.array(value["quad"], np.float64).reshape(4, 2),
            skipped=value["skipped"],
            turned=int(value["turned"]),
        )
