"""The data terms of a search, with the shipped likelihood, with and without a canvas."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from perceptual_jax.config import RestoreConfig
from perceptual_jax.degradation.canvas import canvas_of, on_canvases
from perceptual_jax.degradation.corruptions import jpeg
from perceptual_jax.degradation.resampling import downscale
from perceptual_jax.likelihood.models import load_model
from perceptual_jax.restoration.data_terms.dct_box import DctBox
from perceptual_jax.restoration.data_terms.downscale import DownscaleL2
from perceptual_jax.restoration.fit import fit_of
from perceptual_jax.restoration.stages import stages
from perceptual_jax.types import Given


@pytest.fixture(scope="module")
def picture():
    """Smooth noise at 128 px, in [-1, 1]."""
    small = np.random.default_rng(0).uniform(-1, 1, (32, 32, 3)).astype(np.float32)
    return downscale(jnp.asarray(small), (128, 128), filter="bicubic").clip(-1, 1)


def degrade(clean, quality=20):
    file = jpeg(np.uint8((clean + 1) * 127.5), quality=quality, subsampling="4:2:0")
    return file, Given(jnp.asarray(file.image / 127.5 - 1, jnp.float32), file.header)


@pytest.fixture(scope="module")
def given(picture):
    return degrade(downscale(picture, (32, 32), filter="area"))[1]


@pytest.fixture(scope="module")
def model():
    return load_model("jpeg")


@jax.jit
def value(term, given, picture):
    return term.evaluate(term.prepare(given, picture.shape[0]), picture)[0]


@pytest.mark.long
def test_the_condition_may_go_through_the_papers_size(picture, given, model):
    bits = value(model, given, picture)
    reduced = downscale(picture, (64, 64), filter="area")
    through = value(dataclasses.replace(model, condition_size=64), given, picture)
    np.testing.assert_allclose(through, value(model, given, reduced), rtol=1e-5)
    # Means over areas may be taken in two steps.
    np.testing.assert_allclose(bits, through, rtol=1e-4)
    coarse = value(dataclasses.replace(model, condition_size=16), given, picture)
    assert abs(coarse - bits) > 0.1


@pytest.mark.parametrize(
    ("degradation", "learned", "shown", "expected"),
    [
        ("auto", False, 256, ["l2", "cross", "mmd2", "features"]),
        ("jpeg", True, 256, ["low_l2", "cross", "mmd2", "nll", "features"]),
        ("dct_box", False, 256, ["dct_box", "cross", "mmd2", "features"]),
        ("blur", False, 256, ["blur", "cross", "mmd2", "features"]),
        # A draft that is smaller than the input lacks what box and likelihood look at.
        ("jpeg", True, 128, ["l2", "cross", "mmd2"]),
        ("dct_box", False, 128, ["l2", "cross", "mmd2"]),
        ("blur", False, 128, ["blur", "cross", "mmd2"]),
    ],
)
def test_which_terms_lead_a_stage(degradation, learned, shown, expected):
    config = RestoreConfig(degradation=degradation)
    plan = {s.resolution: s for s in stages(config, 1024, 256, learned=learned)}
    assert [name for name, _ in plan[shown].weights] == expected


def filled(given):
    """The degraded image on its canvas."""
    levels = np.asarray(jnp.rint((given.image + 1) * 127.5)).astype(np.uint8)
    batch = on_canvases([levels], [given.header])
    return jax.tree.map(lambda x: x[0], batch)


@pytest.mark.parametrize("term", [DownscaleL2(), DownscaleL2(largest=16), DctBox()])
@pytest.mark.parametrize(("side", "resolution"), [(32, 128), (27, 128), (20, 64), (100, 64)])
def test_a_canvas_changes_no_term_on_pixels(picture, term, side, resolution):
    if isinstance(term, DctBox) and side > resolution:
        pytest.skip("a draft that is too small has no box")
    _, given = degrade(downscale(picture, (side, side), filter="area"))
    shown = downscale(picture[::-1], (resolution, resolution), filter="area")
    plain = value(term, given, shown)
    assert plain > 1e-4
    assert filled(given).size == canvas_of(side)
    np.testing.assert_allclose(value(term, filled(given), shown), plain, rtol=1e-4)


def test_the_floor_holds_on_a_canvas_too(picture):
    _, given = degrade(downscale(picture, (27, 27), filter="area"))
    assert value(DownscaleL2(floor=10.0), filled(given), picture) == 10.0


@pytest.mark.parametrize("size", [0, 64])
def test_a_canvas_changes_the_likelihood_at_its_edge_only(picture, given, model, size):
    model = dataclasses.replace(model, every=2, condition_size=size)
    np.testing.assert_allclose(
        value(model, filled(given), picture), value(model, given, picture), rtol=1e-4
    )
    part = Given(given.image[:27, :27], given.header)
    shown = downscale(
        downscale(picture, (32, 32), filter="area")[:27, :27], (108, 108), filter="bicubic"
    )
    expected = value(model, part, shown)
    assert abs(value(model, filled(part), shown) - expected) < 0.02 * expected


def test_the_fit_is_of_all_pixels_and_of_the_network_itself(picture, given, model):
    led_by = dataclasses.replace(model, every=2, min_log_scale=-3.0)
    fit = jax.jit(fit_of)(DownscaleL2(), led_by, given, picture)
    mse = value(DownscaleL2(), given, picture)
    np.testing.assert_allclose(fit.consistency_psnr, -10 * np.log10(mse), rtol=1e-5)
    assert fit.bits.shape == (32, 32)
    np.testing.assert_allclose(jnp.mean(fit.bits), value(model, given, picture), rtol=1e-5)
    assert fit_of(DownscaleL2(), None, given, picture).bits is None
