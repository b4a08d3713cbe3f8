"""NumPy reference of engine.ops.centroid_sums."""

from __future__ import annotations

import numpy as np


def centroid_sums(x, label, clusters):
    """NumPy reference of engine.ops.centroid_sums.centroid_sums."""
    sums = np.zeros((clusters, x.shape[1]))
    np.add.at(sums, label, x.astype(np.float64))
    return sums, np.bincount(label, minlength=clusters).astype(np.int64)
