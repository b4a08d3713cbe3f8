"""The threshold curve: by hand, and against scoring the thresholded maps one threshold at a time."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from engine.runtime.errors import LussError
from luss.benchmark import curve as curve_module
from luss.benchmark.curve import DEFAULT_THRESHOLDS, apply_threshold, count_attention, curve, threshold_bins, threshold_edges
from luss.benchmark.evaluate import evaluate_pairs

GRID = [0.0, 0.1, 0.25, 0.3, 0.5]
VALUES = [*GRID, 0.05, 0.2999, 0.4, 0.9, float(np.nextafter(np.float32(0.3), np.float32(0)))]


def _triples(classes, clusters):
    shape = (5, 6)
    one = st.tuples(
        arrays(np.int32, shape, elements=st.integers(0, clusters)),
        arrays(np.float32, shape, elements=st.sampled_from([float(np.float32(v)) for v in VALUES])),
        arrays(np.int32, shape, elements=st.sampled_from([*range(classes + 1), 1000])),
    )
    return st.lists(one, min_size=1, max_size=4)


def test_by_hand():
    labels, gt = np.array([[1, 1, 1, 1]]), np.array([[1, 1, 0, 1000]])
    attention = np.array([[0.8, 0.4, 0.2, 0.9]], np.float32)
    result = curve([(labels, attention, gt)], 1, [0.0, 0.2, 0.3, 0.5, 0.95])
    # background right from 0.3 on; class 1 loses its second pixel at 0.5, everything at 0.95
    expected = [(0 + 2 / 3) / 2, (0 + 2 / 3) / 2, (1 + 1) / 2, (1 / 2 + 1 / 2) / 2, (1 / 3 + 0) / 2]
    assert result["miou"] == pytest.approx([100 * value for value in expected])
    assert (result["best_threshold"], result["best_miou"]) == (0.3, pytest.approx(100))
    assert result["objectives"] == [1, 1, 1, 1, 0]
    assert result["matches"][0.3] == {1: 1}


def test_first_of_equal_maxima_wins():
    labels = gt = np.array([[1, 0]])
    result = curve([(labels, np.array([[0.9, 0.1]], np.float32), gt)], 1)
    assert result["thresholds"] == list(DEFAULT_THRESHOLDS)
    assert result["best_threshold"] == 0.0


def test_comparison_is_in_float32():
    for k in range(81):
        edge = np.float32(k / 100)
        below = np.nextafter(edge, np.float32(-1)) if k else np.float32(-1e-37)  # not a subnormal: Jittor makes the processor take those for 0
        attention = np.array([[edge, below]], np.float32)
        assert apply_threshold(np.array([[7, 7]]), attention, k / 100).tolist() == [[7, 0]]
        counts = count_attention(np.array([[7, 7]]), attention, np.array([[1, 1]]), threshold_edges(DEFAULT_THRESHOLDS))
        assert sorted(counts.keys % 82) == ([1] if k == 0 else [k, k + 1])


@settings(max_examples=60, deadline=None)
@given(_triples(3, 3))
def test_equals_scoring_each_threshold(triples):
    result = curve(triples, 3, GRID)
    for threshold, miou in zip(GRID, result["miou"]):
        pairs = [(apply_threshold(labels, attention, threshold), gt) for labels, attention, gt in triples]
        direct = evaluate_pairs(pairs, 3)
        assert result["matches"][threshold] == direct["match"]
        assert miou == pytest.approx(direct["metrics"]["mIoU"], rel=1e-12)


def test_one_pass_equals_81_evaluations():
    rng = np.random.default_rng(4)
    triples = []
    for _ in range(6):
        gt = np.kron(rng.choice([0, 0, 1, 2, 3, 1000], (4, 5)), np.ones((7, 6), int))
        attention = np.clip(np.where(gt > 0, 0.5, 0.2) + rng.normal(0, 0.2, gt.shape), 0, 1).astype(np.float32)
        triples.append((np.kron(rng.integers(0, 4, (4, 5)), np.ones((7, 6), int)), attention, gt))
    result = curve(triples, 3)
    separate = [evaluate_pairs([(apply_threshold(labels, attention, t), gt) for labels, attention, gt in triples], 3) for t in DEFAULT_THRESHOLDS]
    assert len(separate) == 81
    assert result["miou"] == pytest.approx([one["metrics"]["mIoU"] for one in separate], rel=1e-12)
    assert [result["matches"][t] for t in DEFAULT_THRESHOLDS] == [one["match"] for one in separate]
    assert result["objectives"] == [one["matching"]["objective"] for one in separate]
    assert len(set(result["miou"])) > 60


@settings(max_examples=30, deadline=None)
@given(_triples(3, 5))
def test_equals_scoring_each_threshold_with_more_clusters(triples):
    result = curve(triples, 3, GRID, num_clusters=5)
    for threshold, miou in zip(GRID, result["miou"]):
        pairs = [(apply_threshold(labels, attention, threshold), gt) for labels, attention, gt in triples]
        assert miou == pytest.approx(evaluate_pairs(pairs, 3, result["matches"][threshold])["metrics"]["mIoU"], rel=1e-12)
        assert sum(label == 0 for label in result["matches"][threshold].values()) == 2


def test_images_are_taken_one_by_one_and_settling_changes_nothing(monkeypatch):
    rng = np.random.default_rng(0)
    shown = []

    def triples():
        for number in range(40):
            shown.append(number)
            gt = np.kron(rng.integers(0, 4, (3, 3)), np.ones((4, 4), int))
            yield np.kron(rng.integers(0, 4, (3, 3)), np.ones((4, 4), int)), rng.random((12, 12), np.float32), gt

    whole = curve(triples(), 3)
    rng = np.random.default_rng(0)
    monkeypatch.setattr(curve_module, "_BUFFER", 100)
    assert curve(triples(), 3) == whole
    assert len(shown) == 80


def test_noisy_maps_take_the_sparse_way():
    rng = np.random.default_rng(1)
    labels, gt = rng.integers(0, 900, (60, 60)), rng.integers(0, 900, (60, 60))
    attention = rng.random((60, 60), np.float32)
    counts = count_attention(labels, attention, gt, threshold_edges(DEFAULT_THRESHOLDS))
    assert counts.pixels.sum() == (labels > 0).sum()
    assert len(counts.keys) > 3000


def test_bad_arguments():
    good = (np.array([[1]]), np.zeros((1, 1), np.float32), np.array([[1]]))
    for thresholds in ([], [0.2, 0.1], [0.1, 0.1], [float("nan")]):
        with pytest.raises(ValueError, match="thresholds: expected"):
            curve([good], 1, thresholds)
    with pytest.raises(ValueError, match="at least one image"):
        curve([], 1)
    with pytest.raises(ValueError, match="num_clusters=0"):
        curve([good], 1, num_clusters=0)
    with pytest.raises(LussError, match=r"triples\[0\]: found the generated id 2; expected 0\.\.1"):
        curve([(np.array([[2]]), good[1], good[2])], 1)
    with pytest.raises(LussError, match=r"triples\[0\]\[2\]: found the class id 3"):
        curve([(good[0], good[1], np.array([[3]]))], 1)
    with pytest.raises(LussError, match=r"attention of triples\[0\]: 2 x 1 pixels"):
        curve([(good[0], np.zeros((1, 2), np.float32), good[2])], 1)


@settings(max_examples=100, deadline=None)
@given(
    arrays(np.float32, st.integers(1, 40), elements=st.floats(width=32, allow_nan=False, allow_subnormal=False)),
    st.sampled_from([DEFAULT_THRESHOLDS, GRID, [-1.0, 0.0, 2.0], [0.5, 0.5001], [0.0, 1e-3, 0.25]]),
)
def test_bins_are_those_of_a_search(values, thresholds):
    edges = threshold_edges(thresholds)
    near = np.concatenate([values, edges, np.nextafter(edges, np.float32(-9)), np.nextafter(edges, np.float32(9)), np.float32([0.0, -0.0, np.inf])])
    near = near[(near == 0) | (np.abs(near) > 1e-37)]  # no subnormals, which Jittor makes the processor take for 0
    for given_values in (near, near[near >= 0]):
        np.testing.assert_array_equal(threshold_bins(given_values, edges), np.searchsorted(edges, given_values, side="right"))
