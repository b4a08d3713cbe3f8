"""Starting rows against faiss's permutation, and against faiss's k-means."""

from __future__ import annotations

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.clustering.starts import random_rows


def faiss_rows(n: int, clusters: int, seed: int, restart: int) -> np.ndarray:
    order = np.empty(n, np.int32)
    faiss.rand_perm(faiss.swig_ptr(order), n, seed + 1 + restart * 15486557)
    return order[:clusters]


@settings(max_examples=60, deadline=None)
@given(data=st.data(), n=st.integers(2, 400), seed=st.integers(0, 2**40), restart=st.integers(0, 400))
def test_rows_are_the_beginning_of_faiss_permutation(data, n, seed, restart):
    clusters = data.draw(st.integers(1, n - 1))
    found = random_rows(n, clusters, seed, restart)
    assert found.dtype == np.int64 and found.tolist() == faiss_rows(n, clusters, seed, restart).tolist()


@pytest.mark.parametrize("n", [2**20 + 3, 2**21])
@pytest.mark.parametrize(("seed", "restart"), [(0, 0), (1234, 29), (2**31 + 11, 7), (2**32 - 1, 3)])
def test_of_many_rows(n, seed, restart):
    assert random_rows(n, 919, seed, restart).tolist() == faiss_rows(n, 919, seed, restart).tolist()


@pytest.mark.parametrize("seed", [0, 1234, 2**31 - 1])
@pytest.mark.parametrize("clusters", [1, 12, 299, 300])
def test_faiss_kmeans_begins_from_these_rows(seed, clusters):
    x = np.random.default_rng(1).standard_normal((300, 3)).astype(np.float32)
    run = faiss.Clustering(3, clusters)
    run.niter, run.seed, run.min_points_per_centroid, run.max_points_per_centroid = 0, seed, 1, 10**7
    run.train(x, faiss.IndexFlatL2(3))
    assert (faiss.vector_to_array(run.centroids).reshape(clusters, 3) == x[random_rows(300, clusters, seed, 0)]).all()


@pytest.mark.parametrize("seed", [0, 5, 8])
def test_faiss_restarts_begin_from_these_rows(seed):
    x = np.random.default_rng(2).standard_normal((500, 4)).astype(np.float32)
    run = faiss.Clustering(4, 9)
    run.niter, run.nredo, run.seed, run.min_points_per_centroid = 1, 6, seed, 1
    run.train(x, faiss.IndexFlatL2(4))
    objectives = []
    for restart in range(6):
        start = x[random_rows(500, 9, seed, restart)].astype(np.float64)
        objectives.append(((x[:, None] - start) ** 2).sum(-1).min(1).sum())
    best = int(np.argmin(objectives))
    assert best > 0  # a restart that only the stride over seeds leads to
    # a distance by |x|^2 - 2 x.c + |c|^2 is rounded d + 4 times at (|x| + |c|)^2 or less; then 500 of them are added in float32
    rounding = 2.0**-24 * ((4 + 4) * 500 * 4 * (x.astype(np.float64) ** 2).sum(1).max() + 500 * objectives[best])
    others = np.delete(objectives, best)
    assert others.min() - objectives[best] > 2 * rounding
    assert abs(run.iteration_stats.at(run.iteration_stats.size() - 1).obj - objectives[best]) <= rounding


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((0, 1, 0, 0), "n: expected 1 to 2147483647 rows, found 0"),
        ((2**31, 1, 0, 0), "n: expected 1 to 2147483647 rows, found 2147483648"),
        ((5, 0, 0, 0), "clusters: expected 1 to n = 5, found 0"),
        ((5, 6, 0, 0), "clusters: expected 1 to n = 5, found 6"),
        ((5, 2, -1, 0), "seed, restart: expected no negative number, found -1, 0"),
    ],
)
def test_refusals(arguments, text):
    with pytest.raises(ValueError, match=text):
        random_rows(*arguments)
