"""Agreement of clusters and classes: by hand, by laws, against plain loops."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.clustering.agreement import agreement, confusion, imbalance, matched_accuracy, normalized_mutual_information

ids = st.integers(1, 60).flatmap(lambda n: st.tuples(*[st.lists(st.integers(0, 4), min_size=n, max_size=n)] * 2))


def test_by_hand():
    assert normalized_mutual_information(np.array([0, 0, 1, 1]), np.array([1, 1, 0, 0])) == pytest.approx(1)
    assert normalized_mutual_information(np.array([0, 1, 0, 1]), np.array([0, 0, 1, 1])) == pytest.approx(0)
    # clusters (2, 2), classes (3, 1): I = 1/2 ln 4/3 + 1/4 ln 2/3 + 1/4 ln 2 over the mean of ln 2 and -(3/4 ln 3/4 + 1/4 ln 1/4)
    mutual = 0.5 * np.log(4 / 3) + 0.25 * np.log(2 / 3) + 0.25 * np.log(2)
    mean = (np.log(2) - 0.75 * np.log(0.75) - 0.25 * np.log(0.25)) / 2
    assert normalized_mutual_information(np.array([0, 0, 1, 1]), np.array([0, 0, 0, 1])) == pytest.approx(mutual / mean)
    assert matched_accuracy(np.array([2, 2, 0, 1]), np.array([0, 0, 1, 1])) == 0.75


@settings(max_examples=60, deadline=None)
@given(ids)
def test_equals_plain_loops(pair):
    labels, classes = (np.array(side, np.int32) for side in pair)
    table = confusion(labels, classes)
    for i, j in np.ndindex(*table.shape):
        assert table[i, j] == sum(a == i and b == j for a, b in zip(*pair))
    nmi, accuracy = agreement(labels, classes)
    assert -1e-12 <= nmi <= 1 + 1e-12  # rounding of a few dozen logarithms
    assert nmi == normalized_mutual_information(labels, classes) == pytest.approx(normalized_mutual_information(classes, labels), abs=1e-12)
    square = np.zeros((5, 5), int)
    square[: table.shape[0], : table.shape[1]] = table
    best = max(sum(square[i, chosen[i]] for i in range(5)) for chosen in itertools.permutations(range(5)))
    assert accuracy == matched_accuracy(labels, classes) == best / len(labels)


def test_new_names_for_clusters_change_nothing():
    rng = np.random.default_rng(0)
    labels, classes = rng.integers(0, 30, 2000), rng.integers(0, 20, 2000)
    renamed = rng.permutation(30)[labels]
    assert agreement(renamed, classes) == pytest.approx(agreement(labels, classes), abs=1e-12)
    assert agreement(classes, classes) == pytest.approx((1, 1), abs=1e-12)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.int64])
def test_types_of_ids_do_not_matter(dtype):
    rng = np.random.default_rng(1)
    labels, classes = rng.integers(0, 120, 500), rng.integers(0, 100, 500)
    assert np.array_equal(confusion(labels.astype(dtype), classes.astype(dtype)), confusion(labels, classes))


def test_none_and_constants():
    nobody = np.zeros(0, np.int32)
    assert confusion(nobody, nobody).shape == (0, 0) and agreement(nobody, nobody) == (1, 0)
    assert agreement(np.zeros(5, np.int32), np.zeros(5, np.int32)) == (1, 1)


@pytest.mark.parametrize(
    ("labels", "classes", "message"),
    [
        ([0, 1], [0], r"classes: expected \(2,\) as labels.* found \(1,\)"),
        ([0, -1], [0, 0], "labels: expected integers from 0, found int64 from -1"),
        ([0, 1], [0.0, 1.0], "classes: expected integers from 0, found float64"),
    ],
)
def test_refusals(labels, classes, message):
    with pytest.raises(ValueError, match=message):
        confusion(np.array(labels), np.array(classes))


def test_imbalance():
    assert imbalance([7, 7, 7]) == 1 and imbalance([0, 9, 0, 0]) == 4 and imbalance([1, 3]) == 2 * 10 / 16
    assert imbalance(np.zeros(3, np.int64)) == 1


def test_imbalance_is_that_of_faiss():
    faiss = pytest.importorskip("faiss")
    x = np.random.default_rng(2).standard_normal((500, 6)).astype(np.float32)
    run = faiss.Clustering(6, 9)
    run.niter, run.min_points_per_centroid = 1, 1
    run.train(x, faiss.IndexFlatL2(6))
    found = run.iteration_stats.at(0).imbalance_factor
    order = np.empty(500, np.int32)
    faiss.rand_perm(faiss.swig_ptr(order), 500, run.seed + 1)
    centroids = x[order[:9]]
    sizes = np.bincount(((x[:, None] - centroids) ** 2).sum(2).argmin(1), minlength=9)
    assert imbalance(sizes) == pytest.approx(found, rel=1e-12)
