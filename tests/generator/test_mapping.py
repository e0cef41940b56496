import jax
import jax.numpy as jnp
import numpy as np
import pytest

from perceptual_jax.generator.mapping import (
    MappingNetwork,
    broadcast_styles,
    estimate_w_mean,
    truncate,
)
from tests.helpers import reference_stylegan2 as reference


def effective(ckpt):
    """The network of NVIDIA's mapping arrays, in our layout, gains folded in."""
    weights = {}
    for i in range(sum(name.startswith("mapping.fc") for name in ckpt) // 2):
        weight = ckpt[f"mapping.fc{i}.weight"].T
        weights[f"fc{i}"] = {
            "weight": weight * 0.01 / np.sqrt(len(weight)),
            "bias": ckpt[f"mapping.fc{i}.bias"] * 0.01,
        }
    if "mapping.embed.weight" in ckpt:
        weight = ckpt["mapping.embed.weight"].T
        bias = ckpt["mapping.embed.bias"]
        weights["embed"] = {"weight": weight / np.sqrt(len(weight)), "bias": bias}
    return MappingNetwork(jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), weights))


@pytest.mark.parametrize(("layers", "c_dim"), [(1, 0), (8, 0), (2, 3)])
def test_agrees_with_the_reference(layers, c_dim):
    rng = np.random.default_rng(layers)
    ckpt = reference.make_checkpoint(rng, (4,), layers=layers, c_dim=c_dim)
    z = rng.normal(size=8)
    label = rng.normal(size=c_dim) if c_dim else None
    ours = [None if x is None else jnp.asarray(x, jnp.float32) for x in (z, label)]
    got = effective(ckpt)(*ours)
    np.testing.assert_allclose(got, reference.mapping(ckpt, z, label), rtol=1e-5, atol=1e-5)


def test_only_the_direction_of_z_counts(key):
    mapping = effective(reference.make_checkpoint(np.random.default_rng(0), (4,)))
    z = jax.random.normal(key, (8,))
    np.testing.assert_allclose(mapping(z), mapping(100.0 * z), rtol=1e-5)


def test_what_does_not_fit_is_one_sentence():
    rng = np.random.default_rng(0)
    plain = effective(reference.make_checkpoint(rng, (4,)))
    labelled = effective(reference.make_checkpoint(rng, (4,), c_dim=3))
    with pytest.raises(ValueError, match=r"z must have shape \(8,\), got \(7,\)"):
        plain(jnp.ones(7))
    with pytest.raises(ValueError, match="takes a label, got none"):
        labelled(jnp.ones(8))
    with pytest.raises(ValueError, match=r"takes no label, got one of shape \(3,\)"):
        plain(jnp.ones(8), jnp.ones(3))
    with pytest.raises(ValueError, match=r"label must have shape \(3,\), got \(2,\)"):
        labelled(jnp.ones(8), jnp.ones(2))


def test_truncation_goes_from_the_mean_to_the_styles(key):
    styles, w_mean = jax.random.normal(key, (6, 4)), jnp.arange(4.0)
    at_zero = truncate(styles, w_mean, psi=0.0)
    np.testing.assert_array_equal(at_zero, broadcast_styles(w_mean, 6))
    np.testing.assert_allclose(truncate(styles, w_mean, psi=1.0), styles, rtol=1e-6, atol=1e-6)
    expected = reference.truncate(np.asarray(styles), np.asarray(w_mean), 0.7)
    np.testing.assert_allclose(truncate(styles, w_mean, psi=0.7), expected, rtol=1e-6)
    one = truncate(styles[0], w_mean, psi=0.7)
    np.testing.assert_allclose(one, expected[0], rtol=1e-6)


def test_w_mean_is_the_mean_of_w(key):
    """Of a linear map the mean and its standard error are known."""
    offset = 1e3 + jnp.arange(3.0)
    mean = estimate_w_mean(lambda z: z + offset, key, z_dim=3, samples=40_000, chunk=1000)
    # Five standard errors, and the spacing of float32 numbers near 1000.
    np.testing.assert_allclose(mean, offset, atol=5 / np.sqrt(40_000) + 1e-4)


def test_w_mean_rounds_the_samples_up_to_whole_chunks():
    def mean(samples):
        key = jax.random.key(0)
        return estimate_w_mean(lambda z: z, key, z_dim=2, samples=samples, chunk=10)

    np.testing.assert_array_equal(mean(21), mean(30))
    assert not np.array_equal(mean(30), mean(31))
