import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import signal

from perceptual_jax.evaluation.metrics.perceptual import layers, lpips, pooled
from tests.helpers.measures import perceptual_parameters, textured


def conv(x, weight, bias, stride, padding):
    """A convolution channel by channel, in float64."""
    x = np.pad(x, [(padding, padding), (padding, padding), (0, 0)])
    planes = []
    for out in range(weight.shape[3]):
        parts = [
            signal.correlate2d(x[..., c], weight[..., c, out], mode="valid")
            for c in range(x.shape[2])
        ]
        planes.append(sum(parts)[::stride, ::stride] + bias[out])
    return np.stack(planes, axis=-1)


def pool(x, window):
    height, width = ((n - window) // 2 + 1 for n in x.shape[:2])
    rows = [
        [x[2 * i : 2 * i + window, 2 * j : 2 * j + window].max((0, 1)) for j in range(width)]
        for i in range(height)
    ]
    return np.array(rows)


def reference_layers(parameters, image, network):
    """torchvision's networks as their papers draw them: a list of convolutions and pools."""
    alex = [(0, 4, 2), "pool", (1, 1, 2), "pool", (2, 1, 1), (3, 1, 1), (4, 1, 1)]
    vgg = [(0, 1, 1), (1, 1, 1), "pool", (2, 1, 1), (3, 1, 1), "pool"]
    vgg += [(4, 1, 1), (5, 1, 1), (6, 1, 1), "pool", (7, 1, 1), (8, 1, 1), (9, 1, 1), "pool"]
    vgg += [(10, 1, 1), (11, 1, 1), (12, 1, 1)]
    kept = range(5) if network == "alex" else (1, 3, 6, 9, 12)
    x = np.asarray(image, np.float64) / 2 + 0.5
    # LPIPS rounds ImageNet's mean and deviation of [0, 1] in [-1, 1].
    x = (2 * x - 1 - np.array([-0.030, -0.088, -0.188])) / np.array([0.458, 0.448, 0.450])
    found = []
    for step in alex if network == "alex" else vgg:
        if step == "pool":
            x = pool(x, 3 if network == "alex" else 2)
            continue
        i, stride, padding = step
        x = conv(x, parameters[f"conv{i}.weight"], parameters[f"conv{i}.bias"], stride, padding)
        x = np.maximum(x, 0)
        if i in kept:
            found.append(x)
    return found


@pytest.mark.parametrize(("network", "shape"), [("alex", (67, 48)), ("vgg", (37, 20))])
def test_lpips_is_that_of_the_reference_in_float64(network, shape):
    parameters = perceptual_parameters(network)
    a, b = textured(shape, 0), textured(shape, 1)
    expected, references = 0.0, []
    for image in (a, b):
        references.append(reference_layers(parameters, image, network))
        for x, y in zip(
            layers(parameters, jnp.asarray(image), network=network), references[-1], strict=True
        ):
            np.testing.assert_allclose(x, y, atol=1e-4)
    for i, (x, y) in enumerate(zip(*references, strict=True)):
        x, y = (v / (np.linalg.norm(v, axis=-1, keepdims=True) + 1e-10) for v in (x, y))
        expected += np.mean(((x - y) ** 2) @ parameters[f"head{i}"])
    got = lpips(parameters, jnp.asarray(a), jnp.asarray(b), network=network)
    assert float(got) == pytest.approx(expected, rel=1e-4)


def test_pooled_features_are_means_of_the_last_three_layers():
    parameters, image = perceptual_parameters("alex"), jnp.asarray(textured((64, 64)))
    found = pooled(parameters, image)
    expected = [x.mean(axis=(0, 1)) for x in layers(parameters, image, network="alex")[2:]]
    np.testing.assert_allclose(found, np.concatenate(expected), rtol=1e-5)


def test_equal_pictures_are_at_zero_with_a_finite_gradient():
    parameters, image = perceptual_parameters("alex"), jnp.asarray(textured((40, 40)))
    value, gradient = jax.value_and_grad(lambda x: lpips(parameters, x, image))(image)
    assert float(value) == 0
    assert jnp.isfinite(gradient).all()


def test_batches_by_vmap():
    parameters = perceptual_parameters("alex")
    a, b = (
        jnp.stack([jnp.asarray(textured((40, 40), s)) for s in seeds]) for seeds in ([0, 1], [2, 3])
    )
    values = jax.jit(jax.vmap(lambda x, y: lpips(parameters, x, y)))(a, b)
    np.testing.assert_allclose(values[1], lpips(parameters, a[1], b[1]), rtol=1e-5)


@pytest.mark.parametrize(("network", "least"), [("alex", 31), ("vgg", 16)])
def test_the_smallest_pictures(network, least):
    parameters = perceptual_parameters(network)
    image = jnp.asarray(textured((least, least)))
    assert jnp.isfinite(lpips(parameters, image, -image, network=network))
    with pytest.raises(ValueError, match=f"at least {least} x {least} pixels, got {least - 1}"):
        lpips(parameters, image[1:], image[1:], network=network)
