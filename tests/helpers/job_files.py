"""What the tests of jobs share: a config, pictures, and looks at a job's folder."""

import json

import numpy as np
from PIL import Image

from perceptual_jax.config import (
    FeaturesConfig,
    FinishConfig,
    NoiseConfig,
    PriorConfig,
    RestoreConfig,
    SearchConfig,
)

CONFIG = RestoreConfig(
    generator="narrow",
    search=SearchConfig(steps=12, draft=16),
    features=FeaturesConfig(resolution=0),
    finish=FinishConfig(steps=0, project=False),
    prior=PriorConfig(bank_size=16, spread=0.5),
    noise=NoiseConfig(mode="random"),
)
"""Random in all that can be, so that one compiled search does for all tests."""


def picture(path, seed, *, width=8, height=8):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return pixels


def contents(folder):
    """The files by name, but for what processes say of themselves."""
    return {p.name: p.read_bytes() for p in folder.iterdir() if not p.name.startswith(".")}


def lines(out):
    text = (out / "results.jsonl").read_text(encoding="utf-8")
    assert text.endswith("\n")
    return [json.loads(line) for line in text.splitlines()]


def pixels_of(path):
    return np.asarray(Image.open(path))


def assert_same_result(one, other):
    """Whether two results are the same as far as a picture's row in its batch leaves them.

    Args:
        one: Path of a result's picture or arrays.
        other: That of another result's.
    """
    if one.suffix == ".png":
        assert np.abs(pixels_of(one).astype(int) - pixels_of(other)).max() <= 1
        return
    with np.load(one) as first, np.load(other) as second:
        assert first.files == second.files
        for name in first.files:
            np.testing.assert_allclose(first[name], second[name], rtol=1e-5, atol=1e-5)
