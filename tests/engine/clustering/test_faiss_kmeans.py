"""k-means of faiss by laws."""

import faiss
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


@pytest.mark.parametrize("n, clusters, iterations", [(200, 3, 30), (3000, 7, 6), (300, 1, 8), (50, 50, 5)])
def test_every_restart_is_recorded_and_the_best_is_that_of_faiss_with_nredo(n, clusters, iterations):
    """Also where restarts end early, after different numbers of iterations, and the best is not the last."""
    x = np.random.default_rng(0).normal(size=(n, 6)).astype(np.float32)
    centroids, records = kmeans(x, clusters, iterations=iterations, restarts=5, seed=11)
    run = faiss.Clustering(6, clusters)
    run.niter, run.nredo, run.seed, run.min_points_per_centroid, run.max_points_per_centroid = iterations, 5, 11, 1, 10**7
    run.train(x, faiss.IndexFlatL2(6))
    np.testing.assert_array_equal(centroids, faiss.vector_to_array(run.centroids).reshape(clusters, 6))
    expected = [run.iteration_stats.at(i) for i in range(run.iteration_stats.size())]  # up to the best restart; of older releases, all
    assert [r["objective"] for r in records[: len(expected)]] == [item.obj for item in expected]
    numbers = [(r["restart"], r["iteration"]) for r in records]
    assert numbers == sorted(set(numbers)) and {r for r, _ in numbers} == (set(range(5)) if n > clusters else {0})
    assert all(0 <= r["seconds"] < 5 for r in records)
    last = {r["restart"]: (r["objective"], i) for i, r in enumerate(records)}
    assert min(last.values())[0] == min(r.obj for r in expected)


def test_rows_too_long_for_faiss_are_refused():
    x = np.full((9, 2), 1e30, np.float32) * np.arange(1, 10, dtype=np.float32)[:, None]
    with pytest.raises(LussError, match="rows of length 1.27279e\\+31: .* normalise"):
        kmeans(x, 2)


def test_too_few_rows_and_a_nan_row_are_named():
    with pytest.raises(LussError, match="3 images for cluster.clusters = 4"):
        kmeans(np.ones((3, 2), np.float32), 4)
    x = np.ones((9, 2), np.float32)
    x[5, 1] = np.nan
    with pytest.raises(LussError, match="image 5"):
        kmeans(x, 2)


def test_unit_rows_leaves_a_zero_row_zero():
    assert unit_rows(np.array([[3, 4], [0, 0]])).tolist() == [[pytest.approx(0.6), pytest.approx(0.8)], [0, 0]]
