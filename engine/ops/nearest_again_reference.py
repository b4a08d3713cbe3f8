"""NumPy reference of engine.ops.nearest_again."""

from __future__ import annotations

import numpy as np

from .nearest_centroid_reference import nearest_centroid


def nearest_again(x, centroids, *, cosine=False):
    """Labels (R, N) int32 and lower bounds (R, N) float32 as engine.ops.nearest_again.NearestAgain finds them, from all distances."""
    label, _ = nearest_centroid(x, centroids, cosine=cosine)
    lower = np.full(label.shape, -np.inf, np.float32)
    if cosine:
        return label, lower
    with np.errstate(invalid="ignore", over="ignore"):
        for r, c in enumerate(np.asarray(centroids, np.float64)):
            for start in range(0, len(x), 256):
                rows = slice(start, start + 256)
                distance = np.sqrt(((np.asarray(x[rows], np.float64)[:, None] - c) ** 2).sum(2))
                distance[np.arange(len(distance)), label[r, rows]] = np.inf
                nearest = np.nan_to_num(distance, nan=-np.inf, posinf=np.inf).min(1)
                # 2^-23 down: more than rounding to float32 and the float64 sum can be off together
                lower[r, rows] = np.where(np.isfinite(nearest), nearest * (1 - 2.0**-23), np.where(nearest > 0, np.float32(3e38), -np.inf))
    return label, lower
