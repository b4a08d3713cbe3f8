"""NumPy reference of engine.ops.nearest_centroid."""

from __future__ import annotations

import numpy as np


def nearest_centroid(x, centroids, *, cosine=False):
    """NumPy reference of engine.ops.nearest_centroid.nearest_centroid, in float64; a block of rows at a time."""
    x = np.asarray(x)
    sets = np.asarray(centroids, np.float64).reshape(-1, *centroids.shape[-2:])
    label = np.zeros((len(sets), len(x)), np.int32)
    score = np.full((len(sets), len(x)), np.nan, np.float32)
    with np.errstate(invalid="ignore", over="ignore", under="ignore"):
        for r, c in enumerate(sets):
            half = 0 if cosine else 0.5 * np.einsum("kd,kd->k", c, c)
            for start in range(0, len(x), 256):
                rows = slice(start, start + 256)
                block = x[rows].astype(np.float64)
                scores = np.einsum("nd,kd->nk", block, c) - half  # not BLAS: equal centroids must get equal scores
                scores[np.isnan(scores)] = -np.inf
                best = scores.argmax(1)  # the first of equal ones
                known = scores[np.arange(len(block)), best] > -np.inf
                value = (block * c[best]).sum(1) if cosine else ((block - c[best]) ** 2).sum(1)
                label[r, rows], score[r, rows] = np.where(known, best, 0), np.where(known, value, np.nan)
    shape = (*centroids.shape[:-2], len(x))
    return label.reshape(shape), score.reshape(shape)
