"""Pictures as a job reads, groups and keys them."""

import dataclasses

import jax
import numpy as np
import pytest
from job_files import CONFIG, picture, pixels_of

from perceptual_jax.checked import ConfigError, UsageError
from perceptual_jax.data.collect import Input
from perceptual_jax.data.images import ImageError, to_float
from perceptual_jax.restoration.degradations import look_at
from perceptual_jax.restoration.feed import look_at_all, plan
from perceptual_jax.restoration.pictures import picture_key, read_picture


def test_batches_are_even_and_of_one_size(tmp_path):
    inputs = []
    for i in range(9):
        side = 8 if i < 6 else 300
        picture(tmp_path / f"{i}.png", i, width=side, height=side)
        inputs.append(Input(tmp_path / f"{i}.png", str(i)))
    inputs.append(Input(tmp_path / "none.png", "none"))
    kinds, reasons = look_at_all(inputs, dataclasses.replace(CONFIG, degradation="l2"))
    assert reasons == {"l2": ("asked for", 10)}

    def batches(*, even):
        found = plan(inputs, kinds, most=4, even=even)
        return [("".join(x.name for x in batch), full) for batch, full in found]

    assert batches(even=True) == [("012", 3), ("345", 3), ("678", 3), ("none", 1)]
    assert batches(even=False) == [("0123", 4), ("45", 4), ("678", 4), ("none", 4)]


def test_large_pictures_are_reduced_by_areas(tmp_path):
    pixels = picture(tmp_path / "large.png", 0, width=24, height=24)
    read = read_picture(Input(tmp_path / "large.png", "large"), max_size=8)
    blocks = pixels.reshape(8, 3, 8, 3, 3).mean(axis=(1, 3))
    assert np.abs(read.pixels - blocks).max() <= 0.5 + 1e-9
    assert read.size == (24, 24)
    assert read_picture(Input(tmp_path / "large.png", "large"), max_size=24).pixels.shape[0] == 24


def test_sides_come_from_the_header(tmp_path):
    picture(tmp_path / "a.png", 0, width=5, height=7)
    assert look_at(tmp_path / "a.png", "auto", max_size=256).side == 7
    assert look_at(tmp_path / "none.png", "auto", max_size=256).side == 0
    with pytest.raises(ImageError, match="got 5x7"):
        read_picture(Input(tmp_path / "a.png", "a"), max_size=8)


def test_keys_are_of_content_seed_and_sample():
    pixels = np.zeros((4, 4, 3), np.uint8)
    other = pixels.copy()
    other[0, 0, 0] = 1
    variants = [(pixels, 0, 0), (other, 0, 0), (pixels, 1, 0), (pixels, 0, 1)]
    keys = [picture_key(p, seed=s, sample=i) for p, s, i in variants]
    data = {tuple(np.asarray(jax.random.key_data(key)).tolist()) for key in keys}
    assert len(data) == 4
    same = picture_key(pixels.copy(), seed=0, sample=0)
    assert (jax.random.key_data(same) == jax.random.key_data(keys[0])).all()


def test_to_float_is_what_the_search_sees(finished):
    pixels = pixels_of(finished / "in" / "a.png")
    read = read_picture(Input(finished / "in" / "a.png", "a"), max_size=256)
    np.testing.assert_array_equal(to_float(read.pixels), to_float(pixels))


def test_config_errors_are_usage_errors():
    assert issubclass(ConfigError, UsageError)
