"""The data terms of a search, with the shipped likelihood."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from perceptual_jax.config import DataConfig, RestoreConfig
from perceptual_jax.degradation.corruptions import jpeg
from perceptual_jax.degradation.resampling import downscale
from perceptual_jax.jobs.reading import canvas_of
from perceptual_jax.likelihood.models import load_model
from perceptual_jax.restoration.terms import Given, evaluate, prepare, sees

CONFIG = RestoreConfig(degradation="jpeg")


@pytest.fixture(scope="module")
def picture():
    """Smooth noise at 128 px, in [-1, 1]."""
    small = np.random.default_rng(0).uniform(-1, 1, (32, 32, 3)).astype(np.float32)
    return downscale(jnp.asarray(small), (128, 128), filter="bicubic").clip(-1, 1)


@pytest.fixture(scope="module")
def given(picture):
    clean = downscale(picture, (32, 32), filter="area")
    file = jpeg(np.uint8((clean + 1) * 127.5), quality=20, subsampling="4:2:0")
    return Given(jnp.asarray(file.image / 127.5 - 1, jnp.float32), file.header)


@pytest.fixture(scope="module")
def terms(given):
    """Both terms of a picture, compiled once for a config."""

    @jax.jit(static_argnums=0)
    def run(config, picture):
        model = load_model("jpeg")
        return evaluate(
            prepare(given, model, config, picture.shape[0]), picture, given, model, config
        )

    return run


def with_condition(size):
    return dataclasses.replace(CONFIG, data=DataConfig(condition_size=size))


def test_the_condition_may_go_through_the_papers_size(picture, given, terms):
    data, bits = terms(CONFIG, picture)
    reduced = downscale(picture, (64, 64), filter="area")
    again, through = terms(with_condition(64), picture)
    np.testing.assert_allclose(through, terms(CONFIG, reduced)[1], rtol=1e-5)
    np.testing.assert_array_equal(data, again)
    # Means over areas may be taken in two steps.
    np.testing.assert_allclose(bits, through, rtol=1e-4)
    assert abs(terms(with_condition(16), picture)[1] - bits) > 0.1


def test_without_a_likelihood_or_on_a_small_draft_there_are_no_bits(picture, given):
    model = load_model("jpeg")
    assert sees(given, model, 32)
    assert not sees(given, model, 16)
    targets = prepare(given, None, CONFIG, 128)
    assert targets.likelihood is None
    assert evaluate(targets, picture, given, None, CONFIG)[1] == 0


def on_canvas(given, canvas):
    more = canvas - given.image.shape[0]
    image = jnp.pad(given.image, ((0, more), (0, more), (0, 0)), mode="edge")
    return Given(image, given.header, jnp.int32(given.image.shape[0]))


def both(given, picture, model, config):
    @jax.jit
    def run(given, picture):
        targets = prepare(given, model, config, picture.shape[0])
        return evaluate(targets, picture, given, model, config)

    return run(given, picture)


@pytest.mark.parametrize("degradation", ["l2", "dct_box"])
@pytest.mark.parametrize(("side", "resolution"), [(32, 128), (27, 128), (20, 64), (100, 64)])
def test_a_canvas_changes_no_term_on_pixels(picture, degradation, side, resolution):
    if degradation == "dct_box" and side > resolution:
        pytest.skip("a draft that is too small has no box")
    config = dataclasses.replace(CONFIG, degradation=degradation)
    clean = downscale(picture, (side, side), filter="area")
    file = jpeg(np.uint8((clean + 1) * 127.5), quality=20, subsampling="4:2:0")
    given = Given(jnp.asarray(file.image / 127.5 - 1, jnp.float32), file.header)
    shown = downscale(picture[::-1], (resolution, resolution), filter="area")
    plain, _ = both(given, shown, None, config)
    assert plain > 1e-4
    filled = on_canvas(given, canvas_of(side))
    np.testing.assert_allclose(both(filled, shown, None, config)[0], plain, rtol=1e-4)
    if degradation == "l2":
        floor = dataclasses.replace(config, data=DataConfig(floor=10.0))
        assert both(filled, shown, None, floor)[0] == 10.0


@pytest.mark.parametrize("size", [0, 64])
def test_a_canvas_changes_the_likelihood_at_its_edge_only(picture, given, size):
    model = dataclasses.replace(load_model("jpeg"), every=2)
    config = with_condition(size)
    expected = both(given, picture, model, config)
    filled = both(on_canvas(given, 32), picture, model, config)
    np.testing.assert_allclose(filled, expected, rtol=1e-4)
    part = Given(given.image[:27, :27], given.header)
    shown = downscale(
        downscale(picture, (32, 32), filter="area")[:27, :27], (108, 108), filter="bicubic"
    )
    expected = both(part, shown, model, config)[1]
    found = both(on_canvas(part, 32), shown, model, config)[1]
    assert abs(found - expected) < 0.02 * expected
