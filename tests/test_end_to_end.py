"""One picture through the whole default: the shipped generator with its drafts, in few steps."""

import json
from pathlib import Path

import numpy as np
import pytest

import perceptual_jax as pj
from perceptual_jax.config_files import load_config, override

EXAMPLE = Path(__file__).parents[1] / "examples" / "face11.png"


@pytest.mark.slow
def test_the_default_generator_restores_an_example(tmp_path):
    steps = {"search.steps": 10, "features.steps": 10, "features.correct_every": 10}
    config = override(load_config("default"), steps | {"finish.steps": 3})
    summary = pj.restore_files(EXAMPLE, tmp_path, config)
    assert summary.restored == 1
    image = pj.read_image(tmp_path / "face11.png")
    assert image.shape == (1024, 1024, 3)
    found = json.loads((tmp_path / "face11.json").read_text())["restorations"][0]
    # The last step projects: the picture degrades to the input, whatever the search left.
    assert found["consistency_psnr"] > 35
    given = pj.read_image(EXAMPLE).astype(float)
    small = image.reshape(32, 32, 32, 32, 3).mean(axis=(1, 3))
    assert np.abs(small - given).mean() < 8
