"""Rows in order, read by a few threads ahead of the one that uses them, each block held against its checksum on its way.

Where rows lie in the files in their order (one process wrote them), whole blocks are read straight to where they are wanted. Else
they are taken from maps of the files.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from .cache import FeatureCache

THREADS = 2  # reading from the page cache is bound by memory, which two cores fill
_PIECE = 4 << 20  # bytes a thread takes from maps at a time


def fill(cache: FeatureCache, out: np.ndarray) -> None:
    """All rows into `out` (n, dim)."""
    with ThreadPoolExecutor(THREADS) as pool:
        filler = _filler(cache, pool)
        step = 4 * cache.header.block_rows
        pending: deque = deque()
        try:
            for first in range(0, len(out), step):
                pending.append(filler.start(first, out[first : first + step]))
                if len(pending) > 4:
                    pending.popleft().finish()
            while pending:
                pending.popleft().finish()
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def read_ahead(cache: FeatureCache, rows: int, ahead: int, begin: int, end: int) -> Iterator[tuple[int, np.ndarray]]:
    """(first row, buffer) over rows begin to end - 1; a buffer is used again after `ahead` more were asked for."""
    n = end - begin
    buffers = [np.empty((min(rows, n), cache.dim), cache.dtype) for _ in range(min(ahead + 1, -(-n // rows)))]
    starts = iter(range(begin, end, rows))
    pending: deque = deque()
    with ThreadPoolExecutor(THREADS) as pool:
        filler = _filler(cache, pool)

        def start(buffer: np.ndarray) -> None:
            for first in starts:
                part = buffer[: min(rows, end - first)]
                pending.append((first, buffer, part, filler.start(first, part)))
                return

        try:
            for buffer in buffers[:-1] or buffers:
                start(buffer)
            spare = buffers[-1] if len(buffers) > 1 else None
            while pending:
                first, buffer, part, task = pending.popleft()
                task.finish()
                if spare is not None:
                    start(spare)
                yield first, part
                spare = buffer
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


class _Task:
    """Rows on their way into a buffer."""

    def __init__(self, direct: list[Future], copies: list[tuple[Future, slice, np.ndarray]]):
        self.direct, self.copies = direct, copies

    def finish(self) -> None:
        for future in self.direct:
            future.result()
        for future, rows, out in self.copies:
            np.copyto(out, future.result()[rows])


def _filler(cache: FeatureCache, pool: ThreadPoolExecutor):
    return _Sequential(cache, pool) if cache.order is None else _Scattered(cache, pool)


class _Sequential:
    """Rows lie in their order: block by block from the files. A block of which only a part is wanted is kept for the next call."""

    def __init__(self, cache: FeatureCache, pool: ThreadPoolExecutor):
        self.cache, self.pool = cache, pool
        self._kept: tuple[tuple[int, int], Future] | None = None
        self._advised = -1

    def start(self, first: int, out: np.ndarray) -> _Task:
        cache, size = self.cache, self.cache.header.block_rows
        task = _Task([], [])
        row, end = first, first + len(out)
        while row < end:
            number = int(np.searchsorted(cache.starts, row, "right")) - 1
            self._advise(number)
            shard, base = cache.shards[number], int(cache.starts[number])
            block = (row - base) // size
            low, high = (base + edge for edge in shard.block_range(block))
            stop = min(high, end)
            part = out[row - first : stop - first]
            if row == low and stop == high:
                task.direct.append(self.pool.submit(shard.read_block, block, part, cache.checked))
            else:
                task.copies.append((self._block(number, block), slice(row - low, stop - low), part))
            row = stop
        return task

    def _block(self, number: int, block: int) -> Future:
        if self._kept is None or self._kept[0] != (number, block):
            self._kept = (number, block), self.pool.submit(self._read, number, block)
        return self._kept[1]

    def _read(self, number: int, block: int) -> np.ndarray:
        shard = self.cache.shards[number]
        first, last = shard.block_range(block)
        rows = np.empty((last - first, self.cache.dim), self.cache.dtype)
        shard.read_block(block, rows, self.cache.checked)
        return rows

    def _advise(self, number: int) -> None:
        """Have the system fetch a shard from the disk while the one before it is read."""
        for ahead in range(max(self._advised, number - 1) + 1, min(number + 2, len(self.cache.shards))):
            try:
                handle = os.open(self.cache.shards[ahead].path, os.O_RDONLY)
            except OSError:  # reading it will say so
                continue
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_WILLNEED)
            os.close(handle)
            self._advised = ahead


class _Scattered:
    """Rows lie elsewhere than in their order: taken from maps, in pieces."""

    def __init__(self, cache: FeatureCache, pool: ThreadPoolExecutor):
        self.cache, self.pool = cache, pool

    def start(self, first: int, out: np.ndarray) -> _Task:
        step = max(1, _PIECE // self.cache.header.row_bytes)
        parts = [slice(low, min(low + step, len(out))) for low in range(0, len(out), step)]
        stored = self.cache.order[first : first + len(out)]
        return _Task([self.pool.submit(self.cache.take_stored, stored[part], out[part]) for part in parts], [])
