"""The rows that a restart of faiss's k-means begins from (faiss/Clustering.cpp, faiss/utils/random.cpp)."""

from __future__ import annotations

import numpy as np

from .mersenne import Mersenne

_RESTART_STRIDE = 15486557
_MOST_ROWS = 2**31 - 1  # faiss's permutation is one of C++ ints


def random_rows(n: int, clusters: int, seed: int, restart: int) -> np.ndarray:
    """Row numbers that faiss.Clustering takes as first centroids in restart number `restart`, counted from 0.

    faiss permutes all n numbers (Fisher & Yates) and takes the first ones; here only what the first `clusters` swaps touch is kept: O(clusters)
    memory and time. For n == clusters faiss draws nothing and copies the rows in their order. As in faiss 1.7 to 1.15; its main branch draws a number
    below n by a multiplication in place of the remainder since, which gives other rows.

    Args:
        n: rows, 1 to 2^31 - 1. clusters: 1 to n.
        seed: not negative (faiss would take the clock). faiss's own `seed` goes to 2^31 - 1; larger ones count modulo 2^32.

    Returns: (clusters,) int64 in [0, n), distinct.
    Raises: ValueError names argument, expected and found.
    """
    if not 1 <= n <= _MOST_ROWS:
        raise ValueError(f"n: expected 1 to {_MOST_ROWS} rows, found {n}")
    if not 1 <= clusters <= n:
        raise ValueError(f"clusters: expected 1 to n = {n}, found {clusters}")
    if seed < 0 or restart < 0:
        raise ValueError(f"seed, restart: expected no negative number, found {seed}, {restart}")
    if clusters == n:
        return np.arange(n, dtype=np.int64)
    places = np.arange(clusters, dtype=np.int64)
    partners = places + Mersenne(seed + 1 + restart * _RESTART_STRIDE).words(clusters) % (n - places)
    moved: dict[int, int] = {}  # what lies at a place, where it is not the place's own number
    rows = np.empty(clusters, np.int64)
    for place, partner in enumerate(partners.tolist()):
        rows[place] = moved.get(partner, partner)
        moved[partner] = moved.pop(place, place)  # no later swap comes back to this place
    return rows
