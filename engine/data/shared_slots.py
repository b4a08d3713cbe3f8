"""Memory that the main process and its loading processes share, in slots of one size; a task's arrays are written into its slot.

It is an anonymous file (memfd): nothing is left behind in /dev/shm however the processes end, and a container's small /dev/shm does not
limit it. Pages that were never written take no memory.
"""

from __future__ import annotations

import mmap
import os

import numpy as np

_ALIGNMENT = 64  # bytes: a cache line, and what vector loads like


class SharedSlots:
    """`count` slots of `size` bytes each.

    Args:
        handle: descriptor of the memory of another process's SharedSlots; without it new memory is made.
    """

    def __init__(self, count: int, size: int, handle: int | None = None):
        self.count, self.size = count, -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
        if handle is None:
            handle = os.memfd_create("luss-batches")
            os.ftruncate(handle, self.count * self.size)
        self.handle = handle
        # The mapping lives as long as any array made from it, so that closing cannot pull memory from under a batch
        self.bytes = np.frombuffer(mmap.mmap(handle, self.count * self.size), np.uint8)

    def slot(self, number: int) -> np.ndarray:
        """(size,) uint8 view."""
        return self.bytes[number * self.size : (number + 1) * self.size]

    def close(self) -> None:
        """Give the descriptor back; arrays in use stay valid."""
        os.close(self.handle)


class SlotWriter:
    """Hands out pieces of a slot from its beginning on; where it is full, ordinary memory."""

    def __init__(self, slot: np.ndarray):
        self.slot, self.used = slot, 0

    def place(self, count: int) -> np.ndarray:
        """(count,) uint8 to be written to, not cleared."""
        begin = -(-self.used // _ALIGNMENT) * _ALIGNMENT
        if begin + count > len(self.slot):
            return np.empty(count, np.uint8)
        self.used = begin + count
        return self.slot[begin : self.used]

    def offset(self, array: np.ndarray) -> int | None:
        """Byte of the slot at which a contiguous array begins; None where it lies elsewhere."""
        begin = array.__array_interface__["data"][0] - self.slot.__array_interface__["data"][0]
        return begin if begin >= 0 and begin + array.nbytes <= self.used else None


def payload(data: bytes) -> int:
    """Descriptor of anonymous memory that holds `data`, for processes that are to read it."""
    handle = os.memfd_create("luss-dataset")
    with os.fdopen(os.dup(handle), "wb") as stream:
        stream.write(data)
    return handle
