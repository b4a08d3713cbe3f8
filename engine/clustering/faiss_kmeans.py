"""k-means by faiss: the algorithm of the published runs (Lloyd, restarts, best objective)."""

from __future__ import annotations

import numpy as np

from ..ops.nearest_centroid import nearest_centroid
from ..ops.unit_rows import unit_rows_host
from ..runtime.errors import LussError


def unit_rows(features: np.ndarray) -> np.ndarray:
    """x / (|x| + 1e-8) a row, float32."""
    x = np.asarray(features)
    return unit_rows_host(x if x.dtype == np.float16 else x.astype(np.float32, copy=False))[0]


def kmeans(features: np.ndarray, clusters: int, *, iterations: int = 20, restarts: int = 30, seed: int = 0) -> tuple[np.ndarray, list[dict]]:
    """Cluster the rows of `features` (n, d) float32.

    All rows are used (no sub-sampling), squared Euclidean distance, no spherical constraint. Each restart begins from
    `clusters` distinct random rows; the one with the lowest sum of squared distances in its last assignment wins.

    Returns: centroids (clusters, d) float32, and one record an iteration over all restarts (objective, seconds, imbalance, splits).
    Raises: LussError for fewer rows than clusters or non-finite features (the first such row is named).
    """
    import faiss

    x = np.ascontiguousarray(features, np.float32)
    if len(x) < clusters:
        raise LussError(f"clustering: {len(x)} images for cluster.clusters = {clusters}: there must be at least as many images as clusters")
    finite = np.isfinite(x).all(axis=1)
    if not finite.all():
        raise LussError(f"clustering: the features of image {int(np.argmin(finite))} are not finite ({int((~finite).sum())} such images)")
    run = faiss.Clustering(x.shape[1], clusters)
    run.niter, run.nredo, run.seed = iterations, restarts, seed
    run.max_points_per_centroid, run.min_points_per_centroid = 10**7, 1
    index = faiss.IndexFlatL2(x.shape[1])
    run.train(x, index)
    centroids = faiss.vector_to_array(run.centroids).reshape(clusters, x.shape[1]).copy()
    stats = run.iteration_stats
    records = []
    for i in range(stats.size()):
        item = stats.at(i)
        records.append(
            {"objective": float(item.obj), "seconds": float(item.time), "imbalance": float(item.imbalance_factor), "splits": int(item.nsplit)}
        )
    return centroids, records


def nearest(features: np.ndarray, centroids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Index (n,) int32 of, and squared distance (n,) float32 to, the nearest centroid of every row (float32 or float16)."""
    label, distance = nearest_centroid(features, np.ascontiguousarray(centroids, np.float32))
    return label.numpy(), distance.numpy()
