"""The batch axis over many devices of one host."""

import subprocess
import sys

import numpy as np
import pytest

from tests.helpers.job_files import lines, picture, pixels_of
from tests.helpers.processes import environment

pytestmark = pytest.mark.slow

QUICK = """
[search]
steps = 12
draft = 16
[features]
resolution = 4
steps = 2
correct_every = 2
[finish]
steps = 4
[prior]
bank_size = 16
spread = 0.5
[noise]
mode = "random"
"""


@pytest.mark.long
def test_eight_devices_give_what_one_gives(narrow_path, tmp_path):
    for i in range(11):  # So that a batch of 8 and one of 3 are padded and shared.
        picture(tmp_path / "in" / f"{i:02d}.png", i)
    (tmp_path / "quick.toml").write_text(QUICK)
    for devices in (1, 8):
        command = [sys.executable, "-m", "perceptual_jax.cli", "restore", str(tmp_path / "in")]
        command += ["--out", str(tmp_path / f"{devices}"), "--batch-size", "8"]
        command += ["--config", str(tmp_path / "quick.toml"), "--generator", str(narrow_path)]
        variables = environment(JAX_NUM_CPU_DEVICES=str(devices))
        subprocess.run(command, env=variables, check=True, timeout=300)
    for one, eight in zip(lines(tmp_path / "1"), lines(tmp_path / "8"), strict=True):
        assert (one["device"][0], eight["device"][0]) == ("1", "8")
        arrays, others = (
            np.load(tmp_path / folder / f"{one['name']}.npz") for folder in ("1", "8")
        )
        for name in arrays.files:
            # A device's batch is of 1 here and of 8 there, so sums are rounded in another order.
            np.testing.assert_allclose(arrays[name], others[name], rtol=1e-3, atol=1e-4)
        pictures = [pixels_of(tmp_path / n / f"{one['name']}.png").astype(int) for n in "18"]
        assert np.abs(pictures[0] - pictures[1]).max() <= 1
