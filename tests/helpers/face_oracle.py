"""What sees faces that are painted as two halves, in place of the networks: the truth is known.

A face is a square whose upper half is red and whose lower half is green; in other directions it is
none. The oracle sees those of 20 to 600 px, as RetinaFace does, and has a hint of smaller ones.
"""

import numpy as np
from scipy.ndimage import find_objects, label

from perceptual_jax.photographs.detection.nets import Detections, FaceNets
from perceptual_jax.photographs.detection.retinaface import anchors

PLACES = np.array([[0.27, 0.4], [0.73, 0.4], [0.5, 0.62], [0.3, 0.8], [0.7, 0.8]])
"""Where the oracle says that eyes, nose and corners of the mouth are in the square."""

RED, GREEN = (230, 20, 20), (20, 230, 20)
SEEN, HINTED = (19.5, 600), 8


def paint(photograph, left, top, side):
    """Paints a face into the photograph, in place."""
    middle = top + side // 2
    photograph[top:middle, left : left + side] = RED
    photograph[middle : top + side, left : left + side] = GREEN


def is_near(pixels, colour):
    return (np.abs(pixels.astype(int) - colour) < 90).all(axis=-1)


class Oracle(FaceNets):
    """Nets that see painted faces; `canvases` are the sizes of what it was shown."""

    def __init__(self, *, confirmed=0.995):
        """Args: confirmed: O-Net's score."""
        self.confirmed = confirmed
        self.canvases = []

    def detect(self, canvas):
        height, width, _ = canvas.shape
        self.canvases.append((height, width))
        every = anchors(height, width)
        boxes = np.zeros((len(every), 4), np.float32)
        points = np.zeros((len(every), 10), np.float32)
        scores = np.zeros(len(every), np.float32)
        red, green = is_near(canvas, RED), is_near(canvas, GREEN)
        for rows, columns in find_objects(label(red | green)[0]):
            part = (rows, columns)
            middle = (rows.stop - rows.start) // 2
            if not (red[part][: max(middle, 1)].mean() > 0.7 < green[part][middle:].mean()):
                continue
            low = np.array([columns.start, rows.start], float)
            size = np.array([columns.stop, rows.stop]) - low
            if not HINTED <= size.max() <= SEEN[1]:
                continue
            distance = np.abs(every[:, :2] - low - size / 2).sum(axis=1) + abs(
                every[:, 2] - size.mean()
            )
            best = int(distance.argmin())
            centre, side = every[best, :2], every[best, 2]
            boxes[best] = [*(low + size / 2 - centre) / (0.1 * side), *np.log(size / side) / 0.2]
            points[best] = ((low + PLACES * size - centre) / (0.1 * side)).reshape(-1)
            scores[best] = 0.995 if size.max() >= SEEN[0] else 0.05
        return Detections(boxes, scores, points)

    def confirm(self, crops):
        shows = (is_near(crops, RED) | is_near(crops, GREEN)).mean(axis=(1, 2)) > 0.3
        scores = np.where(shows, self.confirmed, 0).astype(np.float32)
        return scores, np.repeat(PLACES[None], len(crops), axis=0).astype(np.float32)
