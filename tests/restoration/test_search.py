"""The search of one image and of batches, with a narrow MobileStyleGAN."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from perceptual_jax.config import (
    DataConfig,
    FeaturesConfig,
    FinishConfig,
    PriorConfig,
    RestoreConfig,
    SearchConfig,
)
from perceptual_jax.degradation.resampling import downscale
from perceptual_jax.generator.mobilestylegan import MobileStyleGAN
from perceptual_jax.prior.prior import points_of, styles_of
from perceptual_jax.restoration import search as parts
from perceptual_jax.restoration.batch import piece_of, run_batch
from perceptual_jax.restoration.data_terms.downscale import DownscaleL2
from perceptual_jax.restoration.default_prior import default_prior
from perceptual_jax.restoration.objective import Problem, Stage, objective
from perceptual_jax.restoration.optimizer import learning_rate_factor
from perceptual_jax.restoration.presets import build_search, restore_batch
from perceptual_jax.restoration.run import join_traces
from perceptual_jax.restoration.run import run as run_one
from perceptual_jax.restoration.stages import stages
from perceptual_jax.types import Given, Latents, Status, unknown_header
from tests.helpers.narrow import mobile, mobile_arrays

CONFIG = RestoreConfig(
    prior=PriorConfig(bank_size=50),
    search=SearchConfig(steps=6, draft=0),
    features=FeaturesConfig(resolution=0),
    finish=FinishConfig(
        steps=4, learning_rate=0.05, schedule="one_cycle_drop", sphere=True, project=False
    ),
)


def with_prior(**options) -> RestoreConfig:
    """One stage only, where the prior is what is looked at."""
    prior = dataclasses.replace(CONFIG.prior, **options)
    return dataclasses.replace(CONFIG, prior=prior, finish=FinishConfig(steps=0))


@pytest.fixture(scope="module")
def generator():
    return mobile()


@pytest.fixture(scope="module")
def prior(generator):
    return default_prior(generator, CONFIG)


@pytest.fixture(scope="module")
def degraded(generator):
    """Five small pictures that the generator can make."""

    def picture(key):
        w = generator.mapping(jax.random.normal(key, (16,)))
        image = generator.synthesis(jnp.tile(w, (6, 1)), generator.noise_maps())
        return downscale(image, (8, 8), filter="bicubic")

    return np.asarray(jax.jit(jax.vmap(picture))(jax.random.split(jax.random.key(5), 5)))


def fresh_keys():
    """The same five keys, unused, every time."""
    return jax.random.split(jax.random.key(9), 5)


def run(generator, prior, degraded, keys, config=CONFIG, **options):
    return restore_batch(generator, degraded, config, keys=keys, prior=prior, **options)


def test_the_gradient_of_each_term_is_that_of_its_value(generator, prior, degraded):
    search = build_search(CONFIG, generator, 8, prior=prior)
    styles = generator.w_mean[None] + 0.5 * jax.random.normal(jax.random.key(1), (6, 16))
    direction = jax.random.normal(jax.random.key(2), (6, 16))
    caches = {"l2": search.data_terms["l2"].prepare(Given(jnp.asarray(degraded[0])), 32)}
    for name in ("l2", "cross", "mmd2"):
        stage = dataclasses.replace(search.stages[-1], weights=((name, 1.0),))

        def loss(points, search, stage=stage):
            terms = objective(
                Latents(points, ()),
                generator=search.generator,
                whitening=search.whitening,
                data_terms=search.data_terms,
                prior_terms=search.prior_terms,
                stage=stage,
                problem=Problem(caches, search.generator.noise_maps()),
            )
            return terms["total"]

        value = jax.jit(loss)
        slope = jnp.sum(jax.jit(jax.grad(loss))(styles, search) * direction)
        step = 1e-2  # float32: a compromise between its rounding and the curvature
        above, below = (value(styles + s * step * direction, search) for s in (1, -1))
        np.testing.assert_allclose(slope, (above - below) / (2 * step), rtol=2e-2)


def test_the_loss_falls_and_the_styles_stay_on_their_sphere(generator, prior, degraded):
    result = run(generator, prior, degraded, fresh_keys())
    assert np.all(result.terms["total"] < result.trace["total"][:, 6])
    assert np.all(result.status == Status.OK)
    assert result.trace["total"].shape == (5, 10)
    radius = np.linalg.norm(generator.w_mean)
    np.testing.assert_allclose(np.linalg.norm(result.styles, axis=-1), radius, rtol=1e-5)
    assert np.all(np.abs(result.image) <= 1)
    assert np.all((result.best_step >= 6) & (result.best_step < 10))


def test_terms_and_picture_are_those_of_the_returned_styles(generator, prior, degraded):
    result = run(generator, prior, degraded, fresh_keys())
    image = jax.jit(lambda g, s: g.synthesis(s, g.noise_maps()))(
        generator, jnp.asarray(result.styles[2])
    )
    np.testing.assert_allclose(result.image[2], np.clip(image, -1, 1), atol=1e-5)
    term = DownscaleL2()
    data, _ = term.evaluate(term.prepare(Given(jnp.asarray(degraded[2])), 32), image)
    np.testing.assert_allclose(result.terms["l2"][2], data, rtol=1e-4)
    best = np.argmin(result.trace["total"][2, 6:])
    assert result.best_step[2] == 6 + best
    np.testing.assert_allclose(
        result.terms["total"][2], result.trace["total"][2, 6 + best], rtol=1e-5
    )


def test_a_result_does_not_depend_on_its_batch(generator, prior, degraded):
    together = run(generator, prior, degraded, fresh_keys())
    order = np.array([3, 0, 4, 1, 2])
    shuffled = run(generator, prior, degraded[order], fresh_keys()[order], batch_size=4)
    alone = run(generator, prior, degraded[:1], fresh_keys()[:1])
    np.testing.assert_allclose(shuffled.image, together.image[order], atol=1e-5)
    np.testing.assert_allclose(shuffled.styles, together.styles[order], atol=1e-5)
    np.testing.assert_allclose(alone.image[0], together.image[0], atol=1e-5)


def test_the_batch_is_the_pure_function_of_one_image(generator, prior, degraded):
    search = build_search(CONFIG, generator, 8, prior=prior)
    one = jax.jit(run_one)(search, Given(jnp.asarray(degraded[1])), fresh_keys()[1])
    together = run(generator, prior, degraded, fresh_keys())
    np.testing.assert_allclose(one.image, together.image[1], atol=1e-5)
    np.testing.assert_allclose(one.trace["total"], together.trace["total"][1], rtol=1e-4)


def test_the_same_key_gives_the_same_bits(generator, prior, degraded):
    config = with_prior(start="random")
    first, second = (
        run(generator, prior, degraded[:2], fresh_keys()[:2], config) for _ in range(2)
    )
    np.testing.assert_array_equal(first.image, second.image)
    other = run(generator, prior, degraded[:2], fresh_keys()[2:4], config)
    assert np.max(np.abs(other.image - first.image)) > 1e-3


def test_a_bad_image_stops_alone(generator, prior, degraded):
    broken = degraded.copy()
    broken[1, 3, 3, 0] = np.nan
    result = run(generator, prior, broken, fresh_keys())
    assert result.status.tolist() == [0, Status.NOT_FINITE, 0, 0, 0]
    assert np.all(np.isfinite(result.image))
    expected = run(generator, prior, degraded, fresh_keys())
    others = np.array([0, 2, 3, 4])
    np.testing.assert_allclose(result.image[others], expected.image[others], atol=1e-5)
    assert "learning_rate" in Status.NOT_FINITE.message


def test_pulse_is_a_preset_of_the_same_search(generator, degraded):
    config = dataclasses.replace(
        CONFIG,
        prior=PriorConfig(
            space="whitened", start="random", bank_size=50, mmd_weight=0.0, sphere="initial"
        ),
        noise=dataclasses.replace(CONFIG.noise, mode="random", trainable=2, zero_last=True),
        finish=FinishConfig(steps=0),
    )
    prior = default_prior(generator, config)
    search = build_search(config, generator, 8, prior=prior)
    start, noise = jax.jit(parts.init)(search, fresh_keys()[0])
    result = run(generator, prior, degraded[:1], fresh_keys()[:1], config)
    assert not np.any(result.noise[-1])
    for i in range(2):  # the trainable maps moved, each on its own sphere
        norm = np.linalg.norm(noise[i])
        np.testing.assert_allclose(np.linalg.norm(result.noise[i][0]), norm, rtol=1e-5)
        assert np.max(np.abs(result.noise[i][0] - noise[i])) > 1e-4
    np.testing.assert_array_equal(result.noise[2][0], noise[2])
    points = points_of(jnp.asarray(result.styles[0]), prior.whitening)
    np.testing.assert_allclose(
        np.linalg.norm(points, axis=-1),
        np.linalg.norm(start.latents.points, axis=-1),
        rtol=2e-4,  # there and back through the whitening
    )
    np.testing.assert_allclose(styles_of(points, prior.whitening), result.styles[0], atol=1e-4)


@pytest.mark.parametrize(("sphere", "norm"), [(2.5, 2.5), ("none", None), ("expected", None)])
def test_spheres(generator, prior, degraded, sphere, norm):
    result = run(generator, prior, degraded[:1], fresh_keys()[:1], with_prior(sphere=sphere))
    norms = np.linalg.norm(result.styles[0], axis=-1)
    if sphere == "expected":
        norm = float(prior.expected_norm)
    if norm is None:
        assert np.ptp(norms) > 1e-4
    else:
        np.testing.assert_allclose(norms, norm, rtol=1e-5)


def test_samples_differ_when_a_mean_start_is_spread(generator, prior, degraded):
    twice = np.stack([degraded[0]] * 2)
    same = run(generator, prior, twice, fresh_keys()[:2], with_prior())
    np.testing.assert_allclose(same.image[0], same.image[1], atol=1e-5)
    spread = run(generator, prior, twice, fresh_keys()[:2], with_prior(spread=0.5))
    assert np.max(np.abs(spread.image[0] - spread.image[1])) > 1e-2


def stages_of(config, size, resolution=1024):
    return [(s.resolution, s.steps, s.restarts_optimizer) for s in stages(config, resolution, size)]


def test_stages():
    config = dataclasses.replace(
        CONFIG, search=SearchConfig(steps=100, draft=256, coarse=128, coarse_fraction=0.6)
    )
    finish = (1024, 4, True)
    assert stages_of(config, 64) == [(128, 60, True), (256, 40, False), finish]
    assert stages_of(config, 32) == [(128, 100, True), finish]  # finer drafts show it no better
    assert [s.optimizer.cycle for s in stages(config, 1024, 64)] == [100, 100, 4]
    at_full_resolution = dataclasses.replace(config, search=SearchConfig(steps=100, draft=0))
    for size in (8, 256):
        assert stages_of(at_full_resolution, size) == [(1024, 100, True), finish]
    assert stages_of(config, 8, resolution=64) == [(64, 100, True), (64, 4, True)]


def test_fidelity_scales_the_data_weights_and_the_finish():
    def plan(fidelity):
        config = RestoreConfig(
            fidelity=fidelity,
            data=DataConfig(weight=100.0),
            search=SearchConfig(steps=6, draft=0),
            features=FeaturesConfig(resolution=0),
            finish=FinishConfig(steps=20, data_weight=300.0),
        )
        return [(s.steps, s.optimizer.cycle, dict(s.weights)["l2"]) for s in stages(config, 32, 8)]

    assert plan(0.5) == [(6, 6, 100.0), (20, 20, 300.0)]
    assert plan(1.0) == [(6, 6, 400.0), (40, 40, 1200.0)]
    assert plan(0.0) == [(6, 6, 25.0), (10, 10, 75.0)]
    assert plan(0.25) == [(6, 6, 50.0), (15, 15, 150.0)]


def test_pieces_of_a_stage_are_the_stage(generator, prior, degraded):
    search = build_search(CONFIG, generator, 8, prior=prior)
    stage = search.stages[0]
    state, noise = parts.init(search, fresh_keys()[0])
    state = parts.enter(search, stage, state)
    advance = jax.jit(parts.advance, static_argnames=("stage", "steps"))
    given = Given(jnp.asarray(degraded[0]))
    whole, whole_trace = advance(search, stage, given, noise, state, 6)
    first, first_trace = advance(search, stage, given, noise, state, 3)
    second, second_trace = advance(search, stage, given, noise, first, 3)
    np.testing.assert_allclose(second.latents.points, whole.latents.points, atol=1e-5)
    joined = join_traces([first_trace, second_trace])
    np.testing.assert_allclose(joined["total"], whole_trace["total"], rtol=1e-5)
    assert piece_of(Stage(8, 100, (), optax.sgd(1.0))) == 10


def test_progress_is_told_and_ends_at_one(generator, prior, degraded):
    shares = []
    run(generator, prior, degraded, fresh_keys(), batch_size=4, progress=shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1.0)
    assert len(shares) >= 4


def test_no_images_are_refused(generator, prior, degraded):
    with pytest.raises(ValueError, match="one key for each"):
        run(generator, prior, degraded[:0], fresh_keys()[:0])


def test_nan_weights_give_a_status_and_no_exception(prior, degraded):
    arrays = mobile_arrays()
    arrays["to_image.bias"][0] = np.nan
    broken = MobileStyleGAN.from_arrays(arrays)
    result = run(broken, prior, degraded[:1], fresh_keys()[:1])
    assert result.status.tolist() == [Status.NOT_FINITE]


def test_pulse_schedule():
    drop = [float(learning_rate_factor(s, 100, schedule="one_cycle_drop")) for s in range(100)]
    assert drop[0] == pytest.approx(0.1)
    assert max(drop) == pytest.approx(drop[45]) == pytest.approx(1.0)
    assert drop[90] == pytest.approx(0.1)
    assert drop[99] == pytest.approx(0.1 + 0.9 * (0.001 - 0.1), rel=1e-5)
    cycle = [float(learning_rate_factor(s, 100, schedule="one_cycle")) for s in (0, 50, 100)]
    assert cycle == pytest.approx([0.1, 1.0, 0.1])
    assert float(learning_rate_factor(7, 100, schedule="fixed")) == 1.0


class Charbonnier(NamedTuple):
    """A user's own data term, of public names only."""

    epsilon: float = 1e-3

    def prepare(self, given, resolution):
        return given.image

    def evaluate(self, cache, image):
        difference = downscale(image, cache.shape[:2], filter="area") - cache
        where = jnp.mean(jnp.sqrt(difference**2 + self.epsilon**2), axis=-1)
        return jnp.mean(where), where


