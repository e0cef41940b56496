"""The default generator against its published networks, run by OpenVINO in float32.

This is the one test that downloads: it fetches the default generator if the cache lacks it. The
golden file, and when to remake it: `scripts/make_mobilestylegan_golden.py`.
"""

from pathlib import Path

import jax
import numpy as np
import pytest

from perceptual_jax.checkpoints.load import load_generator

pytestmark = pytest.mark.slow  # the full-size network

GOLDEN = Path(__file__).parent / "mobilestylegan_golden.npz"


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN) as file:
        return dict(file)


@pytest.fixture(scope="module")
def generator():
    return load_generator("mobilestylegan-ffhq")


def test_mapping_agrees(generator, golden):
    w = jax.vmap(generator.mapping)(golden["z"])
    # Eight float32 layers of 512 summed in another order: 5e-6 measured.
    np.testing.assert_allclose(w, golden["w"], rtol=0, atol=2e-5)


def test_images_agree_also_for_mixed_styles(generator, golden):
    synthesis = jax.jit(lambda g, styles, noise: g.synthesis(styles, noise))
    noise = generator.noise_maps()
    for i, row in enumerate(golden["rows"]):
        image = np.asarray(synthesis(generator, golden["w"][row], noise))
        assert image.shape == (1024, 1024, 3)
        means = image.reshape(16, 64, 16, 64, 3).mean(axis=(1, 3), dtype=np.float64)
        # 17 float32 layers, values up to 1.4: 1e-5 to 2e-5 measured.
        np.testing.assert_allclose(image[7::32, 13::32], golden["grid"][i], rtol=0, atol=5e-5)
        np.testing.assert_allclose(image[496:528, 400:432], golden["crop"][i], rtol=0, atol=5e-5)
        np.testing.assert_allclose(means, golden["means"][i], rtol=0, atol=1e-5)


def test_w_mean_is_that_of_the_mapping(generator, key):
    w = np.asarray(jax.jit(jax.vmap(generator.mapping))(jax.random.normal(key, (8192, 512))))
    standard_error = w.std(axis=0) / np.sqrt(len(w))
    # Largest of 512 standardised differences; beyond 5.5 is a chance of 2e-5.
    assert np.abs((w.mean(axis=0) - generator.w_mean) / standard_error).max() < 5.5
