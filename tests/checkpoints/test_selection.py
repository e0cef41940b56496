"""The generator of a file, whatever stands before its names and beside it."""

import numpy as np
import pytest

from perceptual_jax.checkpoints.foreign.convert import WrongShapeError, convert
from perceptual_jax.checkpoints.untrusted.contents import Checkpoint
from perceptual_jax.checkpoints.untrusted.inert import CheckpointError, Network
from perceptual_jax.checkpoints.untrusted.readers import read_checkpoint
from tests.helpers.checkpoint_writers import nvidia_torch, torch_zip
from tests.helpers.foreign_networks import (
    W,
    basicsr_arrays,
    mobilestylegan_arrays,
    nvidia_arrays,
    rosinality_arrays,
)

MEAN = nvidia_arrays()["mapping.w_avg"]


def read(tmp_path, value):
    path = tmp_path / "file.pt"
    path.write_bytes(torch_zip(value))
    return read_checkpoint(path)


def under(prefix, arrays):
    return {prefix + name: value for name, value in arrays.items()}


@pytest.fixture(scope="module")
def expected():
    own = Network(nvidia_arrays(), {}, "")
    return convert(Checkpoint("nvidia-torch", {"G_ema": own}, {}, {})).arrays


@pytest.mark.parametrize("write", [dict, rosinality_arrays, basicsr_arrays])
@pytest.mark.parametrize(
    "prefix",
    ["", "module.", "decoder.", "generator.", "G_ema.", "model.module.g_ema.", "a.b-c.d_1."],
)
def test_any_prefix_is_left_out_and_what_lies_beside_it(tmp_path, expected, write, prefix):
    arrays = under(prefix, write(nvidia_arrays()))
    beside = {"encoder.input_layer.0.weight": np.ones((2, 2), np.float32)} if prefix else {}
    value = {"state_dict": arrays | beside, "latent_avg": MEAN, "opts": {"device": "cuda:0"}}
    got = convert(read(tmp_path, value))
    assert got.about["network"] == f"state_dict.{prefix}".rstrip(".")
    assert got.arrays.keys() == expected.keys()
    for name, value in got.arrays.items():
        np.testing.assert_array_equal(value, expected[name])


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_networks_in_dicts_of_dicts(tmp_path, expected, depth):
    value = {"latent_avg": MEAN, "generator": rosinality_arrays(nvidia_arrays())}
    for i in range(depth):
        value = {f"level{i}": value, "optimizer": {"state": {0: {"step": MEAN}}}}
    arrays = convert(read(tmp_path, value)).arrays
    for name, value in expected.items():
        np.testing.assert_array_equal(arrays[name], value)


@pytest.mark.parametrize("copies", [(), (1,), (6,), (1, 6), (18,)])
def test_the_mean_in_every_shape(tmp_path, copies):
    arrays = rosinality_arrays(nvidia_arrays())
    mean = np.broadcast_to(MEAN, (*copies, W)).copy()
    for value in (
        {"g_ema": arrays, "latent_avg": mean},
        {"state_dict": under("decoder.", arrays) | {"latent_avg": mean}},
        {"state_dict": under("decoder.", arrays | {"latent_avg": mean})},
        under("decoder.", arrays) | {"latent_avg": mean},
        arrays | {"latent_avg": mean, "n_averaged": np.ones((), np.float32)},
    ):
        got = convert(read(tmp_path, value))
        np.testing.assert_array_equal(got.arrays["w_mean"], MEAN)
        assert "w_mean" not in got.about


def test_means_that_differ_are_averaged_and_said_and_others_refused(tmp_path):
    arrays = rosinality_arrays(nvidia_arrays())
    rows = np.stack([MEAN, 3 * MEAN])
    got = convert(read(tmp_path, {"g_ema": arrays, "latent_avg": rows}))
    np.testing.assert_allclose(got.arrays["w_mean"], 2 * MEAN, rtol=1e-6)
    assert got.about["w_mean"] == "the average of 2 different ones"
    with pytest.raises(WrongShapeError, match=r"mean of W should have the shape \(6,\).*\(5,\)"):
        convert(read(tmp_path, {"g_ema": arrays, "latent_avg": MEAN[:5]}))


def test_averages_go_before_weights_as_trained(tmp_path):
    mean = {"latent_avg": MEAN}  # which takes a moment to estimate
    one, two = (rosinality_arrays(nvidia_arrays(seed=seed)) for seed in (1, 2))
    for raw, averaged in [
        ("generator.", "generator_ema."),
        ("netG.", "netG_ema."),
        ("G.", "G_ema."),
        ("ema.online_model.", "ema.ema_model."),
        ("g.module.", "g_running.module."),
    ]:
        checkpoint = read(tmp_path, {"state_dict": under(raw, one) | under(averaged, two), **mean})
        for which, arrays in (("raw", one), ("ema", two)):
            got = convert(checkpoint, which=which).arrays["mapping.fc0.bias"]
            np.testing.assert_allclose(got, 0.01 * arrays["style.1.bias"], rtol=1e-6)


def test_a_file_with_one_kind_says_how_to_take_it(tmp_path):
    (tmp_path / "own.pkl").write_bytes(nvidia_torch({"G": nvidia_arrays()}))
    with pytest.raises(CheckpointError, match=r"no ema network, but 'G'; .*--which raw` takes it"):
        convert(read_checkpoint(tmp_path / "own.pkl"))
    (tmp_path / "own.pkl").write_bytes(nvidia_torch({"G_ema": nvidia_arrays()}))
    with pytest.raises(CheckpointError, match=r"no raw network, but 'G_ema'; .*--which ema` takes"):
        convert(read_checkpoint(tmp_path / "own.pkl"), which="raw")


def test_several_generators_are_not_guessed_among(tmp_path):
    arrays = rosinality_arrays(nvidia_arrays())
    value = under("generator_frozen.", arrays) | under("generator_trainable.", arrays)
    with pytest.raises(CheckpointError, match="several generators, 'generator_frozen', 'generat"):
        convert(read(tmp_path, value))


def test_a_mobilestylegan_has_a_prefix_too(tmp_path):
    arrays = under("module.", mobilestylegan_arrays())
    assert convert(read(tmp_path, {"state_dict": arrays})).architecture == "mobilestylegan"
