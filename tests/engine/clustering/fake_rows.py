"""Rows and processes for tests of what draws from them: an array, and threads that meet at a barrier."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import numpy as np


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


class ThreadExchange:
    def __init__(self, rank: int, size: int, barrier: threading.Barrier, table: list) -> None:
        self.rank, self.size, self._barrier, self._table = rank, size, barrier, table

    def sum(self, array: np.ndarray) -> np.ndarray:
        assert isinstance(array, np.ndarray) and array.dtype in (np.int64, np.float64)
        self._table[self.rank] = array.copy()
        self._barrier.wait(60)
        assert len({part.shape for part in self._table}) == len({part.dtype for part in self._table}) == 1
        total = sum(self._table[1:], self._table[0].copy())
        self._barrier.wait(60)
        return total


def on_ranks(size: int, work: Callable) -> list:
    """What work(rank, exchange) returns in each of `size` threads; an exception of one ends all."""
    barrier, table = threading.Barrier(size), [None] * size
    results: list = [None] * size
    errors: list[BaseException] = []

    def run(rank: int) -> None:
        try:
            results[rank] = work(rank, ThreadExchange(rank, size, barrier, table))
        except BaseException as error:
            errors.append(error)
            barrier.abort()

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise next((error for error in errors if not isinstance(error, threading.BrokenBarrierError)), errors[0])
    return results


def same_everywhere(x: np.ndarray, work: Callable) -> np.ndarray:
    """work(rows, exchange), after asserting that blocks of 7, 64 and 1000 rows and 1, 2 and 3 processes all give it."""
    expected = on_ranks(1, lambda rank, exchange: work(ArrayRows(x, 1000), exchange))[0]
    for block, size in ((7, 1), (64, 1), (1000, 2), (64, 2), (7, 3), (1000, 3)):
        for found in on_ranks(size, lambda rank, exchange, b=block, s=size: work(ArrayRows(x, b, rank, s), exchange)):
            assert found.dtype == expected.dtype and found.tobytes() == expected.tobytes(), (block, size)
    return expected
