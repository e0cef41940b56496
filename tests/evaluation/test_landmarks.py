import numpy as np
import pytest
from PIL import Image

from perceptual_jax.checkpoints.measures import load_measure
from perceptual_jax.errors import UsageError
from perceptual_jax.evaluation.metrics.landmarks import landmark_distance, landmarks_of
from perceptual_jax.evaluation.scores import Scorer, Subject
from perceptual_jax.photographs.detection import nets
from perceptual_jax.photographs.detection.nets import ONet
from tests.helpers.faces import generated_faces

FACE = np.array([[0.38, 0.47], [0.62, 0.47], [0.5, 0.62], [0.39, 0.73], [0.61, 0.73]])


@pytest.fixture(scope="module")
def onet():
    return load_measure("onet")["onnx"]


def test_the_distance_is_in_percent_of_the_eyes():
    moved = FACE + np.array([[0, 0.024], [0, 0], [0.012, 0], [0, 0], [0, 0]])
    assert landmark_distance(FACE, FACE) == 0
    assert landmark_distance(moved, FACE) == pytest.approx((10 + 5) / 5)
    assert landmark_distance(2 * moved, 2 * FACE) == pytest.approx(3)


def test_landmarks_of_a_moved_picture_moved_as_far(onet):
    net = ONet(onet)
    for face in map(np.array, generated_faces()):
        side = face.shape[0]
        found = landmarks_of(face, net)
        assert np.abs(found - FACE).max() < 0.07  # FFHQ's framing
        shift = side // 25
        moved = np.pad(face, ((0, 0), (shift, 0), (0, 0)), mode="reflect")[:, :side]
        difference = landmarks_of(moved, net) - found
        np.testing.assert_allclose(difference, [[shift / side, 0]] * 5, atol=0.006)
        larger = np.asarray(Image.fromarray(face).resize((3 * side, 3 * side)))
        np.testing.assert_allclose(landmarks_of(larger, net), found, atol=0.004)


def test_the_scorer_gives_them_or_says_why_not(onet):
    scorer = Scorer(["landmarks"], load=lambda name: {"onnx": onet})
    a, b, *_ = map(np.array, generated_faces())
    same, other = (scorer.score(Subject(a, original)) for original in (a, b))
    assert same.scores["landmarks"] == 0 < 1 < other.scores["landmarks"] < 60
    flat = scorer.score(Subject(np.full_like(a, 120), a))
    assert flat.scores == {}
    assert "no face is seen" in flat.refused["landmarks"]
    wide = scorer.score(Subject(a[:100], a[:100]))
    assert "square face crops in FFHQ framing" in wide.refused["landmarks"]


def test_without_onnxruntime_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setattr(nets, "is_installed", lambda: False)
    with pytest.raises(UsageError, match="extra `photos`"):
        ONet(np.zeros(3, np.uint8))
