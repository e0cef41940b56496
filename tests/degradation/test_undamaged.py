import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from perceptual_jax.degradation.detail import measure_detail
from perceptual_jax.degradation.undamaged import (
    Regression,
    features,
    is_undamaged,
    load_regression,
    log_odds,
    save_regression,
)

FACES = Path(__file__).with_name("generated_faces.png")
"""Two pictures of the default generator, reduced to 192 px."""


def face(index, side=192):
    with Image.open(FACES) as image:
        one = image.convert("RGB").crop((192 * index, 0, 192 * index + 192, 192))
        return np.asarray(one.resize((side, side), Image.Resampling.LANCZOS))


def coded(image, form, quality):
    file = io.BytesIO()
    Image.fromarray(image).save(file, form, quality=quality)
    return np.asarray(Image.open(file).convert("RGB"))


@pytest.mark.parametrize("side", [128, 160, 192])
@pytest.mark.parametrize("index", [0, 1])
def test_a_face_that_was_scaled_down_is_undamaged(index, side):
    assert is_undamaged(face(index, side))


@pytest.mark.parametrize("index", [0, 1])
def test_a_damaged_face_is_not(index):
    clean = face(index)
    noise = clean + np.random.default_rng(0).normal(0, 8, clean.shape)
    fine = Image.fromarray(coded(clean, "JPEG", 30))
    assert not is_undamaged(noise.clip(0, 255).astype(np.uint8))
    assert not is_undamaged(coded(clean, "WEBP", 30))
    assert not is_undamaged(np.asarray(fine.resize((150, 150), Image.Resampling.BICUBIC)))


def test_of_other_pictures_nothing_is_known():
    assert not is_undamaged(face(0, 127))
    assert not is_undamaged(face(0, 257))
    assert not is_undamaged(face(0)[:, :160])


def test_features_are_quantiles_of_bands_over_blocks():
    image = face(0, 128)[:64, :64]
    n = np.arange(8)
    dct = np.sqrt((1 + (n[:, None] > 0)) / 8) * np.cos((2 * n + 1) * n[:, None] * np.pi / 16)
    luma = image @ np.array([0.299, 0.587, 0.114])
    sizes = []
    for top in range(0, 64, 8):
        for left in range(0, 64, 8):
            block = dct @ luma[top : top + 8, left : left + 8] @ dct.T
            band = [block[i, j] ** 2 for i in n for j in n if i + j in (7, 8)]
            sizes.append(np.sqrt(np.mean(band) + 0.15**2))
    found = features(image)
    assert len(found) == 47
    # Of luma: three quantiles of five bands each, quantiles first.
    np.testing.assert_allclose(found[[2, 7, 12]], np.log(np.quantile(sizes, [0.1, 0.5, 0.9])))
    np.testing.assert_allclose(found[-2:], [np.log(0.5), measure_detail(image).size / 64])


def test_log_odds_are_of_standardised_features_and_their_products(tmp_path):
    rng = np.random.default_rng(1)
    mean, scale, linear, x = rng.normal(size=(4, 3))
    regression = Regression(mean, scale, np.array(0.5), linear, np.triu(rng.normal(size=(3, 3))))
    save_regression(tmp_path / "a.safetensors", regression)
    kept = load_regression(tmp_path / "a.safetensors")
    expected = float(kept.bias)
    for i in range(3):
        z = (x[i] - kept.mean[i]) * kept.scale[i]
        expected += kept.linear[i] * z
        for j in range(3):
            expected += kept.quadratic[i, j] * z * (x[j] - kept.mean[j]) * kept.scale[j]
    assert log_odds(kept, x) == pytest.approx(expected)
    np.testing.assert_allclose(kept.quadratic, regression.quadratic, atol=2e-3)
