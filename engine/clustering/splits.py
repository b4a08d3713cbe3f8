"""Empty clusters take over half of another one, as in faiss (split_clusters in faiss/Clustering.cpp)."""

from __future__ import annotations

import numpy as np

from .mersenne import Mersenne

_SEED = 1234  # faiss's, the same in every iteration
_STEP = np.float32(1 / 1024)


def split_empty(centroids: np.ndarray, counts: np.ndarray, n: int) -> tuple[int, np.ndarray]:
    """Give every empty cluster a donor's centroid, and move the two apart by factors 1 +- 1/1024 that alternate by dimension.

    Clusters are tried as donors in turn, from the first one on for each empty cluster; one is taken with probability (size - 1) / (n - K), and
    half of its size (a fraction where the size is odd) goes to the empty one. Random numbers, comparisons and products are faiss's in float32, so the
    result is faiss's to the bit up to clusters of 2^24 rows, where faiss's float counters stop.

    faiss never comes here with n <= K (it copies n == K rows, and refuses fewer), and with n > K always finds a donor: the sizes left over
    for the others have a mean above 1. Here n <= K is allowed: the first cluster of more than one row is the donor (to what faiss's quotient
    tends), and where there is none, the cluster stays empty and its centroid as it is.

    Args:
        centroids: (K, d) float32, changed in place.
        counts: (K,) integers, the rows of each cluster; left alone. n: their sum.

    Returns: number of splits, and (K,) float32 sizes after them.
    Raises: ValueError names argument, expected and found.
    """
    clusters = _checked(centroids, counts, n)
    sizes = counts.astype(np.float32)
    empty = np.flatnonzero(sizes == 0)
    if len(empty) == 0:
        return 0, sizes
    search = _Search(n, clusters)
    splits = 0
    for cluster in empty.tolist():
        donor = search.donor(sizes)
        if donor is None:
            break
        centroids[cluster] = centroids[donor]
        up, down = np.float32(1) + _STEP, np.float32(1) - _STEP
        centroids[cluster, 0::2] *= up
        centroids[cluster, 1::2] *= down
        centroids[donor, 0::2] *= down
        centroids[donor, 1::2] *= up
        sizes[cluster] = sizes[donor] / np.float32(2)
        sizes[donor] -= sizes[cluster]
        splits += 1
    return splits, sizes


class _Search:
    """Draws one number for each cluster looked at; a round over all clusters at a time."""

    def __init__(self, n: int, clusters: int) -> None:
        self._spare = n - clusters
        self._random = Mersenne(_SEED)
        self._drawn = np.empty(0, np.float32)

    def donor(self, sizes: np.ndarray) -> int | None:
        if not (sizes > 1).any():
            return None
        if self._spare <= 0:
            return int(np.argmax(sizes > 1))
        chance = ((sizes.astype(np.float64) - 1.0) / np.float64(np.float32(self._spare))).astype(np.float32)
        while True:
            missing = len(sizes) - len(self._drawn)
            if missing > 0:
                more = self._random.words(missing).astype(np.float32) * np.float32(2.0**-32)
                self._drawn = np.concatenate([self._drawn, more])
            hits = self._drawn[: len(sizes)] < chance
            first = int(np.argmax(hits))
            if hits[first]:
                self._drawn = self._drawn[first + 1 :]
                return first
            self._drawn = self._drawn[len(sizes) :]


def _checked(centroids: np.ndarray, counts: np.ndarray, n: int) -> int:
    if centroids.ndim != 2 or centroids.dtype != np.float32 or 0 in centroids.shape:
        raise ValueError(f"centroids: expected (K, d) float32 with K and d at least 1, found {centroids.shape} {centroids.dtype}")
    if counts.shape != centroids.shape[:1] or counts.dtype.kind not in "iu":
        raise ValueError(f"counts: expected {centroids.shape[:1]} integers, found {counts.shape} {counts.dtype}")
    if counts.min() < 0 or counts.sum() != n:
        raise ValueError(f"counts: expected no negative number and the sum n = {n}, found {counts.min()} to {counts.max()}, sum {counts.sum()}")
    return len(counts)
