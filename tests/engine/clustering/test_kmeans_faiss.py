"""k-means against faiss, from the same starts: centroids, objectives, splits and labels after 1, 5 and 20 iterations."""

from __future__ import annotations

import faiss
import numpy as np
import pytest

from engine.clustering.assign import assign
from engine.clustering.kmeans import kmeans
from engine.clustering.records import KMeansSettings
from engine.ops.unit_rows import unit_rows_host
from tests.engine.clustering.samples import clustered, partly_duplicates, with_duplicates

# faiss adds rows in float32: a cluster of m rows of unit length is off by up to m 2^-24 in a value of its mean; clusters here have up to 1,500
# rows, and roundings do not all point one way
ROUNDING = 1500 * 2.0**-24 / 8

OBJECTIVE_ROUNDING = 4000 * 2.0**-24  # faiss adds up to 4,000 distances in float32


def by_faiss(x: np.ndarray, chosen: KMeansSettings) -> tuple[np.ndarray, list]:
    """Centroids (K, d), and the statistics of all iterations of all restarts."""
    run = faiss.Clustering(x.shape[1], chosen.clusters)
    run.niter, run.nredo, run.seed, run.spherical = chosen.iterations, chosen.restarts, chosen.seed, chosen.spherical
    run.max_points_per_centroid, run.min_points_per_centroid = 10**7, 1
    index = faiss.IndexFlatIP(x.shape[1]) if chosen.spherical else faiss.IndexFlatL2(x.shape[1])
    run.train(x, index)
    stats = run.iteration_stats
    return faiss.vector_to_array(run.centroids).reshape(chosen.clusters, -1).copy(), [stats.at(i) for i in range(stats.size())]


def scores(x: np.ndarray, centroids: np.ndarray, spherical: bool) -> np.ndarray:
    """(n, K) float64, smaller is nearer."""
    x, c = x.astype(np.float64), centroids.astype(np.float64)
    return -x @ c.T if spherical else (c * c).sum(1) - 2 * x @ c.T


DATA = {
    "few dimensions": (clustered(4000, 8, seed=1), 40),
    "many dimensions": (clustered(3000, 128, seed=2), 50),
    "half precision": (clustered(3000, 48, seed=3, dtype="float16"), 30),
}


@pytest.mark.parametrize("iterations", [1, 5, 20])
@pytest.mark.parametrize("name", DATA)
@pytest.mark.parametrize("spherical", [False, True])
def test_one_restart_equals_faiss(name, iterations, spherical):
    """Rounding: faiss adds rows in float32, ours are exact; and its distances are float32 products. A row within that rounding of two centroids
    could go either way, and take the centroids of both with it; there is none in these data (the assertion on the gaps says so)."""
    rows, clusters = DATA[name]
    x, _ = unit_rows_host(rows)
    chosen = KMeansSettings(clusters, iterations, 1, seed=77, spherical=spherical)
    theirs, stats = by_faiss(x, chosen)
    found = kmeans(rows, chosen)
    assert np.abs(found.centroids - theirs).max() < ROUNDING
    labels, sizes = assign(rows, found, chosen)
    distance = scores(x, theirs, spherical)
    gap = np.diff(np.sort(distance, 1)[:, :2], axis=1)[:, 0]
    clear = gap > 1e-5  # beyond what the difference of the centroids can turn
    assert clear.mean() > 0.995 and (labels[clear] == distance.argmin(1)[clear]).all()
    ours = [r.objective for r in found.records]
    assert ours == pytest.approx([s.obj for s in stats][: len(ours)], rel=OBJECTIVE_ROUNDING)
    assert stats[-1].obj == pytest.approx(ours[-1], rel=OBJECTIVE_ROUNDING)  # ours may have ended at a fixed point before
    assert [r.splits for r in found.records] == [s.nsplit for s in stats][: len(ours)]
    assert [r.imbalance for r in found.records] == pytest.approx([s.imbalance_factor for s in stats][: len(ours)], rel=1e-6)


@pytest.mark.parametrize("iterations", [1, 5, 20])
@pytest.mark.parametrize("distinct, share", [(3, 0.2), (2, 0.5), (20, 0.7)])
def test_one_restart_equals_faiss_where_clusters_run_empty(distinct, share, iterations):
    """Starts repeat where rows do, and of equal centroids the first has all rows: the others run empty and are split, in the same way."""
    rows, clusters = partly_duplicates(3000, 16, distinct, share, seed=5), 40
    x, _ = unit_rows_host(rows)
    chosen = KMeansSettings(clusters, iterations, 1, seed=5)
    theirs, stats = by_faiss(x, chosen)
    found = kmeans(rows, chosen)
    assert found.records[0].splits > 0
    assert [r.splits for r in found.records] == [s.nsplit for s in stats][: len(found.records)]
    assert [r.objective for r in found.records] == pytest.approx([s.obj for s in stats][: len(found.records)], rel=OBJECTIVE_ROUNDING)
    assert np.abs(found.centroids - theirs).max() < ROUNDING


@pytest.mark.parametrize("distinct, clusters", [(40, 60), (200, 150), (100, 90)])
def test_each_step_equals_faiss_where_there_is_nothing_but_duplicates(distinct, clusters):
    """A cluster of one point p is split into p (1 + e) and p (1 - e), signs alternating: p is equally far from both, and what decides is the
    rounding of float32 products in faiss. So each iteration begins anew from faiss's centroids here, and the clusters that no such row touches
    must be equal."""
    rows = with_duplicates(2000, 16, distinct, seed=5)
    x, _ = unit_rows_host(rows)
    compared = 0
    for iteration in range(1, 8):
        before, _ = by_faiss(x, KMeansSettings(clusters, iteration, 1, seed=5))
        theirs, stats = by_faiss(x, KMeansSettings(clusters, iteration + 1, 1, seed=5))
        found = kmeans(rows, KMeansSettings(clusters, 1, 1, seed=5), starts=before[None])
        assert found.objective == pytest.approx(stats[-1].obj, abs=2000 * 1e-6)  # each float32 distance of unit rows is good to 5e-7
        distance = np.sort(scores(x, before, False), 1)
        order = np.argsort(scores(x, before, False), 1)
        unclear = distance[:, 1] - distance[:, 0] < 1e-6
        touched = np.zeros(clusters, bool)
        touched[order[unclear][:, :2].ravel()] = True
        touched |= np.bincount(order[:, 0], minlength=clusters) == 0  # split: from which donor depends on the sizes
        untouched = ~touched & (np.abs(theirs - found.centroids).max(1) < 1e-3)  # a donor is moved by 2^-10
        assert (np.abs(theirs - found.centroids).max(1)[untouched] < ROUNDING).all()
        compared += int(untouched.sum())
        assert unclear.any() or np.abs(theirs - found.centroids).max() < ROUNDING
    assert compared > 20


def test_the_best_of_many_restarts_is_faiss_s():
    rows, clusters = DATA["few dimensions"]
    x, _ = unit_rows_host(rows)
    chosen = KMeansSettings(clusters, 10, 12, seed=3)
    theirs, stats = by_faiss(x, chosen)
    found = kmeans(rows, chosen)
    last = {r.restart: r.objective for r in found.records}
    known = [s.obj for s in stats[9::10]]  # faiss forgets what came after the best restart
    assert [last[r] for r in range(len(known))] == pytest.approx(known, rel=OBJECTIVE_ROUNDING)
    assert found.restart == len(known) - 1 and found.objective == min(last.values())
    assert np.abs(found.centroids - theirs).max() < ROUNDING
