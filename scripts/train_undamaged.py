"""Trains the regression that tells undamaged faces from damaged ones, and measures it.

    python scripts/train_undamaged.py FACES... --out undamaged.safetensors

Each clean face of at least 512 px is scaled down to 128 to 256 px by a filter drawn at random; most
are then damaged: noise, blur, WebP, or a JPEG that was resized before or after. Pictures that count
as blurred or show a JPEG's grid are left out, since nobody asks about them. The last tenth of each
folder by name is held out; on it damages are tried that no training saw.
"""

import io
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import scipy.optimize
import tyro
from PIL import Image, ImageFilter

from perceptual_jax.degradation.detail import measure_detail
from perceptual_jax.degradation.jpeg_traces import find_header
from perceptual_jax.degradation.undamaged import (
    SIZES,
    SURE,
    Regression,
    features,
    load_regression,
    log_odds,
    save_regression,
)
from perceptual_jax.io.images import read_image
from perceptual_jax.io.inputs import collect_inputs
from perceptual_jax.jobs.reading import SHARP

FILTERS = [Image.Resampling[name] for name in ("LANCZOS", "BICUBIC", "BOX", "HAMMING", "BILINEAR")]
TRAINED = ("clean", "noise", "blur", "webp", "jpeg", "noise and jpeg")
UNSEEN = ("clean twice", "clean sharpened", "avif", "jpeg 2000", "median", "grain", "two jpegs")


def resized(image: np.ndarray, side: int, rng: np.random.Generator) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize((side, side), rng.choice(FILTERS)))


def coded(image: np.ndarray, form: str, **options) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(image).save(file, form, **options)
    return np.asarray(Image.open(file).convert("RGB"))


def filtered(image: np.ndarray, by: ImageFilter.Filter) -> np.ndarray:
    return np.asarray(Image.fromarray(image).filter(by))


def noisy(image: np.ndarray, deviation: float, rng: np.random.Generator) -> np.ndarray:
    shape = image.shape if rng.random() < 0.5 else (*image.shape[:2], 1)
    return np.clip(image + rng.normal(0, deviation, shape), 0, 255).round().astype(np.uint8)


def made(clean: np.ndarray, kind: str, side: int, rng: np.random.Generator) -> np.ndarray:
    """A picture of one kind, of `side` pixels, from a clean face."""
    small, quality = resized(clean, side, rng), int(rng.integers(8, 70))
    between = resized(clean, int(min(side * rng.uniform(0.7, 2), 450)), rng)
    subsampling = int(rng.choice([0, 2, 2]))
    if kind == "clean twice":
        return resized(resized(clean, int(side * rng.uniform(1.1, 1.9)), rng), side, rng)
    if kind == "two jpegs":
        between = resized(coded(between, "JPEG", quality=60), between.shape[0] - 9, rng)
    if kind in ("jpeg", "noise and jpeg", "two jpegs"):
        if kind == "noise and jpeg":
            between = noisy(between, rng.uniform(1, 8), rng)
        return resized(coded(between, "JPEG", quality=quality, subsampling=subsampling), side, rng)
    match kind:
        case "noise":
            return noisy(small, rng.uniform(3, 15), rng)
        case "blur":
            return filtered(small, ImageFilter.GaussianBlur(rng.uniform(0.7, 1.3)))
        case "clean sharpened":
            return filtered(small, ImageFilter.UnsharpMask(1, 40, 0))
        case "median":
            return filtered(small, ImageFilter.MedianFilter(3))
        case "grain":
            grain = noisy(np.full_like(small, 128), 12, rng)
            grain = filtered(grain, ImageFilter.GaussianBlur(0.6)) - 128.0
            return np.clip(small + grain, 0, 255).round().astype(np.uint8)
        case "webp" | "avif":
            return coded(small, kind.upper(), quality=quality)
        case "jpeg 2000":
            return coded(small, "JPEG2000", quality_mode="rates", quality_layers=[24])
    return small


