"""Makes a short sequence from one photograph, restores it in several ways, and measures flicker.

A slow pan and zoom over the photograph, each frame with noise of its own and compressed as a JPEG.
The way that each pixel takes is known, so flicker is measured twice: in the smoothed frames of the
face, as every job does, and along the true motion, over the whole head.

python scripts/measure_sequence.py astronaut.png --out DIR
"""

import dataclasses
import json
from pathlib import Path

import numpy as np
import tyro
from PIL import Image

from perceptual_jax.config_files import load_config
from perceptual_jax.io.images import read_image
from perceptual_jax.jobs.plan import JobOptions
from perceptual_jax.jobs.sequences.job import restore_sequence
from perceptual_jax.jobs.sequences.options import SequenceOptions
from perceptual_jax.photographs.align import crop_face
from perceptual_jax.photographs.compositing.blend import scaled_points
from perceptual_jax.photographs.compositing.tone import luma

WAYS = {
    "each frame by itself": SequenceOptions(smoothing=0, warm=0, keep=1),
    "tracked and smoothed": SequenceOptions(warm=0, keep=1),
    "from the frame before": SequenceOptions(keep=1),
    "all": SequenceOptions(),
}


@dataclasses.dataclass(frozen=True)
class Scene:
    """The square of the photograph that frame t shows, and the damage."""

    left: float = 60
    top: float = 0
    side: float = 300
    pan: float = 1.5
    zoom: float = 0.994
    frames: int = 12
    size: int = 288
    noise: float = 6
    quality: int = 60

    def quad(self, t: int) -> np.ndarray:
        """Corners of what frame t shows, in the photograph."""
        side = self.side * self.zoom**t
        low = np.array([self.left, self.top]) + self.pan * t * np.array([1.0, 0.4]) - 0.5
        return low + side * np.array([[0, 0], [0, 1], [1, 1], [1, 0]])


def shoot(photograph: np.ndarray, scene: Scene, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for t in range(scene.frames):
        clean = crop_face(photograph, scene.quad(t), scene.size)
        noisy = clean + rng.normal(0, scene.noise, clean.shape)
        image = Image.fromarray(np.clip(np.rint(noisy), 0, 255).astype(np.uint8))
        image.save(folder / f"{t:03d}.jpg", quality=scene.quality)


def true_flicker(folder: Path, scene: Scene, face: np.ndarray, *, side: int = 256) -> float:
    """Mean absolute change of luma along the true motion of a square of the photograph."""
    before, changes = None, []
    for t, path in enumerate(sorted(folder.iterdir())):
        frame, quad = read_image(path), scene.quad(t)
        scale = scene.size / (quad[3, 0] - quad[0, 0])
        here = (face - quad[0]) * scale - 0.5
        enlarged = len(frame) / scene.size
        here = scaled_points(here, (enlarged, enlarged))
        now = luma(crop_face(frame, here, side))
        if before is not None:
            changes.append(np.abs(now - before).mean())
        before = now
    return float(np.mean(changes))


def main(
    photograph: tyro.conf.Positional[Path],
    out: Path,
    face: tuple[float, float, float],
    frames: int = 12,
    ways: tuple[str, ...] = tuple(WAYS),
) -> None:
    """Restores and measures.

    Args:
        face: Left, top and side of a square in the photograph within the head.
        ways: Which of the ways to restore it.
    """
    scene = Scene(frames=frames)
    shoot(read_image(photograph), scene, out / "in")
    square = np.array(face[:2]) - 0.5 + face[2] * np.array([[0, 0], [0, 1], [1, 1], [1, 0]])
    print(f"input along the true motion: {true_flicker(out / 'in', scene, square):.2f} levels")
    for name in ways:
        folder = out / name.replace(" ", "_")
        summary = restore_sequence(
            out / "in",
            folder,
            load_config("default"),
            JobOptions(),
            sequence=WAYS[name],
            report=print,
        )
        found = json.loads((folder / "sequence.json").read_text())["sequence"]["flicker"]
        true = true_flicker(folder / "frames", scene, square)
        print(
            f"{name}: {found['result']:.2f} of {found['input']:.2f} levels, ratio "
            f"{found['ratio']:.2f}; along the true motion {true:.2f}; {summary.seconds:.0f} s",
            flush=True,
        )


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
