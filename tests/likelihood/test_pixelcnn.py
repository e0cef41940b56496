import jax
import jax.numpy as jnp
import numpy as np
import pytest

from perceptual_jax.generator.arrays import named_params
from perceptual_jax.likelihood.config import PRESETS, PixelCNNConfig
from perceptual_jax.likelihood.layers import (
    concat_elu,
    depth_to_space,
    fold,
    space_to_depth,
    unfold,
)
from perceptual_jax.likelihood.pixelcnn import PixelCNN, init_network, weight_shapes
from perceptual_jax.types import Given
from perceptual_jax.validation import ConfigError
from tests.helpers.networks import CONFIGS, FAST, batch, network


def reach_of(network, size):
    """A function of a place: where all outputs there depend on the degraded image, [h w]."""
    data = batch(1, *size)
    header = jax.tree.map(lambda x: x[:1], data.header)

    def outputs(degraded, i, j):
        mixture = network.mixture(network.context(degraded, header), data.restored)
        # Squares, so that no two dependencies cancel.
        return sum(jnp.sum(part[0, i, j] ** 2) for part in mixture[:4])

    gradient = jax.jit(jax.grad(outputs))
    return lambda i, j: np.abs(np.asarray(gradient(data.degraded, i, j)[0])).max(axis=-1) > 0


@pytest.mark.parametrize("name", CONFIGS)
def test_no_output_depends_on_its_own_pixel_or_a_later_one(name):
    config = CONFIGS[name]
    reach = reach_of(network(config).network, (16, 20))
    for i, j in ((0, 0), (9, 7), (12, 19), (15, 0)):
        seen = reach(i, j)
        before = np.zeros((16, 20), bool)
        before[:i] = True
        before[i, :j] = True
        assert not np.any(seen & ~before)
        assert np.any(seen) == (i + j > 0)


def test_the_receptive_field_of_the_papers_network_is_433_pixels():
    # The same kernels with few channels; the reach depends on the blocks alone.
    config = PixelCNNConfig(
        channels=4,
        blocks=6,
        components=2,
        encoder="none",
        injection="both",
        phase="none",
        quality="none",
        mean="plain",
    )
    seen = reach_of(network(config).network, (24, 40))(20, 20)
    assert seen.sum() == 433
    rows, columns = np.nonzero(seen)
    assert (rows.min(), columns.min(), columns.max()) == (20 - 15, 20 - 14, 20 + 13)


def test_the_papers_network_has_3758000_parameters():
    network = jax.eval_shape(lambda key: PixelCNN(PRESETS["paper"], key), jax.random.key(0))
    assert sum(x.size for x in jax.tree.leaves(network)) == 3_758_000


@pytest.fixture(scope="module")
def initialised():
    """A network to be trained, made from `batch(8)`."""
    data, make = batch(8), jax.jit(init_network, static_argnums=0)
    key = jax.random.key(1, impl="rbg")  # compiles in half the time
    return make(FAST, key, data.degraded, data.restored, data.header)


@pytest.mark.long
def test_initialised_activations_have_the_asked_for_spread(initialised):
    @jax.jit
    def joined(network, data):
        return network.context(data.degraded, data.header).streams["joined"]

    found = joined(initialised, batch(8))
    np.testing.assert_allclose(jnp.mean(found, axis=(0, 1, 2)), 0, atol=1e-3)
    np.testing.assert_allclose(jnp.std(found, axis=(0, 1, 2)), 1, atol=1e-3)


def test_folded_weights_are_the_same_network(initialised):
    data = batch()

    @jax.jit
    def mixture_of(network):
        return network.mixture(network.context(data.degraded, data.header), data.restored)

    folded = jax.jit(fold)(initialised)
    for other in (folded, jax.jit(unfold)(folded)):
        for a, b in zip(mixture_of(initialised), mixture_of(other), strict=True):
            np.testing.assert_allclose(a, b, atol=2e-5)
    shapes = {name: x.shape for name, x in named_params(folded).items()}
    assert shapes == weight_shapes(FAST)


def test_pictures_and_features_of_odd_sizes():
    x = jax.random.normal(jax.random.key(0), (2, 5, 7, 3))
    np.testing.assert_array_equal(depth_to_space(space_to_depth(x), (5, 7)), x)
    y = concat_elu(x)
    expected = jax.nn.elu(jnp.concatenate([x, -x], axis=-1))
    np.testing.assert_allclose(y, expected, atol=1e-6)


def test_tables_and_places_reach_the_output():
    model, data = network(FAST), batch(1)
    header = jax.tree.map(lambda x: x[0], data.header)

    def evaluate(header):
        given = Given(data.degraded[0], header)
        return model.evaluate(model.prepare(given), data.restored[0])[0]

    evaluate = jax.jit(evaluate)
    bits = [
        float(evaluate(other))
        for other in (
            header,
            header._replace(phase=jnp.array([3, 0])),
            header._replace(phase=jnp.array([-1, -1])),
            header._replace(tables=header.tables * 2),
            header._replace(tables=jnp.zeros((2, 8, 8))),
        )
    ]
    assert len(set(bits)) == 5


def test_switches_that_do_not_exist_are_refused():
    with pytest.raises(ConfigError, match="channels must be"):
        PixelCNNConfig(channels=0)
