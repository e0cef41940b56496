import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from perceptual_jax.evaluation.metrics.rank_vgg import score_features
from perceptual_jax.training.ranking import fit_head, hinge_loss, measure_ranking


def test_the_loss_is_the_mean_over_all_pairs_that_count():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(3, 2, 6), scale=2)
    within = [
        max(0, 1 + scores[p, k, i] - scores[p, k, j])
        for p, k in itertools.product(range(3), range(2))
        for i, j in itertools.combinations(range(6), 2)
    ]
    between = [
        max(0, 1 + scores[p, k, i] - scores[p - 1, k - 1, j])
        for p, k in itertools.product(range(3), range(2))
        for i, j in itertools.product(range(6), range(6))
        if j >= i + 3
    ]
    expected = np.mean(within) + np.mean(between)
    assert float(hinge_loss(jnp.asarray(scores))) == pytest.approx(expected, rel=1e-5)


def test_a_head_learns_the_direction_of_damage_and_its_scale():
    rng = np.random.default_rng(1)
    damage, content = rng.normal(size=20), rng.normal(size=(30, 1, 1, 20))
    rungs = np.arange(6)[:, None] * damage
    noise = rng.normal(size=(30, 2, 6, 20), scale=0.3)
    features = (content + rungs + noise).astype(np.float32)
    said = []
    head = fit_head(
        features[:20],
        hidden=8,
        steps=200,
        batch=8,
        rate=1e-2,
        report=lambda step, loss: said.append((step, loss)),
    )
    assert [step for step, _ in said] == list(range(20, 201, 20))
    assert said[-1][1] < said[0][1]
    score = jax.jit(jax.vmap(lambda x: score_features(head, x)))
    learned, unseen = (
        np.asarray(score(x.reshape(-1, 20))).reshape(x.shape[:3])
        for x in (features[:20], features[20:])
    )
    assert learned[..., 0].mean() == pytest.approx(0, abs=0.1)
    assert learned[..., 5].mean() == pytest.approx(100, abs=0.1)
    found = measure_ranking(unseen[:, 0])
    assert found.spearman > 0.98
    assert found.pairwise > 0.95
    assert found.between > 0.95


def test_rankings_are_measured_within_and_between_pictures():
    right = np.arange(6.0)
    assert measure_ranking(np.stack([right, right])) == (1, 1, 1, 1)
    assert measure_ranking(np.stack([right, -right]))[:3] == pytest.approx((0, -1, 0.5))
    # Right within each picture, but the second is worse throughout.
    assert measure_ranking(np.stack([right, right + 100])).between == 0.5
    assert np.isnan(measure_ranking(right[None]).between)
