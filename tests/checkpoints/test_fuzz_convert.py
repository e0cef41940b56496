"""Files that are changed at random, by bytes or by arrays, convert or are refused: no other end."""

import os
import random

import numpy as np
import pytest

from perceptual_jax.checkpoints.foreign import substitutes
from perceptual_jax.checkpoints.foreign.convert import convert
from perceptual_jax.checkpoints.untrusted.contents import Checkpoint
from perceptual_jax.checkpoints.untrusted.inert import CheckpointError, Network
from perceptual_jax.checkpoints.untrusted.readers import read_checkpoint
from tests.checkpoints.test_harmless import BESIDE
from tests.checkpoints.test_readers import mutated
from tests.helpers.checkpoint_writers import nvidia_torch, torch_stream, whole_module
from tests.helpers.foreign_networks import (
    basicsr_arrays,
    clean_arrays,
    flaxmodels_arrays,
    mobilestylegan_arrays,
    nvidia_arrays,
    rosinality_arrays,
    tensorflow_arrays,
)

COUNT = int(os.environ.get("PERCEPTUAL_JAX_FUZZ", "300"))
NVIDIA = nvidia_arrays()
MEAN = NVIDIA["mapping.w_avg"]


@pytest.fixture(autouse=True)
def _fast_estimate(monkeypatch):
    """No file here is worth thousands of latents."""
    monkeypatch.setattr(substitutes, "_W_MEAN_SAMPLES", 1)
    monkeypatch.setattr(substitutes, "estimate_w_mean", lambda *_, **__: MEAN)


def test_changed_bytes(tmp_path):
    rng = random.Random(COUNT)
    ros = rosinality_arrays(NVIDIA)
    beside = {k: v for k, v in BESIDE.items() if k != "optimizer"}
    seeds = [
        nvidia_torch({"G_ema": nvidia_arrays(c_dim=3)}),
        torch_stream(whole_module(ros)),
        torch_stream({"g_ema": ros, "latent_avg": MEAN, **beside}),
        torch_stream({"state_dict": {f"decoder.{k}": v for k, v in ros.items()}, "w": {"x": MEAN}}),
    ]
    path, refused = tmp_path / "file.pkl", 0
    for i in range(COUNT // 2):
        path.unlink(missing_ok=True)  # the arrays of the one before are views of it
        path.write_bytes(mutated(seeds[i % len(seeds)], rng))
        try:
            convert(read_checkpoint(path))
        except CheckpointError:
            refused += 1
    assert refused > COUNT / 8


NETWORKS = {
    "nvidia": NVIDIA,
    "conditional": nvidia_arrays(c_dim=3),
    "tensorflow": tensorflow_arrays(NVIDIA),
    "rosinality": rosinality_arrays(NVIDIA),
    "prefix": {f"decoder.{k}": v for k, v in rosinality_arrays(NVIDIA).items()},
    "basicsr": basicsr_arrays(NVIDIA),
    "clean": clean_arrays(NVIDIA),
    "flaxmodels": flaxmodels_arrays(NVIDIA),
    "mobilestylegan": mobilestylegan_arrays(),
}


def changed(arrays, rng):
    """A network with a few arrays renamed, dropped, added, reshaped or of other numbers."""
    arrays = dict(arrays)
    for _ in range(rng.randint(1, 3)):
        name = rng.choice([*arrays, "more"])
        value = np.asarray(arrays.setdefault(name, MEAN))
        match rng.randrange(8):
            case 0:
                del arrays[name]
            case 1:
                arrays[rng.choice([*arrays, "a"]) + rng.choice([".", "", "/", "x.weight"])] = value
            case 2:
                arrays[name] = value[None]
            case 3:
                arrays[name] = value.reshape(-1)[: rng.randrange(3)]
            case 4:
                arrays[name] = np.swapaxes(value, 0, -1) if value.ndim else value
            case 5:
                dtypes = [np.int64, np.bool_, np.float16, np.complex64, np.uint8]
                with np.errstate(all="ignore"):
                    arrays[name] = value.real.astype(rng.choice(dtypes))
            case 6:
                other = rng.choice([np.nan, np.inf, 0.0, 1e30, 1e300])
                arrays[name] = np.full(value.shape, other, np.float64)
            case 7:
                number = rng.choice(["9" * 30, "0", "7", "-1", "999", "x"])
                digit = next((c for c in name if c.isdecimal()), "4")
                arrays[name.replace(digit, number, 1)] = arrays.pop(name)
    return arrays


@pytest.mark.parametrize("name", NETWORKS)
def test_changed_arrays(name):
    rng = random.Random(name)
    refused = 0
    for _ in range(COUNT // 5):
        arrays = changed(NETWORKS[name], rng)
        loose = {"latent_avg": changed({"a": MEAN, "b": MEAN}, rng).get("a", MEAN)}
        network = Network(arrays, {"resample_kernel": rng.choice([None, 3, [1, 3, 3, 1]])}, "")
        try:
            convert(Checkpoint("pickle", {"g_ema": network}, loose, {}))
        except CheckpointError:
            refused += 1
    assert refused > COUNT / 5 / 3
