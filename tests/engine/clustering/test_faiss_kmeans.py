"""k-means of faiss by laws."""

import numpy as np
import pytest

from engine.clustering.faiss_kmeans import kmeans, nearest, unit_rows
from engine.runtime.errors import LussError


def test_k_distinct_points_become_the_centroids():
    x = np.eye(6, dtype=np.float32)
    centroids, _ = kmeans(x, 6, iterations=3, restarts=2, seed=1)
    assert sorted(nearest(x, centroids)[0].tolist()) == list(range(6))
    assert nearest(x, centroids)[1].max() < 1e-6


def test_the_same_seed_gives_the_same_centroids_and_the_objective_falls():
    x = np.random.default_rng(0).standard_normal((300, 8)).astype(np.float32)
    first, records = kmeans(x, 5, iterations=10, restarts=1, seed=3)
    again, _ = kmeans(x, 5, iterations=10, restarts=1, seed=3)
    assert (first == again).all()
    objectives = [r["objective"] for r in records]
    assert all(b <= a * (1 + 1e-6) for a, b in zip(objectives, objectives[1:])) and objectives[-1] < objectives[0]


def test_too_few_rows_and_a_nan_row_are_named():
    with pytest.raises(LussError, match="3 images for cluster.clusters = 4"):
        kmeans(np.ones((3, 2), np.float32), 4)
    x = np.ones((9, 2), np.float32)
    x[5, 1] = np.nan
    with pytest.raises(LussError, match="image 5"):
        kmeans(x, 2)


def test_unit_rows_leaves_a_zero_row_zero():
    assert unit_rows(np.array([[3, 4], [0, 0]])).tolist() == [[pytest.approx(0.6), pytest.approx(0.8)], [0, 0]]
