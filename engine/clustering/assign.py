"""The cluster of every row, by the chosen centroids."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..features import FeatureCache
from ..ops.nearest_centroid import nearest_centroid_host
from ..runtime.exchange import SINGLE, Exchange
from .records import Clustering, KMeansSettings
from .rows import Rows


def assign(
    source: FeatureCache | np.ndarray,
    clustering: Clustering,
    settings: KMeansSettings,
    *,
    exchange: Exchange = SINGLE,
    on_progress: Callable[[int, int, str], None] | None = None,
    block_rows: int | None = None,
    threads: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Nearest centroid of all rows of any source, treated as `kmeans` treated its rows: labels (n,) int32, the same in all processes, and how
    many rows each cluster has, (K,) int64. Ties go to the smallest number.

    Raises:
        LussError: a row is not finite, or the cache is damaged; in all processes.
        ValueError: rows of another length than the clustered ones had.
    """
    options = {"normalise": settings.normalise, "whitening": clustering.whitening, "exchange": exchange, "block_rows": block_rows, "threads": threads}
    rows = Rows(source, **options)
    if rows.dim != clustering.centroids.shape[1]:
        raise ValueError(f"source: expected rows of {clustering.centroids.shape[1]} values, as the centroids have, found {rows.dim}")
    labels = np.zeros(rows.total, np.int32)
    with exchange.together():
        for first, x in rows.blocks():
            labels[first : first + len(x)] = nearest_centroid_host(x, clustering.centroids, cosine=settings.spherical, threads=threads)[0]
            if on_progress is not None:
                on_progress(first + len(x) - rows.first, len(rows), "assignment")
    if exchange.size > 1:
        labels = exchange.sum(labels.astype(np.int64)).astype(np.int32)
    return labels, np.bincount(labels, minlength=len(clustering.centroids))
