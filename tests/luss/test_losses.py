"""Losses against their formulas in NumPy (float64), over random shapes; the published figures are in test_golden_losses."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.runtime import jt
from luss.losses import EmbeddingQueue, assign_codes, deep_to_shallow, pixel_to_pixel, shrink_labels, sinkhorn, soft_cross_entropy, swapped_prediction

FEW = settings(max_examples=12, deadline=None)  # a new shape costs Jittor a compilation


def rows(rng, *shape):
    x = rng.standard_normal(shape)
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def sinkhorn_reference(scores, epsilon, iterations):
    q = np.exp(scores.astype(np.float64) / epsilon).T
    q /= q.sum()
    for _ in range(iterations):
        q /= q.sum(1, keepdims=True) * q.shape[0]
        q /= q.sum(0, keepdims=True) * q.shape[1]
    return (q * q.shape[1]).T


def cross_entropy_reference(codes, scores, temperature):
    z = scores.astype(np.float64) / temperature
    z -= z.max(1, keepdims=True)
    return -(codes * (z - np.log(np.exp(z).sum(1, keepdims=True)))).sum(1).mean()


@FEW
@given(st.integers(1, 9), st.integers(1, 7), st.integers(0, 4), st.sampled_from([0.03, 0.05, 0.5]), st.integers(0, 99))
def test_sinkhorn(samples, prototypes, iterations, epsilon, seed):
    scores = np.random.default_rng(seed).uniform(-1, 1, (samples, prototypes)).astype(np.float32)
    found = sinkhorn(jt.array(scores), epsilon, iterations).numpy()
    # float32 exponentials of up to 1 / 0.03: relative error about 33 eps32 each way
    if iterations:
        np.testing.assert_allclose(found, sinkhorn_reference(scores, epsilon, iterations), rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(found.sum(1), 1, rtol=1e-5)


def test_sinkhorn_balances_the_prototypes():
    scores = np.random.default_rng(1).uniform(-1, 1, (60, 6)).astype(np.float32) + np.linspace(0, 1, 6, dtype=np.float32)
    np.testing.assert_allclose(sinkhorn(jt.array(scores), 0.5, 50).numpy().sum(0), 10, rtol=1e-3)


def test_too_large_scores_give_nan_as_published():
    assert np.isnan(sinkhorn(jt.array(np.array([[5.0, 0.0], [0.0, 0.0]], np.float32))).numpy()).any()


@FEW
@given(st.integers(1, 5), st.integers(2, 6), st.integers(2, 4), st.integers(0, 99))
def test_swapped_prediction_and_deep_to_shallow(batch, prototypes, crops, seed):
    rng = np.random.default_rng(seed)
    scores = rng.uniform(-1, 1, ((crops + 4) * batch, prototypes)).astype(np.float32)
    codes = [rng.dirichlet(np.ones(prototypes), batch).astype(np.float32) for _ in (0, 1)]
    part = [scores[i * batch : (i + 1) * batch] for i in range(crops + 4)]
    wanted = np.mean([np.mean([cross_entropy_reference(codes[s], part[v], 0.1) for v in range(crops) if v != s]) for s in (0, 1)])
    given_codes = [jt.array(code) for code in codes]
    assert swapped_prediction(given_codes, jt.array(scores), batch, crops, 0.1).item() == pytest.approx(wanted, rel=1e-4)
    found = [loss.item() for loss in deep_to_shallow(given_codes, jt.array(scores), batch, crops, 2, 0.1)]
    for position, loss in enumerate(found):
        a, b = part[crops + 2 * position], part[crops + 2 * position + 1]
        assert loss == pytest.approx((cross_entropy_reference(codes[0], b, 0.1) + cross_entropy_reference(codes[1], a, 0.1)) / 2, rel=1e-4)


def test_the_codes_get_no_gradient_and_the_scores_do():
    rng = np.random.default_rng(2)
    scores = rng.uniform(-1, 1, (8, 5)).astype(np.float32)
    codes = rng.dirichlet(np.ones(5), 4).astype(np.float32)

    def loss_at(x):
        return cross_entropy_reference(codes, x, 0.1)

    x = jt.array(scores[:4])
    gradient = jt.grad(soft_cross_entropy(jt.array(codes), x, 0.1), x).numpy()
    step = 1e-3
    for i, j in [(0, 0), (1, 3), (3, 4)]:
        moved = [scores[:4].astype(np.float64) for _ in (0, 1)]
        moved[0][i, j] -= step
        moved[1][i, j] += step
        assert gradient[i, j] == pytest.approx((loss_at(moved[1]) - loss_at(moved[0])) / (2 * step), rel=1e-3, abs=1e-4)
    whole = jt.array(scores)
    assigned = assign_codes(whole, whole, 4, None, None, 0.05, 3)
    through_codes = sum((code * jt.array(codes)).sum() for code in assigned)
    assert not jt.grad(through_codes, whole).numpy().any()


def test_pixel_to_pixel_counts_points_without_overlap_as_zero():
    rng = np.random.default_rng(3)
    z, p = (rng.standard_normal((4, 6, 3, 3)).astype(np.float32) for _ in (0, 1))
    z[1, :, 0, 0] = 0

    def cosine(a, b):
        norms = np.maximum(np.linalg.norm(a, axis=1), 1e-8) * np.maximum(np.linalg.norm(b, axis=1), 1e-8)
        return ((a.astype(np.float64) * b).sum(1) / norms).mean()

    wanted = -(cosine(p[:2], z[2:]) + cosine(p[2:], z[:2])) / 2
    assert pixel_to_pixel(jt.array(z), jt.array(p)).item() == pytest.approx(wanted, rel=1e-5)


def test_queue_is_newest_first_and_used_once_full():
    queue = EmbeddingQueue(4, 3)
    batches = [np.full((2, 3), value, np.float32) for value in (1, 2, 3)]
    states = []
    for batch in batches:
        states.append(queue.full)
        queue.push([jt.array(batch), jt.array(-batch)])
    assert states == [False, False, True]
    assert queue.rows.numpy()[0, :, 0].tolist() == [3, 3, 2, 2] and queue.rows.numpy()[1, :, 0].tolist() == [-3, -3, -2, -2]
    assert EmbeddingQueue(4, 3, queue.rows.numpy()).full
    with pytest.raises(ValueError, match="does not fit"):
        queue.push([jt.ones((5, 3)), jt.ones((5, 3))])
    with pytest.raises(ValueError, match="expected"):
        EmbeddingQueue(4, 3, np.zeros((2, 5, 3)))


@given(st.integers(2, 30), st.integers(2, 30), st.integers(0, 99))
def test_shrinking_labels_takes_every_second_pixel(height, width, seed):
    labels = np.random.default_rng(seed).integers(0, 9, (2, height, width)).astype(np.int32)
    assert np.array_equal(shrink_labels(labels, 0.5), labels[:, : height // 2 * 2 : 2, : width // 2 * 2 : 2])
