"""Data for tests of k-means."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from engine.features import FeatureCache, FeatureWriter


def clustered(n: int, d: int, *, classes: int = 12, spread: float = 0.7, seed: int = 0, dtype: str = "float32") -> np.ndarray:
    """(n, d) rows around `classes` means."""
    rng = np.random.default_rng(seed)
    means = rng.standard_normal((classes, d))
    return (means[rng.integers(classes, size=n)] + spread * rng.standard_normal((n, d))).astype(dtype)


def partly_duplicates(n: int, d: int, distinct: int, share: float, seed: int = 0) -> np.ndarray:
    """(n, d) rows of which a share is copies of a few."""
    x = clustered(n, d, seed=seed)
    rng = np.random.default_rng(seed + 1)
    return np.where((rng.random(n) < share)[:, None], x[rng.integers(distinct, size=n)], x)


def with_duplicates(n: int, d: int, distinct: int, seed: int = 0) -> np.ndarray:
    """(n, d) rows of which only `distinct` differ."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal((distinct, d)).astype(np.float32)[rng.integers(distinct, size=n)]


def cached(folder: Path, rows: np.ndarray, *, processes: int = 1) -> FeatureCache:
    """The rows as a feature cache of several shards, written by so many processes in turn."""
    size = rows.itemsize * rows.shape[1]
    for rank in range(processes):
        with FeatureWriter(folder, rows.shape[1], str(rows.dtype), rank=rank, shard_bytes=700 * size, block_bytes=100 * size) as writer:
            mine = np.arange(rank, len(rows), processes)
            writer.append(mine, rows[mine])
    return FeatureCache(folder)
