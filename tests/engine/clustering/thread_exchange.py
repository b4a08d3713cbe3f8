"""Several ranks as threads of one process: what `Exchange` promises, without MPI."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np

from engine.runtime.exchange import Exchange

_PATIENCE = 120.0  # seconds after which a rank that waits for the others gives up


class ThreadExchange(Exchange):
    def __init__(self, rank: int, size: int, meeting: threading.Barrier, table: list):
        self.rank, self.size, self._meeting, self._table = rank, size, meeting, table

    def sum(self, array: np.ndarray) -> np.ndarray:
        own = np.array(super().sum(array))  # its checks, and a copy
        self._table[self.rank] = own
        self._meeting.wait(_PATIENCE)
        shapes = {(part.shape, part.dtype) for part in self._table}
        if len(shapes) != 1:
            self._meeting.abort()
            raise AssertionError(f"ranks sum unlike arrays: {shapes}")
        total = self._table[0].copy()
        for part in self._table[1:]:
            total += part
        self._meeting.wait(_PATIENCE)  # nobody writes into the table before all have read it
        total.flags.writeable = False
        return total

    def barrier(self) -> None:
        self._meeting.wait(_PATIENCE)


def run_ranks(size: int, function: Callable[[Exchange], object]) -> list:
    """What `function(exchange)` returns on each of `size` ranks, in order. The first exception of a rank is raised; the other ranks then end, too."""
    meeting, table = threading.Barrier(size), [None] * size
    results, errors = [None] * size, []

    def run(rank: int) -> None:
        try:
            results[rank] = function(ThreadExchange(rank, size, meeting, table))
        except threading.BrokenBarrierError:
            errors.append((1, AssertionError(f"rank {rank} waited for ranks that never came")))
        except BaseException as error:
            errors.append((0, error))
            meeting.abort()

    threads = [threading.Thread(target=run, args=(rank,), daemon=True) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise min(errors, key=lambda found: found[0])[1]
    return results
