"""Splits of empty clusters against faiss's k-means on duplicated rows, to the bit."""

from __future__ import annotations

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.clustering.splits import split_empty
from engine.clustering.starts import random_rows


def duplicated(n: int, distinct: int, d: int, seed: int) -> np.ndarray:
    """Rows of small integers, whose float32 sums are exact in any order."""
    random = np.random.default_rng(seed)
    return random.integers(-20, 21, (distinct, d)).astype(np.float32)[random.integers(0, distinct, n)]


def by_faiss(x: np.ndarray, clusters: int, iterations: int, seed: int) -> tuple[np.ndarray, list[int]]:
    run = faiss.Clustering(x.shape[1], clusters)
    run.niter, run.seed, run.min_points_per_centroid, run.max_points_per_centroid = iterations, seed, 1, 10**7
    run.train(x, faiss.IndexFlatL2(x.shape[1]))
    splits = [run.iteration_stats.at(i).nsplit for i in range(run.iteration_stats.size())]
    return faiss.vector_to_array(run.centroids).reshape(clusters, -1), splits


def by_hand(x: np.ndarray, clusters: int, iterations: int, seed: int) -> tuple[np.ndarray, list[int]]:
    """The same with our starts and splits. Labels by faiss's index: the two halves of a split are often equally far from a row."""
    n, d = x.shape
    centroids, splits = x[random_rows(n, clusters, seed, 0)].copy(), []
    for _ in range(iterations):
        index = faiss.IndexFlatL2(d)
        index.add(centroids)
        label = index.search(x, 1)[1][:, 0]
        counts = np.bincount(label, minlength=clusters)
        centroids = np.zeros((clusters, d), np.float32)
        np.add.at(centroids, label, x)
        filled = counts > 0
        centroids[filled] *= np.float32(1) / counts[filled].astype(np.float32)[:, None]
        count, sizes = split_empty(centroids, counts, n)
        assert sizes.sum(dtype=np.float64) == n and (sizes > 0).all()
        splits.append(count)
    return centroids, splits


@pytest.mark.parametrize("iterations", [1, 2, 5])
@pytest.mark.parametrize(
    ("n", "distinct", "d", "clusters", "seed"),
    [(400, 6, 5, 20, 0), (1000, 30, 7, 64, 1234), (500, 499, 3, 16, 5), (300, 1, 4, 10, 2), (65, 8, 2, 64, 9), (5000, 40, 16, 500, 77)],
)
def test_centroids_are_faiss_own(n, distinct, d, clusters, seed, iterations):
    x = duplicated(n, distinct, d, seed)
    expected, expected_splits = by_faiss(x, clusters, iterations, seed)
    found, splits = by_hand(x, clusters, len(expected_splits), seed)
    assert splits == expected_splits
    assert (found.view(np.int32) == expected.view(np.int32)).all()
    assert splits[0] > 0 or distinct > clusters


def split_one_by_one(centroids: np.ndarray, counts: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """The rule as a loop over draws from faiss's own generator."""
    random, sizes, centroids = faiss.RandomGenerator(1234), counts.astype(np.float32), centroids.copy()
    step = np.where(np.arange(centroids.shape[1]) % 2 == 0, 1.0, -1.0) / 1024
    for empty in range(len(sizes)):
        if sizes[empty] == 0:
            donor = 0
            while not np.float32(random.rand_float()) < np.float32((float(sizes[donor]) - 1.0) / float(np.float32(n - len(sizes)))):
                donor = (donor + 1) % len(sizes)
            whole = centroids[donor].astype(np.float64)
            centroids[empty], centroids[donor] = whole * (1 + step), whole * (1 - step)
            sizes[empty] = sizes[donor] / 2
            sizes[donor] -= sizes[empty]
    return centroids, sizes


@settings(max_examples=80, deadline=None)
@given(seed=st.integers(0, 10**6), clusters=st.integers(2, 40), d=st.integers(1, 9), empty=st.floats(0, 0.95), largest=st.integers(3, 10**6))
def test_any_counts_against_a_loop_over_faiss_draws(seed, clusters, d, empty, largest):
    random = np.random.default_rng(seed)
    counts = np.where(random.random(clusters) < empty, 0, random.integers(1, largest, clusters))
    counts[random.integers(clusters)] += clusters + 1  # more rows than clusters
    centroids = random.standard_normal((clusters, d)).astype(np.float32)
    expected, expected_sizes = split_one_by_one(centroids, counts, int(counts.sum()))
    before = counts.copy()
    splits, sizes = split_empty(centroids, counts, int(counts.sum()))
    assert splits == (before == 0).sum() and (counts == before).all()
    assert (centroids == expected).all() and (sizes == expected_sizes).all()


def test_a_split_by_hand():
    centroids = np.array([[9, 9, 9], [1024, 1024, -1024]], np.float32)
    assert split_empty(centroids, np.array([0, 5]), 5)[1].tolist() == [2.5, 2.5]
    assert centroids.tolist() == [[1025, 1023, -1025], [1023, 1025, -1023]]


def test_no_more_rows_than_clusters_ends():
    centroids = np.arange(10, dtype=np.float32).reshape(5, 2)
    splits, sizes = split_empty(centroids, np.array([1, 0, 3, 1, 0]), 5)  # n == K: first cluster of more than one row, twice
    assert splits == 2 and sizes.tolist() == [1, 0.75, 1.5, 1, 0.75]
    centroids = np.arange(10, dtype=np.float32).reshape(5, 2)
    splits, sizes = split_empty(centroids, np.array([1, 0, 1, 0, 2]), 4)
    assert splits == 1 and sizes.tolist() == [1, 1, 1, 0, 1]
    assert centroids[3].tolist() == [6, 7]  # no donor: as it was
    assert split_empty(centroids, np.zeros(5, np.int64), 0)[0] == 0


def test_nothing_empty_changes_nothing():
    centroids = np.ones((3, 2), np.float32)
    splits, sizes = split_empty(centroids, np.array([4, 1, 2]), 7)
    assert splits == 0 and sizes.tolist() == [4, 1, 2] and (centroids == 1).all()


@pytest.mark.parametrize(
    ("centroids", "counts", "n", "text"),
    [
        (np.ones((2, 2)), np.ones(2, int), 2, r"centroids: expected \(K, d\) float32 .* found \(2, 2\) float64"),
        (np.ones((2, 2), "f4"), np.ones(3, int), 3, r"counts: expected \(2,\) integers, found \(3,\)"),
        (np.ones((2, 2), "f4"), np.ones(2), 2, r"counts: expected \(2,\) integers, found \(2,\) float64"),
        (np.ones((2, 2), "f4"), np.array([3, -1]), 2, "counts: expected no negative number"),
        (np.ones((2, 2), "f4"), np.array([3, 1]), 5, "sum n = 5, found 1 to 3, sum 4"),
    ],
)
def test_refusals(centroids, counts, n, text):
    with pytest.raises(ValueError, match=text):
        split_empty(centroids, counts, n)