def samples_of(
    face: Path, kinds: tuple[str, ...], each: int, seed: int
) -> list[tuple[str, np.ndarray]]:
    """Kinds and features of the pictures of a face that the regression is asked about."""
    rng = np.random.default_rng([seed, *face.stem.encode()])
    clean, found = read_image(face), []
    for _ in range(each):
        kind = str(rng.choice(kinds, p=WEIGHTS if kinds == TRAINED else None))
        picture = made(clean, kind, int(rng.integers(SIZES[0], SIZES[1] + 1)), rng)
        sharp = measure_detail(picture).size >= SHARP * picture.shape[0]
        if sharp and find_header(picture) is None:
            found.append((kind, features(picture)))
    return found


WEIGHTS = (0.35, 0.17, 0.08, 0.12, 0.22, 0.06)
"""How often each kind of training is drawn."""


def fitted(x: np.ndarray, clean: np.ndarray, decay: float) -> Regression:
    """The ridge-regularised regression of features; both classes count alike."""
    mean, scale = x.mean(axis=0), 1 / x.std(axis=0)
    z = (x - mean) * scale
    rows, columns = np.triu_indices(z.shape[1])
    products = z[:, rows] * z[:, columns]
    spread = products.std(axis=0)
    design = np.concatenate([z, products / spread, np.ones((len(z), 1))], axis=1)
    sign = np.where(clean, 1.0, -1.0)
    weight = np.where(clean, 0.5 / clean.mean(), 0.5 / (1 - clean.mean()))

    def loss(b: np.ndarray) -> tuple[float, np.ndarray]:
        margin = sign * (design @ b)
        slope = -weight * sign * scipy.special.expit(-margin)
        value = (weight * np.logaddexp(0, -margin)).mean() + decay * b @ b
        return value, slope @ design / len(design) + 2 * decay * b

    start = np.zeros(design.shape[1])
    b = scipy.optimize.minimize(loss, start, jac=True, options={"maxiter": 3000}, method="L-BFGS-B")
    d = z.shape[1]
    quadratic = np.zeros((d, d))
    quadratic[rows, columns] = b.x[d:-1] / spread
    return Regression(mean, scale, b.x[-1], b.x[:d], quadratic)


def main(folders: tuple[str, ...], /, *, out: Path, each: int = 8, decay: float = 3e-4) -> None:
    """Trains, writes and measures.

    Args:
        folders: Clean faces of at least 512 px.
        out: File of the regression.
        each: Pictures made of each face.
        decay: Weight of the squared coefficients.
    """
    faces = [[Path(str(x.path)) for x in collect_inputs([folder])[0]] for folder in folders]
    seen = [face for some in faces for face in some[: -len(some) // 10]]
    with ProcessPoolExecutor() as pool:
        draw = partial(samples_of, kinds=TRAINED, each=each, seed=0)
        rows = [row for rows in pool.map(draw, seen, chunksize=8) for row in rows]
        clean = np.array([kind == "clean" for kind, _ in rows])
        save_regression(out, fitted(np.stack([row for _, row in rows]), clean, decay))
        regression = load_regression(out)
        print(f"{len(rows)} pictures, {clean.mean():.0%} clean", flush=True)
        for folder, some in zip(folders, faces, strict=True):
            print(f"| {Path(folder).name} | pictures | taken for undamaged |\n|---|---|---|")
            for seed, kinds in enumerate([TRAINED, UNSEEN], start=1):
                odds: dict[str, list[float]] = {kind: [] for kind in kinds}
                make = partial(samples_of, kinds=kinds, each=2 * each, seed=seed)
                for found in pool.map(make, some[-len(some) // 10 :], chunksize=4):
                    for kind, row in found:
                        odds[kind].append(log_odds(regression, row))
                for kind, values in odds.items():
                    share = f"{np.mean(np.array(values) > SURE):.1%}" if values else "-"
                    print(f"| {kind} | {len(values)} | {share} |", flush=True)


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
