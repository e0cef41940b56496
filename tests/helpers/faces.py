"""Photographs with generated faces at known places."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from perceptual_jax.photographs.align import photograph_to_crop
from perceptual_jax.photographs.detection.nets import FaceNets

GALLERY = Path(__file__).parents[2] / "docs" / "images" / "gallery.jpg"
CELL = 160


class ConstantNets(FaceNets):
    """Nets whose O-Net sees a face at one place of every square, with one score."""

    def __init__(self, score):
        self.score = score

    def confirm(self, crops):
        place = np.array([[0.3, 0.35], [0.7, 0.35], [0.5, 0.6], [0.35, 0.8], [0.65, 0.8]])
        n = len(crops)
        return np.full(n, self.score, np.float32), np.tile(place.astype(np.float32), (n, 1, 1))


def generated_faces():
    """Six faces of the generator in FFHQ framing, 160 px: the last row of the README's picture."""
    with Image.open(GALLERY) as gallery:
        top = gallery.height - 198
        return [
            gallery.convert("RGB").crop((left, top, left + CELL, top + CELL))
            for left in range(16, 16 + 6 * (CELL + 6), CELL + 6)
        ]


def background(height, width, seed=0):
    """A blurred picture without a face."""
    rng = np.random.default_rng(seed)
    noise = rng.integers(0, 256, (height // 16 + 1, width // 16 + 1, 3), np.uint8)
    image = Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)
    return image.filter(ImageFilter.GaussianBlur(6))


def quad_at(x, y, side, degrees=0.0):
    """The quad of a side around a centre, turned clockwise."""
    angle = np.radians(degrees)
    across = side * np.array([np.cos(angle), np.sin(angle)])
    down = np.array([-across[1], across[0]])
    corner = np.array([x, y]) - across / 2 - down / 2
    return np.stack([corner, corner + down, corner + across + down, corner + across])


def put(photograph, face, quad):
    """Puts a face into a quad of a photograph: an ellipse of it, as a head has no corners."""
    side = max(round(float(np.hypot(*(quad[3] - quad[0])))), 1)
    face = face.resize((side, side), Image.Resampling.LANCZOS)
    # Pillow maps edges, half a pixel beside the centres.
    centres = np.array([[1, 0, -0.5], [0, 1, -0.5], [0, 0, 1]])
    matrix = np.linalg.inv(centres) @ photograph_to_crop(quad, side) @ centres
    y, x = (np.mgrid[:side, :side] + 0.5) / side - 0.5
    mask = Image.fromarray(np.uint8(255 * (np.hypot(x / 0.45, y / 0.5) < 1)))
    arguments = (photograph.size, Image.Transform.AFFINE, matrix[:2].ravel().tolist())
    warped = face.transform(*arguments, resample=Image.Resampling.BICUBIC)
    photograph.paste(warped, (0, 0), mask.transform(*arguments))
