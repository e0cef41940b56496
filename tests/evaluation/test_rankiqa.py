import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import signal

from perceptual_jax.checkpoints.foreign.rankiqa_files import read_rankiqa
from perceptual_jax.degradation.resampling import downscale
from perceptual_jax.evaluation.metrics.rankiqa import rankiqa, rankiqa_resized, score_patch
from tests.helpers.caffe_writers import caffemodel, rankiqa_layers
from tests.helpers.measures import textured


@pytest.fixture(scope="module")
def parameters(tmp_path_factory):
    path = tmp_path_factory.mktemp("rankiqa") / "narrow.caffemodel"
    path.write_bytes(caffemodel(rankiqa_layers()))
    return read_rankiqa(path)


def score_in_caffe(image):
    """The deployed network in Caffe's layouts, in float64, of an 8-bit picture in RGB."""
    layers = rankiqa_layers()
    x = np.asarray(image, np.float64)[:, :, ::-1].transpose(2, 0, 1)
    for block, count in enumerate((2, 2, 3, 3, 3), 1):
        for i in range(1, count + 1):
            weight, bias = layers[f"conv{block}_{i}"]
            x = np.stack(
                [
                    b
                    + sum(signal.correlate2d(p, k, mode="same") for p, k in zip(x, w, strict=True))
                    for w, b in zip(weight, bias, strict=True)
                ]
            )
            x = np.maximum(x, 0)
        channels, height, width = x.shape
        x = x.reshape(channels, height // 2, 2, width // 2, 2).max(axis=(2, 4))
    x = x.reshape(-1)
    for name in ("fc6", "fc7", "fc8"):
        weight, bias = layers[name]
        x = weight @ x + bias
        x = x if name == "fc8" else np.maximum(x, 0)
    return x[0]


def test_the_score_is_that_of_the_deployed_network(parameters):
    image = textured((224, 224))
    expected = score_in_caffe((image + 1) * 127.5)
    assert float(score_patch(parameters, jnp.asarray(image))) == pytest.approx(expected, rel=1e-4)


def test_mean_and_median_are_over_random_patches(parameters, key):
    image = jnp.asarray(textured((240, 226)))
    # Offsets are below the difference of the sizes: 16 rows, 2 columns.
    every = [
        float(score_patch(parameters, image[i : i + 224, j : j + 224]))
        for i in range(16)
        for j in range(2)
    ]
    found = rankiqa(parameters, image, key, patches=40)
    assert min(every) <= found.median <= max(every)
    spread = np.std(every) / np.sqrt(40)
    assert float(found.mean) == pytest.approx(np.mean(every), abs=5 * spread)
    other = rankiqa(parameters, image, jax.random.key(1), patches=40)
    assert other.mean != found.mean


def test_a_patch_is_a_picture_of_its_size(parameters, key):
    image = jnp.asarray(textured((224, 224)))
    found = rankiqa(parameters, image, key, patches=3)
    expected = score_patch(parameters, image)
    np.testing.assert_allclose(found, [expected, expected], rtol=1e-5)
    with pytest.raises(ValueError, match="at least 224 x 224 pixels, got 223 x 224"):
        rankiqa(parameters, image[1:], key)


def test_the_second_protocol_resizes_first(parameters, key):
    image = jnp.asarray(textured((300, 300)))
    resized = jnp.clip(downscale(image, (256, 256), filter="bicubic"), -1, 1)
    same = jax.random.clone(key)
    found = rankiqa_resized(parameters, image, key, patches=5)
    np.testing.assert_allclose(found, rankiqa(parameters, resized, same, patches=5), rtol=1e-5)
    small = rankiqa_resized(parameters, image[:100, :100], jax.random.key(3), patches=2)
    assert jnp.isfinite(small.mean)
