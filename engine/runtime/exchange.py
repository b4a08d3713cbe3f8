"""Sums over the processes of `mpirun`, exact and the same in all of them; one process without it, where Jittor is not imported.

Jittor 1.3.11's operator `mpi_all_reduce` takes float32, float64 and int32; given int64 it hands MPI a pair of other types, and MPI ends all
processes. `jt.mpi.var_all_reduce` takes int64 and float64 of the host's memory, `jt.mpi.broadcast` the bytes of a NumPy array: these two are used,
also where Jittor computes on GPUs, as what is summed here comes from NumPy arrays and goes back to them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np

from .errors import LussError
from .processes import rank, world_size

_PIECE_BYTES = 64 << 20  # what one call of MPI gets: bounds the memory beyond argument and result


class Exchange:
    """One process by itself; what several do is the same with other words.

    Attributes: rank: 0 to size - 1. size: number of processes.
    """

    rank = 0
    size = 1

    def sum(self, array: np.ndarray) -> np.ndarray:
        """Elementwise sum over all processes, the same bits in each of them. All call it at the same point, with equal shapes and types.

        Args:
            array: int64 (exact; beyond 64 bits it wraps around) or float64 (added in order of rank), of any shape. It is not changed.

        Returns: read-only; of one process, a view of `array`.
        Raises: ValueError for another type.
        """
        _check(array)
        return _read_only(array)

    def barrier(self) -> None:
        """Return when every process has arrived."""

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Around work of each process's own, in which nothing is exchanged: all come to its end, where a `LussError` of one is raised in all.

        Without it the others would wait in the next exchange for the process that left. A process without an error of its own raises that of the
        lowest one that has one. One small exchange at the end. Other exceptions pass: `luss` then ends the process, and `mpirun` all of them.
        """
        own = None
        try:
            yield
        except LussError as error:
            own = error
        text = b"" if own is None else str(own).encode() or b" "
        lengths = np.zeros(self.size, np.int64)
        lengths[self.rank] = len(text)
        lengths = self.sum(lengths)
        if not lengths.any():
            return
        first = int(np.argmax(lengths > 0))
        said = np.frombuffer(text, np.uint8).astype(np.int64) if self.rank == first else np.zeros(lengths[first], np.int64)
        said = self.sum(said)
        raise own or LussError(bytes(said.astype(np.uint8)).decode())


class MpiExchange(Exchange):
    """The processes of `mpirun`; imports Jittor."""

    def __init__(self) -> None:
        self.rank, self.size = rank(), world_size()

    def sum(self, array: np.ndarray) -> np.ndarray:
        _check(array)
        add = _added_exactly if array.dtype == np.int64 else self._added_in_order
        total = np.empty(array.shape, array.dtype)
        given, result = np.ascontiguousarray(array).reshape(-1), total.reshape(-1)
        step = _PIECE_BYTES // array.itemsize
        for start in range(0, len(given), step):
            result[start : start + step] = add(given[start : start + step])
        return _read_only(total)

    def barrier(self) -> None:
        from . import jt

        jt.mpi.mpi_barrier()

    def _added_in_order(self, own: np.ndarray) -> np.ndarray:
        from . import jt

        total = None
        for root in range(self.size):
            part = own.copy() if root == self.rank else np.empty_like(own)
            jt.mpi.broadcast(part, root)
            total = part if total is None else np.add(total, part, out=total)
        return total


SINGLE = Exchange()


def for_processes() -> Exchange:
    """The exchange between the processes of `mpirun`; `SINGLE` where there is one."""
    return SINGLE if world_size() == 1 else MpiExchange()


def _added_exactly(own: np.ndarray) -> np.ndarray:
    """MPI may add in any order: whole numbers do not mind."""
    from . import jt

    with jt.flag_scope(use_cuda=0):  # var_all_reduce wants the host's memory
        total = jt.array(own, dtype="int64")  # jt.array alone makes 32 bits of 64
        total.sync()
        jt.mpi.var_all_reduce(total)
        return total.numpy()


def _read_only(array: np.ndarray) -> np.ndarray:
    view = array.view()
    view.flags.writeable = False
    return view


def _check(array: np.ndarray) -> None:
    if not isinstance(array, np.ndarray) or array.dtype not in (np.dtype(np.int64), np.dtype(np.float64)):
        raise ValueError(f"array: expected a NumPy array of int64 or float64, found {getattr(array, 'dtype', type(array).__name__)}")
