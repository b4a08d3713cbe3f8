"""All shards mapped side by side into one stretch of addresses, so that one index takes rows of any of them.

NumPy cannot take rows of several arrays to scattered places of one output without copying twice, which made a gather half as fast as
one from a single map. Here each shard's file is mapped at a distance from the first that is a multiple of the row's size as well as of
the page's, so that all rows lie on one grid, with unused rows between the shards. No file stays open for it.
"""

from __future__ import annotations

import ctypes
import math
import mmap
import os
import weakref
from collections.abc import Sequence

import numpy as np

from .layout import DATA_OFFSET, Header
from .shard import Shard

_NO_ACCESS, _FIXED, _NO_RESERVE = 0, 0x10, 0x40  # PROT_NONE, MAP_FIXED and MAP_NORESERVE of Linux; Python's mmap does not name them everywhere
_FAILED = ctypes.c_void_p(-1).value
_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long)
_libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)


class RowMap:
    """Read-only rows of `shards`.

    Attributes:
        rows: (grid rows, dim); only those of `of` may be touched, the others are not there.
        first: (shards,) int64 number in `rows` of each shard's first row.

    Raises:
        DamagedShard: a file is gone or has another size.
        OSError: no address space.
    """

    def __init__(self, shards: Sequence[Shard], header: Header):
        self.shards = shards
        unit = math.lcm(header.row_bytes, mmap.ALLOCATIONGRANULARITY)
        ends = np.cumsum([0] + [-(-shard.size // unit) * unit for shard in shards])
        self.first = ends[:-1] // header.row_bytes
        total = max(int(ends[-1]), 1)
        base = _map(None, total, _NO_ACCESS, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _NO_RESERVE, -1)
        memory = (ctypes.c_char * total).from_address(base)
        weakref.finalize(memory, _libc.munmap, base, total).atexit = False  # the end of the process unmaps anyway
        for shard, offset in zip(shards, ends):
            shard.check_size()
            handle = os.open(shard.path, os.O_RDONLY)
            try:
                _map(base + int(offset), shard.size, mmap.PROT_READ, mmap.MAP_SHARED | _FIXED, handle)
            finally:
                os.close(handle)
        grid = max(0, total - DATA_OFFSET) // header.row_bytes
        self.rows = np.ndarray((grid, header.dim), header.value_type, memory, DATA_OFFSET if grid else 0)
        self.rows.flags.writeable = False

    def of(self, number: int) -> np.ndarray:
        """(rows, dim) of one shard."""
        first = int(self.first[number])
        return self.rows[first : first + self.shards[number].rows]


def _map(address: int | None, length: int, protection: int, flags: int, handle: int) -> int:
    found = _libc.mmap(address, length, protection, flags, handle, 0)
    if found == _FAILED:
        number = ctypes.get_errno()
        raise OSError(number, f"mapping {length} bytes: {os.strerror(number)}")
    return found