def test_a_user_brings_terms_of_their_own(generator, prior, degraded):
    def norm(styles):
        return jnp.mean(jnp.square(styles))

    search = build_search(CONFIG, generator, 8, prior=prior).replace_terms(
        data={"charbonnier": Charbonnier()},
        prior={"norm": norm},
        weights={"charbonnier": 30.0, "norm": 0.5, "l2": 0.0},
    )
    headers = jax.tree.map(lambda x: np.stack([x] * 5), unknown_header())
    given = Given(jnp.asarray(degraded), headers)
    result = run_batch(search, given, fresh_keys(), batch_size=4)
    names = {"l2", "charbonnier", "norm", "cross", "mmd2", "total"}
    assert result.terms.keys() == result.trace.keys() == names
    total = (
        30 * result.terms["charbonnier"]
        + 0.5 * result.terms["norm"]
        + CONFIG.prior.cross_weight * result.terms["cross"]
        + CONFIG.prior.mmd_weight * result.terms["mmd2"]
    )
    np.testing.assert_allclose(result.terms["total"], total, rtol=1e-5)
    assert np.all(result.terms["charbonnier"] < result.trace["charbonnier"][:, 0])
    np.testing.assert_allclose(
        result.terms["norm"], np.mean(result.styles**2, axis=(1, 2)), rtol=1e-5
    )
    with pytest.raises(KeyError, match="nothing"):
        run_batch(search.replace_terms(weights={"nothing": 1.0}), given, fresh_keys())


def test_terms_that_a_stage_does_not_weigh_are_not_evaluated(generator, prior, degraded):
    search = build_search(CONFIG, generator, 8, prior=prior)
    first, last = search.stages
    without = dataclasses.replace(first, weights=first.weights[:1])
    search = dataclasses.replace(search, stages=(without, last))
    result = jax.jit(run_one)(search, Given(jnp.asarray(degraded[0])), fresh_keys()[0])
    assert np.all(np.isnan(result.trace["mmd2"][: first.steps]))
    assert np.all(np.isfinite(result.trace["mmd2"][first.steps :]))
    assert np.all(np.isfinite(result.trace["total"]))
