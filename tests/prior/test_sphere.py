"""`project_to_sphere` and `keep_on_sphere` by their defining properties."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from perceptual_jax.prior import sphere
from perceptual_jax.prior.sphere import Sphere, keep_on_sphere
from perceptual_jax.types import Latents

project_to_sphere = jax.jit(sphere.project_to_sphere, static_argnames="axis")

# A projection is a root, a quotient and a product: a few float32 roundings.
RTOL = 2e-6
ON_SPHERES = Latents(points=Sphere(), noise=Sphere(axis=(-2, -1)))


def normal(seed, shape):
    return jnp.array(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def latents(seed, *batch):
    noise = (normal(seed + 1, (*batch, 4, 4)), normal(seed + 2, (*batch, 8, 8)))
    return Latents(points=normal(seed, (*batch, 3, 16)), noise=noise)


def row_norm(x):
    return np.linalg.norm(np.float64(x), axis=-1)


def map_norm(noise):
    return np.linalg.norm(np.float64(noise), axis=(-2, -1))


def pull(params):
    """A gradient that tries to leave the sphere, towards (5, 5, ..)."""
    return jax.tree.map(lambda p: p - 5.0, params)


@functools.partial(jax.jit, static_argnames=("optimizer", "steps"))
def run(optimizer, params, steps=5):
    def step(_, carry):
        params, state = carry
        updates, state = optimizer.update(pull(params), state, params)
        return optax.apply_updates(params, updates), state

    return jax.lax.fori_loop(0, steps, step, (params, optimizer.init(params)))


def test_every_row_lands_on_its_own_sphere_and_keeps_its_direction():
    x = normal(0, (4, 8)) * jnp.array([[1e-6], [1.0], [30.0], [1e6]])
    projected = project_to_sphere(x, math.sqrt(8))
    np.testing.assert_allclose(row_norm(projected), np.sqrt(8), rtol=RTOL)
    cosine = np.sum(np.float64(x) * projected, axis=-1) / row_norm(x) / np.sqrt(8)
    np.testing.assert_allclose(cosine, 1, rtol=RTOL)


def test_radius_may_differ_from_row_to_row():
    projected = project_to_sphere(normal(0, (3, 8)), jnp.array([0.0, 1.0, 5.0]))
    np.testing.assert_allclose(row_norm(projected), [0, 1, 5], rtol=RTOL)


def test_is_the_nearest_point():
    x = normal(0, (1, 3))
    others = project_to_sphere(normal(1, (500, 3)), 2.0)
    nearest = row_norm(project_to_sphere(x, 2.0) - x)
    assert (row_norm(others - x) >= nearest).all()


def test_idempotent_and_scale_invariant():
    x = normal(0, (4, 8))
    once = project_to_sphere(x, 3.0)
    np.testing.assert_allclose(project_to_sphere(once, 3.0), once, rtol=RTOL)
    np.testing.assert_allclose(project_to_sphere(7 * x, 3.0), once, rtol=RTOL)


def test_norm_over_two_axes():
    projected = project_to_sphere(normal(0, (2, 4, 4)), 4.0, axis=(-2, -1))
    np.testing.assert_allclose(map_norm(projected), 4, rtol=RTOL)


def test_zero_and_nan_rows_stay_by_themselves():
    x = jnp.array([[0.0, 0.0], [jnp.nan, 1.0], [3.0, 4.0]])
    projected = project_to_sphere(x, 10.0)
    np.testing.assert_array_equal(projected[0], [0, 0])
    assert np.isnan(projected[1]).all()
    np.testing.assert_allclose(projected[2], [6, 8], rtol=RTOL)
    gradient = jax.grad(lambda x: jnp.sum(project_to_sphere(x, 10.0)[0]))(x)
    assert np.isfinite(gradient[0]).all()


def test_derivative_is_the_projection_onto_the_tangent_space():
    with jax.enable_x64(True):
        x = jnp.array(np.random.default_rng(0).normal(size=4))
        jacobian = jax.jacobian(lambda x: project_to_sphere(x, 3.0))(x)
        unit = x / jnp.linalg.norm(x)
        expected = 3.0 / jnp.linalg.norm(x) * (jnp.eye(4) - jnp.outer(unit, unit))
        np.testing.assert_allclose(jacobian, expected, atol=1e-12)


def test_adam_stays_on_the_initial_spheres():
    start = latents(0)
    end, _ = run(optax.chain(optax.adam(0.4), keep_on_sphere(ON_SPHERES)), start)
    norms = [row_norm(p.points) for p in (start, end)]
    np.testing.assert_allclose(norms[1], norms[0], rtol=RTOL)
    for before, after in zip(start.noise, end.noise, strict=True):
        np.testing.assert_allclose(map_norm(after), map_norm(before), rtol=RTOL)
        assert jnp.abs(after - before).max() > 0.5


def test_one_step_is_the_free_step_projected():
    start = latents(0)
    free, _ = run(optax.adam(0.4), start, steps=1)
    kept, _ = run(optax.chain(optax.adam(0.4), keep_on_sphere(ON_SPHERES)), start, steps=1)
    radius = jnp.linalg.norm(start.points, axis=-1)
    expected = project_to_sphere(free.points, radius)
    np.testing.assert_allclose(kept.points, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("radius", [4.0, np.array([1.0, 2.0, 3.0], np.float32)])
def test_given_radius_holds_from_the_first_step(radius):
    sphere = Sphere(radius if isinstance(radius, float) else jnp.array(radius))
    end, _ = run(optax.chain(optax.adam(0.4), keep_on_sphere(sphere)), normal(0, (3, 16)), steps=1)
    expected = np.broadcast_to(radius, 3)
    np.testing.assert_allclose(row_norm(end), expected, rtol=RTOL)


def test_infinite_radius_is_exactly_the_free_step():
    radius = jnp.array([jnp.inf, 2.0, jnp.inf])
    start = normal(0, (3, 16))
    kept, _ = run(optax.chain(optax.adam(0.4), keep_on_sphere(Sphere(radius))), start, steps=1)
    free, _ = run(optax.adam(0.4), start, steps=1)
    np.testing.assert_array_equal(kept[::2], free[::2])
    np.testing.assert_allclose(jnp.linalg.norm(kept[1]), 2, rtol=RTOL)


def test_one_sphere_may_stand_for_a_whole_tree():
    end, _ = run(optax.chain(optax.sgd(0.1), keep_on_sphere(Sphere(2.0))), latents(0))
    for leaf in jax.tree.leaves(end):
        np.testing.assert_allclose(row_norm(leaf), 2, rtol=RTOL)


def test_no_noise_maps_to_search():
    start = Latents(points=normal(0, (3, 16)), noise=())
    end, _ = run(optax.chain(optax.adam(0.4), keep_on_sphere(ON_SPHERES)), start)
    assert end.noise == ()


def test_a_bad_row_does_not_touch_the_others():
    optimizer = optax.chain(optax.adam(0.4), keep_on_sphere(Sphere()))
    start = normal(0, (3, 16))
    bad, _ = run(optimizer, start.at[1].set(jnp.nan))
    good, _ = run(optimizer, start)
    np.testing.assert_array_equal(bad[::2], good[::2])


def test_vmapped_is_single():
    optimizer = optax.chain(optax.adam(0.4), keep_on_sphere(ON_SPHERES))
    batch = latents(0, 2)
    together, state = jax.jit(jax.vmap(lambda p: run(optimizer, p)))(batch)
    assert state[1].radius.points.shape == (2, 3)
    for i in range(2):
        alone, _ = run(optimizer, jax.tree.map(lambda leaf, i=i: leaf[i], batch))
        for x, y in zip(jax.tree.leaves(together), jax.tree.leaves(alone), strict=True):
            np.testing.assert_allclose(x[i], y, rtol=1e-5, atol=1e-6)


def test_update_without_parameters_is_refused():
    optimizer = keep_on_sphere(Sphere())
    x = normal(0, (3, 16))
    with pytest.raises(ValueError, match="needs the parameters"):
        optimizer.update(x, optimizer.init(x))
