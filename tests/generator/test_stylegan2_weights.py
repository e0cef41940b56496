"""StyleGAN2's arrays: trained, saved, drawn at random, of every usual size, and wrong ones."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from perceptual_jax.generator.mapping import broadcast_styles
from perceptual_jax.generator.stylegan2 import StyleGAN2
from perceptual_jax.generator.stylegan2_weights import StyleGAN2Config, channel_table, weight_shapes
from tests.helpers.narrow_stylegan2 import CONFIG, f32, synthesis, to_ours


def test_weights_can_be_trained_through_their_arrays(small):
    """The gradient reaches the kernels both directly and through the demodulation."""
    generator, styles, noise = small
    arrays, name = generator.to_arrays(), "synthesis.b8.conv0.weight"

    @jax.jit
    @jax.grad
    def loss_gradient(kernel):
        trained = StyleGAN2(generator.config, arrays | {name: kernel})
        return jnp.mean(trained.synthesis(styles, noise) ** 2)

    gradient = loss_gradient(arrays[name])
    # Demodulation makes the picture blind to the scale of one output channel's kernel.
    along = jnp.sum(gradient * arrays[name], axis=(0, 1, 2))
    across = jnp.linalg.norm(gradient) * jnp.linalg.norm(arrays[name])
    assert across > 0
    np.testing.assert_allclose(along / across, 0.0, atol=1e-5)


def test_arrays_make_the_round_trip(generator, checkpoint):
    arrays = generator.to_arrays()
    expected = to_ours(checkpoint)
    assert arrays.keys() == expected.keys()
    for name, x in expected.items():
        np.testing.assert_array_equal(arrays[name], x)
    again = StyleGAN2(CONFIG, arrays)
    assert jax.tree.structure(again) == jax.tree.structure(generator)
    assert jax.tree.all(jax.tree.map(np.array_equal, again, generator))


def test_random_weights_give_a_picture_of_about_unit_scale(key):
    config = StyleGAN2Config(channels=(32, 16), z_dim=32, w_dim=32, mapping_layers=2)
    init_key, z_key = jax.random.split(key)
    generator = jax.jit(lambda key: StyleGAN2.init(key, config))(init_key)
    shapes = {name: x.shape for name, x in generator.to_arrays().items()}
    assert shapes == weight_shapes(config)
    w = jax.jit(jax.vmap(generator.mapping))(jax.random.normal(z_key, (4000, 32)))
    np.testing.assert_allclose(w.mean(axis=0), generator.w_mean, atol=0.1)  # five standard errors
    image = synthesis(generator, broadcast_styles(w[0], 4), generator.noise_maps())
    assert 0.1 < jnp.std(image) < 10.0


@pytest.mark.parametrize(
    ("resolution", "channels", "styles"),
    [(1024, (512,) * 5 + (256, 128, 64, 32), 18), (256, (512,) * 5 + (256, 128), 14)],
)
def test_config_f(resolution, channels, styles):
    config = StyleGAN2Config.config_f(resolution)
    assert config.channels == channels
    generator = jax.eval_shape(lambda key: StyleGAN2.init(key, config), jax.random.key(0))
    assert generator.resolution == config.resolutions[-1] == 2 ** (styles // 2 + 1)
    assert generator.num_styles == styles
    # The official generator at 1024 px has 30.4 million parameters; noise maps are not among them.
    parameters = sum(
        np.prod(shape)
        for name, shape in weight_shapes(config).items()
        if not name.endswith("noise_const")
    )
    if resolution == 1024:
        assert parameters == pytest.approx(30.4e6, rel=2e-3)


def test_what_does_not_fit_is_one_sentence(generator, checkpoint, styles, noise):
    styles, noise = f32(styles), f32(tuple(noise))
    with pytest.raises(ValueError, match=r"styles must have shape \(6, 6\), got \(5, 6\)"):
        generator.synthesis(styles[:5], noise)
    with pytest.raises(ValueError, match=r"noise must have maps of \[4, 8, 8, 16, 16\] px"):
        generator.synthesis(styles, noise[:4])
    with pytest.raises(ValueError, match=r"resolution must be one of \(4, 8, 16\), got 32"):
        generator.draft(styles, noise, 32)
    arrays = to_ours(checkpoint)
    with pytest.raises(ValueError, match="no array 'extra'"):
        StyleGAN2(CONFIG, arrays | {"extra": np.zeros(3)})
    with pytest.raises(ValueError, match=r"'w_mean' must have shape \(6,\), got \(7,\)"):
        StyleGAN2(CONFIG, arrays | {"w_mean": np.zeros(7)})
    del arrays["w_mean"]
    with pytest.raises(ValueError, match=r"1 of \d+ arrays are missing: 'w_mean'"):
        StyleGAN2(CONFIG, arrays)
    with pytest.raises(ValueError, match="power of two from 4, got 48"):
        channel_table(48, base=1024)
