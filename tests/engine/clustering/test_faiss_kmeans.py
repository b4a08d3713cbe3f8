"""k-means by laws, and the agreement figures by hand."""

import numpy as np
import pytest

from engine.clustering.agreement import matched_accuracy, normalized_mutual_information
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


def test_agreement_by_hand():
    assert normalized_mutual_information(np.array([0, 0, 1, 1]), np.array([1, 1, 0, 0])) == pytest.approx(1)
    assert normalized_mutual_information(np.array([0, 1, 0, 1]), np.array([0, 0, 1, 1])) == pytest.approx(0)
    # I = ln 2 / 2 + (1/4) ln(4/3) + (1/4) ln(...) for clusters (2, 2) and classes (3, 1): worked out from the table
    table = np.array([[2, 0], [1, 1]]) / 4
    p, q = table.sum(1), table.sum(0)
    mutual = sum(table[i, j] * np.log(table[i, j] / (p[i] * q[j])) for i in range(2) for j in range(2) if table[i, j])
    mean = (-(p * np.log(p)).sum() - (q * np.log(q)).sum()) / 2
    assert normalized_mutual_information(np.array([0, 0, 1, 1]), np.array([0, 0, 0, 1])) == pytest.approx(mutual / mean)
    assert matched_accuracy(np.array([2, 2, 0, 1]), np.array([0, 0, 1, 1])) == 0.75
