"""Conditional generators: a class makes them unconditional ones, and is recorded."""

import json
import tomllib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import perceptual_jax as pj
from perceptual_jax import cli
from perceptual_jax.checkpoints.foreign.convert import convert_file
from perceptual_jax.generator.mapping import broadcast_styles, truncate
from tests.helpers import reference_stylegan2 as reference
from tests.helpers.checkpoint_writers import nvidia_torch
from tests.helpers.foreign_networks import nvidia_arrays

ARRAYS = nvidia_arrays(c_dim=3)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    folder = tmp_path_factory.mktemp("conditional")
    (folder / "cond.pkl").write_bytes(nvidia_torch({"G_ema": ARRAYS}))
    convert_file(folder / "cond.pkl", folder / "cond.safetensors")
    return folder / "cond.safetensors"


def test_a_class_is_folded_into_the_mapping_network(path):
    conditional = pj.load_generator(path)
    float64 = {k: np.asarray(v, np.float64) for k, v in ARRAYS.items()}
    z = np.random.default_rng(0).normal(size=7)
    for i in range(3):
        generator = pj.load_generator(path, class_index=i)
        assert (generator.c_dim, generator.z_dim) == (0, 7)
        expected = reference.mapping(float64, z, np.eye(3)[i])  # of order 1
        np.testing.assert_allclose(
            generator.mapping(jnp.asarray(z, jnp.float32)), expected, atol=1e-6
        )
        same = conditional.mapping(jnp.asarray(z, jnp.float32), jnp.eye(3)[i])
        np.testing.assert_allclose(generator.mapping(jnp.asarray(z, jnp.float32)), same, atol=1e-6)
        np.testing.assert_array_equal(generator.w_mean, conditional.w_mean)


WRONG = [
    (
        None,
        r"conditional on 3 classes; choose one by --class \(generator_class in a .*\) from 0 to 2",
    ),
    (3, r"has 3 classes; choose --class \(generator_class in a config\) from 0 to 2, got 3"),
    (-1, "got -1"),
]


@pytest.mark.parametrize(("chosen", "message"), WRONG)
def test_without_a_class_of_its_own_nothing_is_written(path, tmp_path, chosen, message):
    with pytest.raises(pj.UsageError, match=message):
        pj.generate_files([0], tmp_path / "out", generator=path, class_index=chosen)
    if chosen is not None:
        with pytest.raises(pj.UsageError, match=message):
            pj.load_generator(path, class_index=chosen)
    assert list(tmp_path.iterdir()) == []


def test_the_command_line_says_so_in_one_sentence(path, tmp_path, capsys):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    out = str(tmp_path / "out")
    for verb in (["restore", str(tmp_path / "a.png")], ["generate", "--seeds", "0"]):
        assert cli.main([*verb, "--generator", str(path), "--out", out]) == 2
        error = capsys.readouterr().err
        assert "conditional on 3 classes" in error
        assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_class_of_an_unconditional_generator_is_refused(tmp_path):
    (tmp_path / "own.pkl").write_bytes(nvidia_torch({"G_ema": nvidia_arrays()}))
    convert_file(tmp_path / "own.pkl", tmp_path / "own.safetensors")
    with pytest.raises(pj.UsageError, match="not conditional, so class 1 cannot be chosen"):
        pj.load_generator(tmp_path / "own.safetensors", class_index=1)


def test_generate_draws_faces_of_the_class(path, tmp_path):
    command = ["generate", "--seeds", "4", "--psi", "0.5", "--generator", str(path)]
    assert cli.main([*command, "--class", "1", "--out", str(tmp_path / "one")]) == 0
    conditional = pj.load_generator(path)
    z = jax.random.normal(jax.random.key(4), (7,))
    w = conditional.mapping(z, jnp.eye(3)[1])
    styles = broadcast_styles(truncate(w, conditional.w_mean, psi=0.5), conditional.num_styles)
    expected = jax.jit(conditional.synthesis)(styles, conditional.noise_maps())
    got = np.asarray(Image.open(tmp_path / "one" / "seed0004.png")).astype(int)
    assert np.abs(got - np.asarray(pj.to_uint8(expected)).astype(int)).max() <= 1
    pj.generate_files([4], tmp_path / "two", psi=0.5, generator=path, class_index=2)
    other = np.asarray(Image.open(tmp_path / "two" / "seed0004.png"))
    assert not np.array_equal(got, other)


@pytest.mark.long
def test_restore_records_the_class(path, tmp_path):
    Image.effect_noise((8, 8), 50).convert("RGB").save(tmp_path / "a.png")
    small = ["search.steps=2", "finish.steps=1", "search.draft=0", "features.steps=0"]
    options = [part for setting in (*small, "prior.bank_size=8") for part in ("--set", setting)]
    command = ["restore", str(tmp_path / "a.png"), "--degradation", "l2", "--generator", str(path)]
    out = tmp_path / "out"
    assert cli.main([*command, *options, "--class", "2", "--out", str(out)]) == 0
    record = json.loads((out / "a.json").read_text())
    assert record["class"] == 2
    assert tomllib.loads((out / "config.toml").read_text())["generator_class"] == 2
    # And so a job of another class is not mixed with it.
    assert cli.main([*command, *options, "--class", "1", "--out", str(out)]) == 2
