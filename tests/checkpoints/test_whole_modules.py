"""Modules saved whole, torch.save(G): their tensors are collected, their classes never imported."""

import numpy as np
import pytest

from perceptual_jax.checkpoints.foreign.convert import convert
from perceptual_jax.checkpoints.untrusted.inert import CheckpointError
from perceptual_jax.checkpoints.untrusted.readers import read_checkpoint
from tests.helpers.checkpoint_writers import (
    Call,
    Global,
    New,
    Persistent,
    dumps,
    nvidia_torch,
    torch_stream,
    torch_zip,
    whole_module,
)
from tests.helpers.foreign_networks import nvidia_arrays, rosinality_arrays

NVIDIA = nvidia_arrays()


def persistent(module):
    """The module as stylegan2-ada-pytorch's persistence pickles it."""
    state = module.state | {
        "_modules": {k: persistent(v) for k, v in module.state["_modules"].items()}
    }
    meta = {"type": "class", "version": 6, "module_src": "raise SystemExit", "state": state}
    function = Global("torch_utils.persistence", "_reconstruct_persistent_obj")
    return Call(function, (meta | {"class_name": module.kind.name},))


@pytest.mark.parametrize("save", [torch_zip, torch_stream])
@pytest.mark.parametrize(
    "value",
    [
        persistent(whole_module(NVIDIA)),
        {"G_ema": persistent(whole_module(NVIDIA)), "step": 3},
        whole_module(rosinality_arrays(NVIDIA)),
        whole_module({"module." + k: v for k, v in rosinality_arrays(NVIDIA).items()}),
        {"g_ema": whole_module(rosinality_arrays(NVIDIA)), "latent_avg": NVIDIA["mapping.w_avg"]},
    ],
    ids=["PTI", "PTI in a dict", "rosinality", "DataParallel", "in a dict"],
)
def test_a_whole_generator_is_its_arrays(tmp_path, save, value):
    path = tmp_path / "model.pt"
    path.write_bytes(save(value))
    got = convert(read_checkpoint(path)).arrays
    (tmp_path / "own.pkl").write_bytes(nvidia_torch({"G_ema": NVIDIA}))
    expected = convert(read_checkpoint(tmp_path / "own.pkl")).arrays
    assert got.keys() == expected.keys()
    for name in expected.keys() - {"w_mean"}:
        np.testing.assert_array_equal(got[name], expected[name])


def test_older_streams_name_a_class_with_its_source(tmp_path):
    def with_source(module):
        """The module as torch saved it before zip files: its class with file and source."""
        reference = Persistent(("module", module.kind, "model.py", "raise SystemExit"))
        parts = {k: with_source(v) for k, v in module.state["_modules"].items()}
        return New(reference, (), module.state | {"_modules": parts})

    path = tmp_path / "model.pt"
    path.write_bytes(torch_stream(with_source(whole_module(rosinality_arrays(NVIDIA)))))
    assert convert(read_checkpoint(path)).config["channels"] == [6, 5, 4]


def test_what_is_whole_and_no_generator_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "file.pt"
    for value, message in [
        (New(Global("model", "Settings"), (), {"a": 1}), "a whole model.Settings, not its tensors"),
        (New(Global("__torch__", "Net"), (), {"a": 1}), "a compiled TorchScript program"),
        (whole_module({"b4.conv.weight": np.ones(3, np.float32)}), "no StyleGAN2 generator"),
        (New(Global("subprocess", "Popen"), (["touch", "canary"],)), "a whole subprocess.Popen"),
        ({"g": New(Global("os", "system"), ("touch canary",))}, "no network at all"),
    ]:
        path.write_bytes(torch_zip(value))
        with pytest.raises(CheckpointError, match=message):
            convert(read_checkpoint(path))
    path.write_bytes(dumps(New(Global("os", "system"), ("touch canary",))))
    with pytest.raises(CheckpointError, match="none of NVIDIA's"):
        read_checkpoint(path)
    assert [p.name for p in tmp_path.iterdir()] == ["file.pt"]
