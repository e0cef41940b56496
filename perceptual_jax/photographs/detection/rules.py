"""Which faces are left as they are: those that a restoration would not help, each with the reason.

Profiles come out frontal and broken, tiny faces as another person, and what only looks like a face
becomes one. The limits were found on photographs.
"""

import numpy as np
from jaxtyping import Float

CONFIRMED = 0.6
"""O-Net's score from which a candidate counts as a face."""
UNCERTAIN = 0.3
"""O-Net's score from which a candidate is named, but left alone; others are no faces."""
PROFILE = 0.6
"""Distance of the eyes over that from eyes to mouth, below which a face is a profile."""
ASIDE = 0.1
"""Distance of the nose from the line between eyes and mouth, in parts of the quad's side."""
EYES = 5.0
"""Pixels between the eyes of the smallest face that is restored."""
OUTSIDE = 1 / 3
"""Part of the quad that may lie outside the photograph."""

_GRID = 64


def reason_to_skip(
    landmarks: Float[np.ndarray, "5 2"],
    quad: Float[np.ndarray, "4 2"],
    confirmed: float,
    size: tuple[int, int],
    *,
    height: float,
    min_face: float,
) -> str | None:
    """Why the face is left as it is, in one sentence, or None if it is to be restored.

    Args:
        landmarks: x and y of eyes, nose and corners of the mouth.
        quad: Corners of its FFHQ crop.
        confirmed: O-Net's score.
        size: Height and width of the photograph.
        height: Longer side of the face's box, pixels.
        min_face: Smallest `height`.
    """
    eyes = float(np.hypot(*(landmarks[1] - landmarks[0])))
    middle, mouth = landmarks[:2].mean(axis=0), landmarks[3:].mean(axis=0)
    axis = mouth - middle
    length = float(np.hypot(*axis))
    side = float(np.hypot(*(quad[3] - quad[0])))
    nose = landmarks[2] - middle
    aside = abs(float(axis[0] * nose[1] - axis[1] * nose[0])) / max(length, 1e-9) / max(side, 1e-9)
    if confirmed < CONFIRMED:
        return f"it is uncertain whether this is a face (score {confirmed:.2f}, needs {CONFIRMED})"
    if height < min_face:
        return f"the face is {height:.0f} px large, and faces below {min_face:g} px are left alone"
    if eyes < EYES:
        return f"the eyes are only {eyes:.1f} px apart, and {EYES:g} px are needed"
    if eyes < PROFILE * length:
        return (
            "the face is turned to the side (the distance of its eyes is "
            f"{eyes / length:.2f} of that from eyes to mouth, a front has {PROFILE} or more)"
        )
    if aside > ASIDE:
        return (
            "the face is turned to the side (its nose lies "
            f"{aside:.2f} of the crop beside the middle, a front has {ASIDE} or less)"
        )
    if (outside := part_outside(quad, size)) > OUTSIDE:
        return f"{outside:.0%} of the face's crop lies outside the photograph, a third may"
    return None


def part_outside(quad: Float[np.ndarray, "4 2"], size: tuple[int, int]) -> float:
    """The part of the quad's area outside a photograph, to about 1 %.

    Args:
        quad: Corners, pixel centres.
        size: Height and width of the photograph.

    Example:
        >>> part_outside(np.array([[-2.5, -0.5], [-2.5, 3.5], [1.5, 3.5], [1.5, -0.5]]), (4, 4))
        0.5
    """
    steps = (np.arange(_GRID) + 0.5) / _GRID
    across, down = quad[3] - quad[0], quad[1] - quad[0]
    points = quad[0] + steps[:, None, None] * across + steps[None, :, None] * down
    inside = (points >= -0.5) & (points <= np.array(size[::-1]) - 0.5)
    return float(1 - inside.all(axis=-1).mean())
