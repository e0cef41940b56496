"""MobileStyleGAN against a slow float64 reference in loops, its gradients, drafts and noise."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from perceptual_jax.generator.arrays import named_params
from perceptual_jax.generator.draft import init_draft_head, thirds
from perceptual_jax.generator.mobilestylegan import MobileStyleGAN, modulated_depthwise
from perceptual_jax.generator.upsampling import inverse_haar
from tests.helpers.narrow import mobile, mobile_arrays


def reference(arrays, styles):
    """The synthesis in float64, pixel by pixel."""
    a = {name: np.asarray(x, np.float64) for name, x in arrays.items()}

    def scale(layer, style):
        return style @ a[f"{layer}.affine.weight"] + a[f"{layer}.affine.bias"]

    def convolve(x, kernel):  # kernel [3 3 in out]
        h, w, _ = x.shape
        padded = np.zeros((h + 2, w + 2, x.shape[2]))
        padded[1:-1, 1:-1] = x
        out = np.zeros((h, w, kernel.shape[3]))
        for i in range(h):
            for j in range(w):
                out[i, j] = np.tensordot(padded[i : i + 3, j : j + 3], kernel, axes=3)
        return out

    def leaky(x):
        return np.where(x > 0, x, 0.2 * x)

    def haar(x):
        h, w, c = x.shape[0], x.shape[1], x.shape[2] // 4
        out = np.zeros((2 * h, 2 * w, c))
        for channel in range(c):
            ll = x[..., channel]
            lh, hl, hh = (x[..., c + 3 * channel + i] for i in range(3))
            out[0::2, 0::2, channel] = 0.5 * (ll + lh + hl + hh)
            out[0::2, 1::2, channel] = 0.5 * (ll + lh - hl - hh)
            out[1::2, 0::2, channel] = 0.5 * (ll - lh + hl - hh)
            out[1::2, 1::2, channel] = 0.5 * (ll - lh - hl + hh)
        return out

    x = convolve(a["const"] * scale("conv1", styles[0]), a["conv1.weight"])
    x = leaky(x + a["conv1.noise"][..., None] + a["conv1.bias"])
    for i in range(2):
        x = haar(x * scale(f"blocks.{i}.up", styles[2 * i + 1]))
        for j, name in enumerate(("conv1", "conv2")):
            layer = f"blocks.{i}.{name}"
            x = x * scale(layer, styles[2 * i + 1 + j])
            depthwise = a[f"{layer}.depthwise"]
            kernel = depthwise[..., None] * np.eye(depthwise.shape[2])
            x = convolve(x, kernel) @ a[f"{layer}.pointwise"]
            x = leaky(x + a[f"{layer}.noise"][..., None] + a[f"{layer}.bias"])
    x = (x * scale("to_image", styles[-1])) @ a["to_image.weight"] + a["to_image.bias"]
    return haar(x)


@pytest.fixture(scope="module")
def generator():
    return mobile()


@pytest.fixture
def styles(generator):
    return jnp.asarray(0.7 * np.random.default_rng(1).standard_normal((6, 16)), jnp.float32)


def test_synthesis_equals_the_reference(generator, styles):
    image = jax.jit(lambda g, s: g.synthesis(s, g.noise_maps()))(generator, styles)
    expected = reference(mobile_arrays(), np.asarray(styles, np.float64))
    assert image.shape == (32, 32, 3)
    np.testing.assert_allclose(image, expected, atol=1e-5)  # float32 through six layers


def test_gradient_equals_finite_differences_of_the_reference(generator, styles):
    weights = np.random.default_rng(2).standard_normal((32, 32, 3))

    @jax.jit
    def gradient(g, s):
        return jax.grad(lambda s: jnp.sum(g.synthesis(s, g.noise_maps()) * weights))(s)

    direction = np.random.default_rng(3).standard_normal(styles.shape)
    step = 1e-6
    above, below = (
        np.sum(
            reference(mobile_arrays(), np.asarray(styles, np.float64) + sign * step * direction)
            * weights
        )
        for sign in (1, -1)
    )
    expected = (above - below) / (2 * step)
    np.testing.assert_allclose(
        np.sum(np.asarray(gradient(generator, styles)) * direction), expected, rtol=1e-4
    )


def test_every_style_reaches_the_image(generator, styles):
    @jax.jit
    def gradient(g, s):
        return jax.grad(lambda s: jnp.sum(g.synthesis(s, g.noise_maps()) ** 2))(s)

    assert np.all(np.linalg.norm(gradient(generator, styles), axis=1) > 0)


def test_a_vmapped_row_is_the_single_image(generator, styles):
    batch = np.stack([styles, 0.5 * styles, -styles])
    render = jax.jit(lambda g, s: g.synthesis(s, g.noise_maps()))
    together = jax.jit(jax.vmap(lambda g, s: g.synthesis(s, g.noise_maps()), (None, 0)))
    np.testing.assert_allclose(
        together(generator, batch)[1], render(generator, batch[1]), atol=1e-5
    )


def test_the_derivative_of_the_depthwise_convolution_is_that_of_its_formula():
    rng = np.random.default_rng(0)
    x, g = (rng.standard_normal((5, 6, 4)) for _ in range(2))
    scale, kernel = rng.standard_normal(4), rng.standard_normal((3, 3, 4))

    def plain(x, scale, kernel):
        return jax.lax.conv_general_dilated(
            (x * scale[None, None])[None],
            kernel[:, :, None, :],
            (1, 1),
            "SAME",
            feature_group_count=4,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )[0]

    with jax.enable_x64(True):
        *arguments, g = (jnp.asarray(a) for a in (x, scale, kernel, g))
        ours, theirs = (
            jax.jit(lambda *a, f=f: (f(*a), jax.vjp(f, *a)[1](g)))(*arguments)
            for f in (modulated_depthwise, plain)
        )
        np.testing.assert_allclose(ours[0], theirs[0], rtol=1e-10, atol=1e-12)
        for a, b in zip(ours[1], theirs[1], strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


def test_inverse_haar_keeps_the_norm():
    x = jax.random.normal(jax.random.key(0), (4, 4, 8))
    np.testing.assert_allclose(jnp.sum(inverse_haar(x) ** 2), jnp.sum(x**2), rtol=1e-5)


def test_noise_modes(generator, styles, key):
    own = generator.noise_maps()
    assert [m.shape[0] for m in own] == [4, 8, 8, 16, 16]
    np.testing.assert_allclose([np.std(m) for m in own], 1.0, rtol=1e-5)
    assert all(not np.any(m) for m in generator.noise_maps(mode="none"))
    drawn = generator.noise_maps(key, mode="random")
    assert [m.shape for m in drawn] == [m.shape for m in own]
    render = jax.jit(lambda g, s, n: g.synthesis(s, n))
    assert np.max(np.abs(render(generator, styles, own) - render(generator, styles, drawn))) > 1e-3
    with pytest.raises(ValueError, match="needs a key"):
        generator.noise_maps(mode="random")


def test_bfloat16_is_near_float32(styles):
    half = MobileStyleGAN.from_arrays(mobile_arrays(), dtype=jnp.bfloat16)
    render = jax.jit(lambda g, s: g.synthesis(s, g.noise_maps()))
    image, expected = render(half, styles), render(mobile(), styles)
    assert image.dtype == jnp.float32
    # 8 bits of mantissa through six layers.
    assert np.sqrt(np.mean((image - expected) ** 2)) < 0.03 * np.std(expected)


def test_a_draft_is_its_head_on_the_features(styles, key):
    head = init_draft_head(key, 16, 16, hidden=4)
    generator = MobileStyleGAN.from_arrays(
        mobile_arrays(), draft_heads={16: {k: np.asarray(v) for k, v in named_params(head).items()}}
    )
    draft = jax.jit(lambda g, s: g.draft(s, g.noise_maps(), 16))(generator, styles)
    assert draft.shape == (16, 16, 3)
    parts = jax.jit(lambda g, s: g.draft_parts(s, g.noise_maps(), 16))
    features, late, base = parts(generator, styles)
    assert base is None
    assert features.shape == (8, 8, 16)
    np.testing.assert_allclose(late, styles[3:] - generator.w_mean[None], rtol=1e-6)
    expected = jax.jit(lambda head, f, late: inverse_haar(head(f, late)))(head, features, late)
    np.testing.assert_allclose(draft, expected, atol=1e-5)


def test_a_missing_draft_head_says_what_to_do(generator, styles):
    with pytest.raises(ValueError, match=r"no draft head for 16 px .*fit one"):
        generator.draft(styles, generator.noise_maps(), 16)


def test_a_draft_cannot_explode_off_the_prior(key):
    head = init_draft_head(key, 8, 16, hidden=4)
    features = jnp.ones((4, 4, 8))
    near = head(features, jnp.ones((5, 16)))
    far = head(features, 1e6 * jnp.ones((5, 16)))
    assert np.max(np.abs(far)) < 10 * np.max(np.abs(near))


@pytest.mark.parametrize("rows", [1, 2, 3, 5, 7])
def test_thirds_use_every_row(rows):
    late = jnp.eye(rows)
    used = sum(np.asarray(x) for x in thirds(late))
    assert np.all(used > 0)


def test_parameters_have_the_names_of_the_file_and_nothing_else_is_kept():
    arrays = mobile_arrays()
    older = {"v_mean": np.zeros(16, np.float32), "v_covariance": np.eye(16, dtype=np.float32)}
    generator = MobileStyleGAN.from_arrays(arrays | older)
    strengths = {name.replace("noise", "noise_strength") for name in arrays if "noise" in name}
    assert named_params(generator).keys() == arrays.keys() - {"w_mean"} | strengths
    assert len(jax.tree.leaves(generator)) == len(arrays) + len(strengths)
    again = nnx.merge(*nnx.split(generator))
    assert jax.tree.structure(again) == jax.tree.structure(generator)
    assert all(map(np.array_equal, jax.tree.leaves(again), jax.tree.leaves(generator)))


def test_a_call_leaves_the_generator_as_it_was(generator, styles):
    before = jax.tree.leaves(generator)
    generator.synthesis(styles, generator.noise_maps())
    after = jax.tree.leaves(generator)
    assert all(a is b for a, b in zip(before, after, strict=True))
