"""Nearest centroids once more: the assignment of every iteration of k-means, which knows that of the one before (spec/performance.md 1)."""

from __future__ import annotations

import numpy as np

from .nearest_centroid import nearest_centroid_host


class NearestAgain:
    """Labels of all rows in R sets, given the labels and bounds of the iteration before."""

    def __init__(self, centroids, before=None, *, cosine=False, mode="auto", threads=None):
        self.centroids, self.cosine, self.mode, self.threads = centroids, cosine, mode, threads

    def __call__(self, x, label, lower) -> None:
        label[...] = nearest_centroid_host(x, self.centroids, cosine=self.cosine, mode=self.mode, threads=self.threads)[0]
        lower[...] = -np.inf

    def close(self) -> None:
        self.centroids = None

    def __enter__(self) -> NearestAgain:
        return self

    def __exit__(self, *_) -> None:
        self.close()
