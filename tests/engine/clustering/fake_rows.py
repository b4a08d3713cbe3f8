"""Rows for tests of what draws from them, without files."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from tests.engine.clustering.thread_exchange import run_ranks


class ArrayRows:
    """`block` rows at a time of rank's share of x, always in the same memory, which is spoilt afterwards."""

    def __init__(self, x: np.ndarray, block: int, rank: int = 0, size: int = 1) -> None:
        self.x, self.block, self.passes = x, block, 0
        self.first, self.last = (len(x) * share // size for share in (rank, rank + 1))
        self.total, self.dim = x.shape

    def blocks(self) -> Iterator[tuple[int, np.ndarray]]:
        self.passes += 1
        space = np.empty((self.block, self.dim), np.float32)
        for first in range(self.first, self.last, self.block):
            block = space[: min(self.block, self.last - first)]
            block[:] = self.x[first : first + len(block)]
            yield first, block
            space[:] = np.nan

    def gather(self, indices: np.ndarray) -> np.ndarray:
        return self.x[indices]


def same_everywhere(x: np.ndarray, work: Callable) -> np.ndarray:
    """work(rows, exchange), after asserting that blocks of 7, 64 and 1000 rows and 1, 2 and 3 processes all give it."""
    expected = run_ranks(1, lambda exchange: work(ArrayRows(x, 1000), exchange))[0]
    for block, size in ((7, 1), (64, 1), (1000, 2), (64, 2), (7, 3), (1000, 3)):
        for found in run_ranks(size, lambda exchange, b=block: work(ArrayRows(x, b, exchange.rank, exchange.size), exchange)):
            assert found.dtype == expected.dtype and found.tobytes() == expected.tobytes(), (block, size)
    return expected
