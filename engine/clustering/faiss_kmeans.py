"""k-means by faiss: the algorithm of the published runs (Lloyd, restarts, best objective)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..ops.nearest_centroid import nearest_centroid
from ..ops.unit_rows import row_squares_host, unit_rows_host
from ..runtime.errors import LussError
from .starts import random_rows


def unit_rows(features: np.ndarray) -> np.ndarray:
    """x / (|x| + 1e-8) a row, float32."""
    x = np.asarray(features)
    return unit_rows_host(x if x.dtype == np.float16 else x.astype(np.float32, copy=False))[0]


def kmeans(
    features: np.ndarray,
    clusters: int,
    *,
    iterations: int = 20,
    restarts: int = 30,
    seed: int = 0,
    on_restart: Callable[[int, int], None] | None = None,
) -> tuple[np.ndarray, list[dict]]:
    """Cluster the rows of `features` (n, d) float32.

    All rows are used (no sub-sampling), squared Euclidean distance, no spherical constraint. Each restart begins from
    `clusters` distinct random rows; the one with the lowest sum of squared distances in its last assignment wins.

    Restarts are single runs of faiss, from the rows that its `nredo` would take for the same seed: with `nredo`, faiss forgets the records of
    restarts after the best one, and does not say which restart a record is of. faiss 1.15 ends a restart whose objective did not change.

    Args:
        on_restart: called after each restart with restarts done and all; may raise to stop.

    Returns: centroids (clusters, d) float32, and a record an iteration (restart, iteration, objective, seconds, imbalance, splits).
    Raises: LussError for fewer rows than clusters, features that are not finite (the first such row is named) or beyond float32's distances.
    """
    import faiss

    x = np.ascontiguousarray(features, np.float32)
    if len(x) < clusters:
        raise LussError(f"clustering: {len(x)} images for cluster.clusters = {clusters}: there must be at least as many images as clusters")
    finite = np.isfinite(x).all(axis=1)
    if not finite.all():
        raise LussError(f"clustering: the features of image {int(np.argmin(finite))} are not finite ({int((~finite).sum())} such images)")
    longest = float(row_squares_host(x).max(initial=0))
    if 4 * longest * len(x) > np.finfo(np.float32).max:  # faiss ends the process where a distance is infinite
        raise LussError(f"clustering: rows of length {longest**0.5:g}: faiss's sum of squared distances would leave float32; normalise the rows")
    best, records = (np.inf, None), []
    for restart in range(restarts):
        run = faiss.Clustering(x.shape[1], clusters)
        run.niter, run.nredo, run.max_points_per_centroid, run.min_points_per_centroid = iterations, 1, 10**7, 1
        faiss.copy_array_to_vector(x[random_rows(len(x), clusters, seed, restart)].reshape(-1), run.centroids)
        run.train(x, faiss.IndexFlatL2(x.shape[1]))
        found = [run.iteration_stats.at(i) for i in range(run.iteration_stats.size())]
        seconds = np.diff([0.0] + [item.time for item in found])  # faiss tells those since its beginning
        for i, item in enumerate(found):
            record = {"restart": restart, "iteration": i, "objective": float(item.obj), "seconds": float(seconds[i])}
            records.append({**record, "imbalance": float(item.imbalance_factor), "splits": int(item.nsplit)})
        if best[1] is None or found[-1].obj < best[0]:
            best = found[-1].obj, faiss.vector_to_array(run.centroids).reshape(clusters, x.shape[1]).copy()
        if on_restart is not None:
            on_restart(restart + 1, restarts)
        if len(x) == clusters:  # the rows are the centroids
            break
    return best[1], records


def nearest(features: np.ndarray, centroids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Index (n,) int32 of, and squared distance (n,) float32 to, the nearest centroid of every row (float32 or float16)."""
    label, distance = nearest_centroid(features, np.ascontiguousarray(centroids, np.float32))
    return label.numpy(), distance.numpy()
