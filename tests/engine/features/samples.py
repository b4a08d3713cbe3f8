"""Small caches: few bytes a block and a shard, so that there are many of both."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from engine.features import FeatureWriter

DIM = 6
ROW = 4 * DIM
SMALL = {"shard_bytes": 25 * ROW, "block_bytes": 7 * ROW, "fingerprint": "images and settings"}  # shards of 21 rows in 3 blocks


def vectors(n: int, dim: int = DIM, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, dim)).astype(np.float32)


def write(folder: Path, rows: np.ndarray, processes: int = 1, call: int = 5, **options) -> np.ndarray:
    """Row i is that of image i; image i is written by process i mod `processes`, `call` rows at a time. Returns `rows`."""
    for rank in range(processes):
        with FeatureWriter(folder, rows.shape[1], rank=rank, **{**SMALL, **options}) as writer:
            feed(writer, rows, processes, call)
    return rows


def feed(writer: FeatureWriter, rows: np.ndarray, processes: int = 1, call: int = 5) -> None:
    """Append what is not done of the writer's share, in order."""
    share = np.arange(writer.rank, len(rows), processes)
    share = share[~np.isin(share, writer.done_ids())]
    for first in range(0, len(share), call):
        part = share[first : first + call]
        writer.append(part, rows[part])


def contents(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(Path(folder).iterdir())}


def flip(path: Path, position: int, change: int = 0x10) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= change
    path.write_bytes(content)
