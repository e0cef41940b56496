"""Pictures with edges, textures and colour, made from a seed."""

import numpy as np


def picture(seed=0, height=64, width=64):
    """uint8 [h w 3]: smooth waves and hard-edged discs."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] / 64
    image = np.zeros((height, width, 3))
    for _ in range(5):
        fx, fy, phase = rng.uniform((1, 1, 0), (9, 9, 6))
        image += np.sin(fx * x + fy * y + phase)[..., None] * rng.uniform(-0.3, 0.3, 3)
    for _ in range(4):
        cx, cy, r = rng.uniform(0, width / 64), rng.uniform(0, height / 64), rng.uniform(0.1, 0.4)
        image[np.hypot(x - cx, y - cy) < r] += rng.uniform(-0.6, 0.6, 3)
    return np.clip(np.rint(127.5 + 90 * image), 0, 255).astype(np.uint8)


def as_float(image):
    return image.astype(np.float32) / np.float32(127.5) - 1
