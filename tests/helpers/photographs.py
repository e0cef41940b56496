"""Photographs made from formulae and faces, with the truth of where the faces are."""

import numpy as np
from PIL import Image

LANDMARKS = np.array([[0.375, 0.475], [0.625, 0.475], [0.5, 0.6], [0.41, 0.725], [0.59, 0.725]])
"""Eyes, nose and mouth's corners in FFHQ's frame, which is exactly theirs."""


def smooth_photograph(height, width, *, scale=1):
    """uint8 [h s, w s, 3]: slow waves in colour, sampled at the centres of its pixels."""
    y, x = (np.mgrid[: height * scale, : width * scale] + 0.5) / scale
    waves = [np.sin(x / 17 + y / 23), np.cos(x / 29 - y / 13), np.sin(x / 11 + 1) * np.cos(y / 19)]
    return np.rint(127.5 + 90 * np.stack(waves, axis=-1)).astype(np.uint8)


def frame(centre, side, *, degrees=0.0):
    """Corners of a square: upper left, lower left, lower right, upper right, in pixels."""
    angle = np.radians(degrees)
    x = np.array([np.cos(angle), np.sin(angle)]) * side / 2
    y = np.array([-np.sin(angle), np.cos(angle)]) * side / 2
    c = np.array(centre)
    return np.stack([c - x - y, c - x + y, c + x + y, c + x - y])


def landmarks_of(quad):
    """The five landmarks of a face in FFHQ's frame with these corners, in pixels."""
    return quad[0] + LANDMARKS[:, :1] * (quad[3] - quad[0]) + LANDMARKS[:, 1:] * (quad[1] - quad[0])


def with_face(photograph, face, quad):
    """A photograph with a face set into the square of an upright quad."""
    left, top = np.rint(quad[0] + 0.5).astype(int)
    side = round(float(np.linalg.norm(quad[3] - quad[0])))
    image = Image.fromarray(photograph)
    image.paste(Image.fromarray(face).resize((side, side), Image.Resampling.LANCZOS), (left, top))
    return np.array(image)
