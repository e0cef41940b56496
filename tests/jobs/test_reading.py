"""Pictures as a job reads, groups and keys them."""

import dataclasses
from pathlib import Path

import jax
import numpy as np
import pytest

from perceptual_jax.config import DataConfig
from perceptual_jax.errors import UsageError
from perceptual_jax.io.images import ImageError, to_float
from perceptual_jax.io.inputs import Input
from perceptual_jax.jobs.feed import AHEAD, load_batches
from perceptual_jax.jobs.reading import content_of, inspect_header, read_picture, restoration_keys
from perceptual_jax.validation import ConfigError
from tests.helpers.job_files import CONFIG, picture, pixels_of


@pytest.fixture
def inputs(tmp_path):
    """Six small pictures and three large ones in turns, and two that are none."""
    sides = [8, 8, 300, 8, 8, 300, 8, 8, 300]
    for i, side in enumerate(sides):
        picture(tmp_path / f"{i}.png", i, width=side, height=side)
    names = ["none", *map(str, range(9)), "gone"]
    return [Input(tmp_path / f"{name}.png", name) for name in names]


def fed(inputs, *, balanced):
    config = dataclasses.replace(CONFIG, degradation="l2", data=DataConfig(detail=0))
    return [
        ("".join(p.input.name for p in b.pictures), [s.name for s, _ in b.failed], b.full)
        for b in load_batches(inputs, config, max_pictures=4, balanced=balanced)
    ]


def test_a_batch_goes_on_as_soon_as_it_is_full(inputs):
    assert fed(inputs, balanced=False) == [
        ("0134", ["none"], 4),
        ("258", ["gone"], 4),
        ("67", [], 4),
    ]


def test_few_pictures_are_spread_evenly(inputs):
    assert fed(inputs, balanced=True) == [
        ("013", ["none", "gone"], 3),
        ("467", [], 3),
        ("258", [], 3),
    ]


def test_failures_without_a_picture_are_not_lost(inputs):
    assert fed(inputs[-1:], balanced=False) == [("", ["gone"], 0)]


def test_whatever_a_store_raises_is_a_failure_of_that_input():
    def read():
        raise RuntimeError("503: slow down")

    (batch,) = load_batches(
        [Input(Path("a.png"), "a", read)], CONFIG, max_pictures=4, balanced=False
    )
    ((source, reason),) = batch.failed
    assert (source.name, reason) == ("a", "503: slow down")


def test_a_bounded_number_is_read_ahead(tmp_path):
    data = (picture(tmp_path / "a.png", 0), (tmp_path / "a.png").read_bytes())[1]
    reads = []

    def read():
        reads.append(1)
        return data

    inputs = [Input(tmp_path / str(i), str(i), read) for i in range(1000)]
    batches = load_batches(inputs, CONFIG, max_pictures=4, balanced=False)
    for i in range(1, 4):
        assert len(next(batches).pictures) == 4
        assert len(reads) <= (i + AHEAD) * 4 + 1
    batches.close()
    assert len(reads) < 40


def test_large_pictures_are_reduced_by_areas(tmp_path):
    pixels = picture(tmp_path / "large.png", 0, width=24, height=24)
    read = read_picture(Input(tmp_path / "large.png", "large"), max_size=8)
    blocks = pixels.reshape(8, 3, 8, 3, 3).mean(axis=(1, 3))
    assert np.abs(read.pixels - blocks).max() <= 0.5 + 1e-9
    assert read.size == (24, 24)
    assert read_picture(Input(tmp_path / "large.png", "large"), max_size=24).pixels.shape[0] == 24


def test_sides_come_from_the_header(tmp_path):
    picture(tmp_path / "a.png", 0, width=5, height=7)
    assert inspect_header(tmp_path / "a.png", "auto", max_size=256).side == 7
    assert inspect_header(tmp_path / "none.png", "auto", max_size=256).side == 0
    with pytest.raises(ImageError, match="got 5x7"):
        read_picture(Input(tmp_path / "a.png", "a"), max_size=8)


def test_keys_are_of_content_seed_and_sample():
    pixels = np.zeros((4, 4, 3), np.uint8)
    other = pixels.copy()
    other[0, 0, 0] = 1
    wide = pixels.reshape(2, 8, 3)
    for seed in (0, 1, 2**32 - 1):
        contents = [content_of(p) for p in (pixels, other, wide, pixels.copy(), pixels)]
        assert len(set(contents)) == 3
        keys = restoration_keys(contents, [0, 0, 0, 0, 1], seed=seed)
        data = np.asarray(jax.random.key_data(keys)).tolist()
        assert data[0] == data[3]
        assert len({tuple(one) for one in data}) == 4
        for key, content, sample in zip(data, contents, [0, 0, 0, 0, 1], strict=True):
            plain = jax.random.fold_in(jax.random.key(seed), np.uint32(content))
            plain = jax.random.fold_in(plain, sample)
            assert jax.random.key_data(plain).tolist() == key


def test_to_float_is_what_the_search_sees(finished):
    pixels = pixels_of(finished / "in" / "a.png")
    read = read_picture(Input(finished / "in" / "a.png", "a"), max_size=256)
    np.testing.assert_array_equal(to_float(read.pixels), to_float(pixels))


def test_config_errors_are_usage_errors():
    assert issubclass(ConfigError, UsageError)
