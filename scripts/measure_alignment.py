"""How far FFHQ frames by this package's landmarks lie from those by dlib's 68 landmarks.

    python scripts/measure_alignment.py FACES... --predictor shape_predictor_68_face_landmarks.dat

FFHQ was framed by dlib's landmarks, so theirs are the frames that its generators know. Each face is
looked at as it is and turned by up to `--turn` degrees. Needs dlib, which this package does not:
`pip install dlib-bin`; its predictor is in the package face_recognition_models.

Centres and corners are compared by their distance in percent of the side of dlib's frame.
"""

from pathlib import Path
from typing import Any

import numpy as np
import tyro
from jaxtyping import Float64, UInt8
from PIL import Image

from perceptual_jax.errors import UsageError
from perceptual_jax.io.images import read_image
from perceptual_jax.io.inputs import collect_inputs
from perceptual_jax.photographs.align import ffhq_quad
from perceptual_jax.photographs.detection.find import find_faces
from perceptual_jax.photographs.detection.nets import load_face_nets

Quad = Float64[np.ndarray, "4 2"]


def dlib_tools(predictor: Path) -> tuple[Any, Any]:
    """Dlib's detector and its predictor of landmarks."""
    try:
        import dlib  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise UsageError("this script compares with dlib: pip install dlib-bin") from error
    return dlib.get_frontal_face_detector(), dlib.shape_predictor(str(predictor))  # pyright: ignore


def dlib_quad(image: UInt8[np.ndarray, "h w 3"], tools: tuple[Any, Any]) -> Quad | None:
    """FFHQ's frame of the largest face that dlib finds; None without one."""
    detector, predictor = tools
    boxes = detector(image, 1)
    if not boxes:
        return None
    found = predictor(image, max(boxes, key=lambda box: box.area()))
    points = np.array([(point.x, point.y) for point in found.parts()], np.float64)
    eyes = points[36:42].mean(axis=0), points[42:48].mean(axis=0)
    return ffhq_quad(np.stack([*eyes, points[30], points[48], points[54]]))


def errors_of(ours: Quad, theirs: Quad) -> list[float]:
    """Distance of centres and of corners, %; difference of sides, %, and of angles, degrees."""
    mine, side = ours[3] - ours[0], theirs[3] - theirs[0]
    length = np.linalg.norm(side)
    centre = np.linalg.norm(ours.mean(axis=0) - theirs.mean(axis=0)) / length
    corners = np.linalg.norm(ours - theirs, axis=1).mean() / length
    angle = np.arctan2(side[0] * mine[1] - side[1] * mine[0], side @ mine)
    longer = np.linalg.norm(mine) / length - 1
    return [
        100 * float(centre),
        100 * float(corners),
        100 * float(longer),
        float(np.degrees(angle)),
    ]


def compare(
    images: list[UInt8[np.ndarray, "h w 3"]], tools: tuple[Any, Any]
) -> tuple[Float64[np.ndarray, "n 4"], int]:
    """`errors_of` every face that both find, and how many faces only one of both found."""
    nets, found, missed = load_face_nets(), [], 0
    for image in images:
        ours = [face for face in find_faces(image, nets) if face.skipped is None]
        theirs = dlib_quad(image, tools)
        if ours and theirs is not None:
            found.append(errors_of(ours[0].quad, theirs))
        else:
            missed += bool(ours) != (theirs is not None)
    return np.array(found).reshape(-1, 4), missed


def turned(image: UInt8[np.ndarray, "h w 3"], degrees: float) -> UInt8[np.ndarray, "h w 3"]:
    """The picture turned about its middle, continued by reflection."""
    pad = image.shape[0] // 4
    wide = Image.fromarray(np.pad(image, ((pad, pad), (pad, pad), (0, 0)), mode="reflect"))
    return np.asarray(wide.rotate(degrees, Image.Resampling.BICUBIC))


def main(
    folders: tuple[str, ...],
    /,
    *,
    predictor: Path,
    limit: int = 100,
    turn: float = 30.0,
    seed: int = 0,
) -> None:
    """Prints a row for upright faces and one for turned ones.

    Args:
        folders: Pictures of one face each, or folders of them.
        predictor: dlib's file of the 68 landmarks.
        limit: Number of faces, the last by name.
        turn: Largest angle in degrees.
        seed: Of the angles.
    """
    tools, rng = dlib_tools(predictor), np.random.default_rng(seed)
    sources, _ = collect_inputs(list(folders))
    faces = [read_image(Path(str(source.path))) for source in sources[-limit:]]
    angles = rng.uniform(-turn, turn, len(faces))
    rows = {"as they are": faces}
    rows["turned"] = [turned(x, angle) for x, angle in zip(faces, angles, strict=True)]
    heads = ("compared", "by one only", "centre, %", "corners, %", "side, %", "angle, degrees")
    print(f"| median; mean for side and angle; +- standard deviation | {' | '.join(heads)} |")
    print("|---" * (len(heads) + 1) + "|")
    for name, images in rows.items():
        found, missed = compare(images, tools)
        distances = [f"{x:.2f}" for x in np.median(found[:, :2], axis=0)]
        spreads = zip(found[:, 2:].mean(axis=0), found[:, 2:].std(axis=0), strict=True)
        cells = [
            str(len(found)),
            str(missed),
            *distances,
            *(f"{m:.2f} +- {s:.2f}" for m, s in spreads),
        ]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
