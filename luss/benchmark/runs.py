"""Joint histograms of label maps by runs: maps are made of long stretches of one id, so stretches are counted, not pixels."""

from __future__ import annotations

import numpy as np


def joint_runs(*maps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where a run of equal values in all maps starts along the flattened frame, and how long it is; (n,) int64 each.

    Args:
        maps: equally large, of any shape and type, C-ordered, at least one pixel.
    """
    size = maps[0].size
    changes = np.empty(size, bool)
    changes[0] = True
    tail = changes[1:]
    first = maps[0].reshape(-1)
    np.not_equal(first[1:], first[:-1], out=tail)
    scratch = np.empty(size - 1, bool)
    for other in maps[1:]:
        flat = other.reshape(-1)
        np.not_equal(flat[1:], flat[:-1], out=scratch)
        tail |= scratch
    starts = np.flatnonzero(changes)
    lengths = np.empty_like(starts)
    np.subtract(starts[1:], starts[:-1], out=lengths[:-1])
    lengths[-1] = size - starts[-1]
    return starts, lengths


def compact(ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distinct values of (n,) unsigned integers in order, and for each element the position of its value; int64 both."""
    present = np.bincount(ids)
    distinct = np.flatnonzero(present)
    present[distinct] = np.arange(len(distinct))
    return distinct, present[ids]


def sparse_bincount(cells: np.ndarray, limit: int, weights: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Distinct values of `cells` in order and how often they occur, or the sum of their weights; int64 both.

    Args:
        cells: (n,) int64 in [0, limit).
        weights: (n,) integers, None = 1 each; sums below 2^53.
    """
    if limit <= 4 * len(cells) + 65536:
        dense = np.bincount(cells, weights=weights, minlength=1)
        found = np.flatnonzero(dense)
        return found, dense[found].astype(np.int64)
    found, place = np.unique(cells, return_inverse=True)  # noisy maps: more possible cells than elements
    return found, np.bincount(place, weights=weights, minlength=len(found)).astype(np.int64)
