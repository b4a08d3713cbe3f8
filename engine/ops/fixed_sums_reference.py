"""NumPy reference of engine.ops.fixed_sums."""

from __future__ import annotations

import numpy as np


def fixed_sums(x, label, clusters, bits):
    """NumPy reference of engine.ops.fixed_sums.fixed_sums."""
    with np.errstate(invalid="ignore"):
        fixed = np.rint(x.astype(np.float64) * 2.0**bits).astype(np.int64)
    sets = np.atleast_2d(label)
    sums, counts = np.zeros((len(sets), clusters, x.shape[1]), np.int64), np.zeros((len(sets), clusters), np.int64)
    for r, ids in enumerate(sets):
        known = (ids >= 0) & (ids < clusters)
        np.add.at(sums[r], ids[known], fixed[known])
        np.add.at(counts[r], ids[known], 1)
    return (sums, counts) if label.ndim == 2 else (sums[0], counts[0])


def move_rows(x, before, after, sums, counts, bits):
    """NumPy reference of engine.ops.fixed_sums.move_rows_host."""
    for sign, label in ((1, after), (-1, before)):
        for total, change in zip((sums, counts), fixed_sums(x, label, counts.shape[1], bits)):
            total += sign * change
    return (before != after).sum(1)
