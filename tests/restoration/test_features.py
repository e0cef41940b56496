"""Searches that move features: what moves when, corrected drafts, going on, jit and vmap."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from perceptual_jax.config import (
    FeaturesConfig,
    FinishConfig,
    PriorConfig,
    RestoreConfig,
    SearchConfig,
)
from perceptual_jax.degradation.resampling import downscale
from perceptual_jax.generator.draft import init_draft_head
from perceptual_jax.generator.mobilestylegan import MobileStyleGAN
from perceptual_jax.generator.stylegan2 import StyleGAN2
from perceptual_jax.restoration import search as parts
from perceptual_jax.restoration.batch import run_batch
from perceptual_jax.restoration.default_prior import default_prior
from perceptual_jax.restoration.objective import Stage, correction, render
from perceptual_jax.restoration.presets import build_search, check_fit
from perceptual_jax.restoration.run import latents_of, run
from perceptual_jax.restoration.stages import feature_block, stages
from perceptual_jax.types import Given, JpegHeader, Status, unknown_header
from perceptual_jax.validation import ConfigError
from tests.helpers.narrow import mobile, mobile_arrays
from tests.helpers.narrow_stylegan2 import CONFIG as NETWORK

CONFIG = RestoreConfig(
    prior=PriorConfig(bank_size=50),
    search=SearchConfig(steps=4, draft=8, coarse=8),
    features=FeaturesConfig(resolution=4, steps=6, correct_every=3),
    finish=FinishConfig(steps=3),
)
N = 3


@pytest.fixture(scope="module")
def generator():
    """A narrow StyleGAN2: drafts without a head, which differ from the picture."""
    return jax.jit(lambda key: StyleGAN2.init(key, NETWORK))(jax.random.key(3))


@pytest.fixture(scope="module")
def search(generator):
    return build_search(CONFIG, generator, 8, prior=default_prior(generator, CONFIG))


@pytest.fixture(scope="module")
def degraded():
    return np.random.default_rng(0).uniform(-1, 1, (N, 8, 8, 3)).astype(np.float32)


def given_of(images):
    n = len(images)
    header = JpegHeader(*(np.broadcast_to(x, (n, *x.shape)) for x in unknown_header()))
    return Given(jnp.asarray(images), header)


def keys(n=N):
    return jax.random.split(jax.random.key(7), n)


@pytest.fixture(scope="module")
def result(search, degraded):
    return run_batch(search, given_of(degraded), keys())


def test_features_move_after_the_search_and_improve_the_fit(search, result, degraded):
    assert [s.moves for s in search.stages] == [("points", "noise")] + [
        ("points", "noise", "features")
    ] * 2
    assert result.offset.shape == (N, 4, 4, 6)
    assert np.all(np.std(result.offset, axis=(1, 2, 3)) > 1e-3)
    # The prior of the features has no value before they move, and grows with them.
    priors = result.trace["features"]
    assert np.all(np.isnan(priors[:, :4]))
    assert np.all(priors[:, 4] == 0)
    assert np.all(priors[:, 5:7] > 0)
    still = dataclasses.replace(CONFIG, features=FeaturesConfig(resolution=0))
    plain = build_search(still, search.generator, 8, prior=default_prior(search.generator, still))
    assert plain.features is None
    without = run_batch(plain, given_of(degraded), keys())
    assert without.offset is None
    assert np.all(result.fit.consistency_psnr > without.fit.consistency_psnr)


def test_the_first_stage_does_not_touch_them(search, degraded):
    state, noise = parts.init(search, keys()[0])
    state = parts.enter(search, search.stages[0], state)
    advance = jax.jit(parts.advance, static_argnames=("stage", "steps"))
    given = Given(jnp.asarray(degraded[0]))
    after, _ = advance(search, search.stages[0], given, noise, state, 2)
    assert np.all(after.latents.features == 0)
    assert np.any(after.latents.points != state.latents.points)


def test_a_result_is_rendered_again_from_what_is_saved(search, result, degraded):
    @jax.jit
    def image(search, styles, noise, offset, given):
        rendered = search.generator.synthesis(styles, noise, offset)
        return jnp.clip(search.project(given, rendered), -1, 1)

    noise = tuple(x[1] for x in result.noise)
    given = Given(jnp.asarray(degraded[1]))
    again = image(search, result.styles[1], noise, jnp.asarray(result.offset[1]), given)
    np.testing.assert_allclose(again, result.image[1], atol=1e-5)


def test_a_result_is_gone_on_with(search, result, degraded):
    latents = jax.vmap(lambda s, o: latents_of(search, s, o))(
        jnp.asarray(result.styles), jnp.asarray(result.offset)
    )
    finish = dataclasses.replace(search, stages=search.stages[-1:])
    more = run_batch(finish, given_of(degraded), keys(), latents=latents, batch_size=2)
    assert np.all(more.terms["total"] <= result.terms["total"] * (1 + 1e-5))
    with pytest.raises(ValueError, match=r"moves features of shape \(4, 4, 6\), got \(8, 8, 6\)"):
        latents_of(search, jnp.asarray(result.styles[0]), jnp.zeros((8, 8, 6)))
    still = dataclasses.replace(search, features=None)
    with pytest.raises(ValueError, match="which this search does not move"):
        latents_of(still, jnp.asarray(result.styles[0]), jnp.asarray(result.offset[0]))


def test_a_corrected_draft_is_the_reduced_picture(search, generator, result):
    latents = latents_of(search, jnp.asarray(result.styles[0]), jnp.asarray(result.offset[0]))
    arguments = (generator, None, latents, generator.noise_maps())

    @jax.jit
    def pictures(generator):
        arguments = (generator, None, latents, generator.noise_maps())
        true = render(*arguments, 16, search.features)
        draft = render(*arguments, 8, search.features)
        return true, draft, correction(*arguments, 8, search.features)

    true, draft, error = pictures(arguments[0])
    reduced = downscale(true, (8, 8), filter="area")
    assert np.max(np.abs(draft - reduced)) > 0.1
    np.testing.assert_allclose(draft + error, reduced, atol=1e-5)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class WithWrongDrafts:
    """A generator whose drafts are the reduced picture with wrong tones."""

    inner: StyleGAN2

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def draft(self, styles, noise, resolution, offset=None):
        true = self.inner.synthesis(styles, noise, offset)
        reduced = downscale(true, (resolution, resolution), filter="area")
        return reduced + 0.3 * jnp.cos(2 * reduced)


def test_corrections_lead_to_the_fit_of_the_full_picture(search, degraded):
    """On drafts with corrections the true picture comes to fit; without, only the draft does."""

    def fit(correct_every):
        optimizer = dataclasses.replace(search.stages[1].optimizer, cycle=30, learning_rate=0.05)
        stage = dataclasses.replace(
            search.stages[1], steps=30, correct_every=correct_every, optimizer=optimizer
        )
        wrong = WithWrongDrafts(search.generator)
        plan = dataclasses.replace(search, generator=wrong, stages=(stage,), project=None)
        return run_batch(plan, given_of(0.3 * degraded), keys()).fit.consistency_psnr

    assert np.all(fit(5) > fit(0) + 0.3)


def test_rounds_are_pieces(search, degraded):
    stage = search.stages[1]
    state, noise = parts.init(search, keys()[0])
    state = parts.enter(search, stage, state)
    advance = jax.jit(parts.advance, static_argnames=("stage", "steps"))
    given = Given(jnp.asarray(degraded[0]))
    whole, whole_trace = advance(search, stage, given, noise, state, 6)
    half, first = advance(search, stage, given, noise, state, 3)
    again, second = advance(search, stage, given, noise, half, 3)
    np.testing.assert_allclose(again.latents.features, whole.latents.features, atol=1e-5)
    joined = jnp.concatenate([first["total"], second["total"]])
    np.testing.assert_allclose(joined, whole_trace["total"], rtol=1e-5)
    with pytest.raises(ValueError, match="must be a multiple of correct_every, 3, got 4"):
        parts.advance(search, stage, given, noise, state, 4)


def test_vmap_and_jit_of_the_whole_search(search, result, degraded):
    one = jax.jit(run)(search, Given(jnp.asarray(degraded[2])), keys()[2])
    np.testing.assert_allclose(one.offset, result.offset[2], atol=1e-4)
    np.testing.assert_allclose(one.image, result.image[2], atol=1e-3)


def test_a_nan_stops_its_own_image_only(search, result, degraded):
    broken = degraded.copy()
    broken[1, 0, 0] = np.nan
    got = run_batch(search, given_of(broken), keys())
    assert got.status.tolist() == [Status.OK, Status.NOT_FINITE, Status.OK]
    np.testing.assert_allclose(got.offset[[0, 2]], result.offset[[0, 2]], atol=1e-5)
    assert np.all(np.isfinite(got.image))


def test_gradients_of_fixed_parts_are_not_taken(generator, search, degraded):
    """A stage that moves features only leaves the styles bit for bit."""
    stage = Stage(16, 3, search.stages[-1].weights, optax.adam(0.05), moves=("features",))
    plan = dataclasses.replace(search, stages=(stage,))
    got = run_batch(plan, given_of(degraded), keys())
    np.testing.assert_array_equal(got.styles[0, 0], np.asarray(generator.w_mean))


def test_which_block_moves():
    def block(size, degradation="auto", resolution=1024, **options):
        config = RestoreConfig(degradation=degradation, features=FeaturesConfig(**options))
        return feature_block(config, resolution, size)

    assert [block(size) for size in (4, 16, 31, 32, 64, 256)] == [4, 8, 8, 16, 16, 16]
    assert [block(size, "dct_box") for size in (32, 64, 128, 256)] == [16, 16, 32, 32]
    assert [block(size, "blur") for size in (64, 256, 320)] == [16, 16, 32]
    assert block(256, resolution=32) == 8
    assert block(256, resolution=16) == 4


def test_a_prior_without_spaces_gets_the_same_one(generator, search):
    prior = default_prior(generator, CONFIG)._replace(features={})
    again = build_search(CONFIG, generator, 8, prior=prior)
    np.testing.assert_allclose(again.features.scale, search.features.scale, rtol=1e-6)


def test_no_block_moves_if_none_is_asked_for():
    config = RestoreConfig(features=FeaturesConfig(resolution=0))
    assert feature_block(config, 1024, 256) == 0
    assert [s.moves for s in stages(config, 1024, 32)] == [("points", "noise")] * 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"resolution": 12}, "a power of two of pixels from 4 to 16, got 12"),
        ({"resolution": 16}, "only blocks of up to 8 px are computed"),
        (
            {"steps": 5, "correct_every": 3},
            "must be a multiple of features.correct_every, 3, got 5",
        ),
    ],
)
def test_what_cannot_work_is_said_at_the_start(options, message):
    search = SearchConfig(steps=4, draft=16, coarse=16)
    config = dataclasses.replace(CONFIG, search=search, features=FeaturesConfig(**options))
    head = init_draft_head(jax.random.key(0), 16, 16)
    arrays = {name: np.asarray(x[...]) for name, x in vars(head).items() if hasattr(x, "shape")}
    generator = MobileStyleGAN.from_arrays(mobile_arrays(), draft_heads={16: arrays})
    with pytest.raises(ConfigError, match=message):
        check_fit(config, generator)


@pytest.mark.long
def test_mobilestylegan_moves_features_without_drafts():
    config = dataclasses.replace(CONFIG, search=SearchConfig(steps=3, draft=0))
    generator = mobile()
    assert [s.correct_every for s in stages(config, 32, 8)] == [0, 0, 0]
    search = build_search(config, generator, 8, prior=default_prior(generator, config))
    degraded = np.random.default_rng(1).uniform(-1, 1, (1, 8, 8, 3)).astype(np.float32)
    got = run_batch(search, given_of(degraded), keys(1))
    assert got.offset.shape == (1, 4, 4, 16)
    assert got.status[0] == Status.OK
