import numpy as np
import pytest

from perceptual_jax.degradation.ladders import LEVELS, TRAINED, UNSEEN, ladder
from tests.helpers.measures import textured


@pytest.mark.parametrize("name", [*TRAINED, *UNSEEN])
def test_each_rung_is_further_from_the_picture(name):
    image = np.round((textured((128, 112)) + 1) * 127.5).astype(np.uint8)
    rungs = ladder(image, {**TRAINED, **UNSEEN}[name], seed=3)
    assert rungs.shape == (1 + LEVELS, *image.shape)
    assert rungs.dtype == np.uint8
    assert np.array_equal(rungs[0], image)
    errors = [float(np.mean((rung.astype(float) - image) ** 2)) for rung in rungs]
    assert errors == sorted(set(errors))
    assert np.array_equal(rungs, ladder(image, {**TRAINED, **UNSEEN}[name], seed=3))


def test_rungs_have_noise_of_their_own():
    grey = np.full((64, 64, 3), 128, np.uint8)
    first, second = (rung.astype(float) - 128 for rung in ladder(grey, TRAINED["noise"])[1:3])
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.05
