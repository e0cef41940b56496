"""A sequence: faces tracked, restored from the frame before, put back; resumed after a kill."""

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from perceptual_jax.errors import UsageError
from perceptual_jax.jobs.plan import JobOptions
from perceptual_jax.jobs.photographs.options import PhotographOptions
from perceptual_jax.jobs.sequences.job import restore_sequence
from tests.helpers.job_files import CONFIG, pixels_of
from tests.helpers.photographs import frame, landmarks_of, smooth_photograph

COUNT, SIZE = 6, (64, 48)


def quad_at(number):
    """A face that moves to the right and grows."""
    return frame((28.0 + number, 22.0), 20 + number / 2, degrees=number)


def shoot(folder, count=COUNT, *, noise=4.0):
    """Frames of a slow pan, and a file of landmarks by hand."""
    folder.mkdir(parents=True)
    large = smooth_photograph(SIZE[1], SIZE[0] + count)
    rng = np.random.default_rng(0)
    marks = {}
    for number in range(count):
        pixels = large[:, number : number + SIZE[0]] + rng.normal(0, noise, (SIZE[1], SIZE[0], 3))
        name = f"shot{number + 8}.png"  # shot10 comes after shot9
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(folder / name)
        marks[name] = [landmarks_of(quad_at(number)).tolist()]
    boxes = folder.parent / "marks.json"
    boxes.write_text(json.dumps(marks))
    return boxes


@pytest.fixture(scope="session")
def shots(tmp_path_factory):
    root = tmp_path_factory.mktemp("sequence")
    shoot(root / "in")
    return root


@pytest.fixture
def restore(narrow, shots):
    def run(out, source=shots / "in", *, report=None, progress=None, **values):
        photographs = PhotographOptions(**{"boxes": shots / "marks.json", "upscale": 2} | values)
        return restore_sequence(
            source,
            out,
            CONFIG,
            JobOptions(),
            photographs=photographs,
            generator=narrow,
            report=report,
            progress=progress,
        )

    return run


def test_run(restore, tmp_path):
    said = []
    print(restore(tmp_path / "out", report=said.append))
    print(said)
    print(sorted(p.relative_to(tmp_path).as_posix() for p in (tmp_path / "out").rglob("*")))
    print((tmp_path / "out/sequence.json").read_text())
