import numpy as np
import pytest

from perceptual_jax.degradation.corruptions import jpeg
from perceptual_jax.jobs.sample import describe
from perceptual_jax.likelihood.inspection import inspect_picture
from perceptual_jax.likelihood.models import load_model
from tests.helpers.pictures import picture


def test_the_shipped_model_recognises_a_jpeg_without_its_header():
    image = jpeg(picture(7, 80, 96), quality=20, subsampling="4:2:0").image[6:, 9:]
    best, *others = inspect_picture(load_model("jpeg"), image)
    assert abs(best.quality - 20) <= 2
    assert (best.phase[0] % 8, best.phase[1] % 8) == (6, 1)
    assert best.probability > 0.5
    assert sum(belief.probability for belief in [best, *others]) == pytest.approx(1)
    assert "profile jpeg: quality" in describe(best)


def test_pictures_too_small_for_a_grid_are_refused():
    with pytest.raises(ValueError, match=r"at least 32x32 pixels .* got 40x16"):
        inspect_picture(load_model("jpeg"), np.zeros((16, 40, 3), np.uint8))
