import numpy as np
import pytest

from perceptual_jax.checkpoints.measures import is_fetched, load_measure
from perceptual_jax.errors import UsageError
from perceptual_jax.evaluation.metrics import identity
from perceptual_jax.evaluation.metrics.identity import (
    FaceDescriptor,
    crop_box,
    crop_face,
    identity_distance,
    is_installed,
)


def test_the_box_brings_the_landmarks_to_their_places():
    left, top, right, bottom = crop_box()
    assert right - left == pytest.approx(bottom - top)
    places = (identity._FFHQ - [left, top]) / (right - left)
    # FFHQ's mean mouth is a little higher than ArcFace's.
    assert np.abs(places - identity._ARCFACE).max() * 112 < 3.2
    np.testing.assert_allclose(places.mean(axis=0), identity._ARCFACE.mean(axis=0))


def test_the_crop_is_antialiased_and_of_that_box():
    image = np.zeros((512, 512, 3), np.uint8)
    left, top, right, bottom = (round(512 * side) for side in crop_box())
    image[top:bottom, left:right] = 200
    face = crop_face(image)
    assert face.shape == (112, 112, 3)
    assert (face[4:-4, 4:-4] == 200).all()
    stripes = np.zeros((512, 512, 3), np.uint8)
    stripes[::2] = 255
    assert np.ptp(crop_face(stripes).astype(int)[4:-4]) < 12
    with pytest.raises(ValueError, match="square face crops in FFHQ framing, got 10 x 20 pixels"):
        crop_face(np.zeros((20, 10, 3), np.uint8))


def test_the_distance_depends_on_the_direction_only():
    a, b = np.random.default_rng(0).normal(size=(2, 128))
    assert identity_distance(a, 3 * a) == pytest.approx(0)
    assert identity_distance(a, -a) == pytest.approx(2)
    assert identity_distance(a, b) == pytest.approx(identity_distance(2 * b, a))


def test_without_onnxruntime_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setattr(identity, "is_installed", lambda: False)
    with pytest.raises(UsageError, match="extra `identity`"):
        FaceDescriptor(np.zeros(3, np.uint8))


@pytest.mark.skipif(not is_installed(), reason="needs the extra identity")
@pytest.mark.skipif(not is_fetched("sface"), reason="needs `weights fetch sface`")
def test_the_network_describes_pictures():
    faces = FaceDescriptor(load_measure("sface")["onnx"])
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (128, 128, 3), np.uint8)
    brighter = np.clip(image.astype(int) + 8, 0, 255).astype(np.uint8)
    found = [faces.describe(each) for each in (image, brighter)]
    assert found[0].shape == (128,)
    assert identity_distance(*found) < 0.1
