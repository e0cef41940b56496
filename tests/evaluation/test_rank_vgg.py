from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from perceptual_jax.checkpoints import store
from perceptual_jax.checkpoints.catalogue import WeightsError
from perceptual_jax.checkpoints.load import load_generator
from perceptual_jax.checkpoints.measures import is_fetched, load_measure
from perceptual_jax.degradation.ladders import TRAINED, ladder
from perceptual_jax.evaluation.metrics.perceptual import layers
from perceptual_jax.evaluation.metrics.rank_vgg import (
    ARCHITECTURE,
    SHIPPED,
    load_head,
    rank_features,
    rank_vgg,
    rank_vgg_resized,
    save_head,
    score_features,
)
from perceptual_jax.io.images import to_float, to_uint8
from tests.helpers.measures import narrow_rank_head, perceptual_parameters, textured

GOLDEN = Path(__file__).with_name("rank_vgg_golden.npz")
"""Features of VGG16 of a generated face of 256 px, sharp and damaged, as `make_golden` has them."""


CHECKED = (("blur", 1), ("noise", 2), ("jpeg", 0))
"""A distortion and one of its three rungs; the first rung is the sharp picture."""


def golden_pictures():
    """The middle of a generated face, sharp and damaged: by distortion, uint8 [3 224 224 3]."""
    generator = load_generator("mobilestylegan-ffhq")
    w = generator.mapping(jax.random.normal(jax.random.key(5), (generator.z_dim,)))
    styles = jnp.tile(generator.w_mean + 0.7 * (w - generator.w_mean), (generator.num_styles, 1))
    image = jax.jit(generator.synthesis)(styles, generator.noise_maps())
    small = to_uint8(image.reshape(256, 4, 256, 4, 3).mean(axis=(1, 3)))[16:240, 16:240]
    return {name: ladder(small, TRAINED[name])[[0, 2, 4]] for name, _ in CHECKED}


def real_features(pictures):
    """Features [n d] of pictures [n 224 224 3], by the real VGG16."""
    network = dict(load_measure("lpips-vgg"))
    features = jax.jit(lambda x: jax.lax.map(lambda y: rank_features(network, y), x))
    return np.asarray(features(jnp.asarray(to_float(pictures))))


def make_golden():
    """What `GOLDEN` holds: features [distortions rungs d]."""
    return np.stack([real_features(rungs) for rungs in golden_pictures().values()])


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN) as file:
        return file["features"].astype(np.float32)


def test_the_shipped_head_ranks_damaged_faces_below_the_sharp_one(golden):
    head = load_head()
    scores = np.asarray(jax.vmap(jax.vmap(lambda x: score_features(head, x)))(golden))
    assert np.all(np.diff(scores, axis=1) > 5)
    assert np.all(scores[:, 0] < 30)


def test_the_shipped_file_is_small_and_tells_where_it_comes_from():
    assert SHIPPED.stat().st_size < 1e6
    about = store.inspect(SHIPPED)
    assert about["architecture"] == ARCHITECTURE
    assert about["about"]["levels"] == {n: list(TRAINED[n].levels) for n in TRAINED}


@pytest.mark.slow
@pytest.mark.skipif(not is_fetched("lpips-vgg"), reason="needs `weights fetch lpips-vgg`")
def test_the_golden_features_are_those_of_the_network(golden):
    pictures = golden_pictures()
    found = real_features(np.stack([pictures[name][rung] for name, rung in CHECKED]))
    expected = np.stack([golden[i, rung] for i, (_, rung) in enumerate(CHECKED)])
    np.testing.assert_allclose(found, expected, atol=0.02)


def test_features_are_means_and_deviations_of_five_layers():
    parameters, image = perceptual_parameters("vgg"), jnp.asarray(textured((40, 36)))
    expected = []
    for y in layers(parameters, image, network="vgg"):
        rows = np.asarray(y, np.float64).reshape(-1, y.shape[-1])
        expected += [rows.mean(axis=0), rows.std(axis=0)]
    found = rank_features(parameters, image)
    np.testing.assert_allclose(found, np.log1p(np.concatenate(expected)), atol=1e-4)


@pytest.mark.slow
def test_a_picture_has_the_mean_and_the_median_of_a_grid_of_patches():
    parameters, head = perceptual_parameters("vgg"), narrow_rank_head()
    image = jnp.asarray(textured((300, 230)))
    every = [
        float(score_features(head, rank_features(parameters, image[i : i + 224, j : j + 224])))
        for i in (0, 76)
        for j in (0, 6)
    ]
    found = rank_vgg(parameters, head, image)
    expected = (np.mean(every), np.median(every))
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)
    assert np.ptp(every) > 1e-2
    with pytest.raises(ValueError, match="at least 224 x 224 pixels, got 100 x 230"):
        rank_vgg(parameters, head, image[:100])
    assert jnp.isfinite(rank_vgg_resized(parameters, head, image[:100]).mean)


def test_a_head_is_kept_in_float16_and_other_files_are_refused(tmp_path):
    head = narrow_rank_head()
    path = tmp_path / "head.safetensors"
    save_head(path, head, {"steps": 3})
    for one, other in zip(load_head(path), head, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-6)
    arrays, metadata = store.load(path)
    store.save(path, arrays | {"bias0": arrays["bias1"]}, metadata)
    with pytest.raises(WeightsError, match=r"does not hold the network of rank-vgg \(ours\)"):
        load_head(path)
