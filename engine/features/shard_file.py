"""A shard being written: its three files appear together with its line in the manifest, or not at all."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from pathlib import Path
from typing import IO

import numpy as np

from ..storage.atomic import atomic_file, flush_folder
from ..storage.fingerprint import canonical_json
from .layout import DATA_OFFSET, Header, checksum, data_path, ids_path, manifest_path, npy_header, sidecar_path
from .manifest import append_line

_IDS_TYPE = np.dtype("<u4")
_START_WRITING = 2  # SYNC_FILE_RANGE_WRITE


class ShardFile:
    """Blocks go to a temporary file; `commit` makes the shard exist.

    Raises (all methods):
        LussError: the disk is full or the folder not writable; names file, needed and free. What was committed before is untouched.
    """

    def __init__(self, folder: Path, header: Header, rank: int, name: str):
        self.folder, self.header, self.rank, self.name = folder, header, rank, name
        self.rows = 0
        self._sums: list[str] = []
        self._files = contextlib.ExitStack()
        self._data = self._files.enter_context(atomic_file(data_path(folder, name), durable=False))
        self._guarded(lambda: self._data.write(bytes(DATA_OFFSET)))

    def write(self, block: np.ndarray) -> None:
        """Append (n, dim) rows; all calls but the last have n = block_rows."""
        self._sums.append(checksum(block))
        self._guarded(lambda: self._append(block))
        self.rows += len(block)

    def commit(self, ids: np.ndarray) -> None:
        """Finish the shard; `ids` (rows,) uint32. Everything is on the disk before the manifest's line is written."""
        self._guarded(lambda: self._finish(ids.astype(_IDS_TYPE, copy=False)))

    def abort(self) -> None:
        """Remove what was written so far."""
        with contextlib.suppress(_Aborted):
            self._guarded(_abort)

    def _append(self, block: np.ndarray) -> None:
        self._data.write(memoryview(block).cast("B"))
        _start_writing(self._data)

    def _finish(self, ids: np.ndarray) -> None:
        self._data.seek(0)
        self._data.write(npy_header(self.header.value_type, (self.rows, self.header.dim)))
        _sync(self._data)
        # each file's trouble is met while its own context is the innermost, so that the error names it
        stream = self._files.enter_context(atomic_file(ids_path(self.folder, self.name), size=DATA_OFFSET + ids.nbytes, durable=False))
        stream.write(npy_header(_IDS_TYPE, ids.shape))
        stream.write(memoryview(ids).cast("B"))
        _sync(stream)
        record = {"shard": self.name, "rows": self.rows, "blocks": self._sums, "ids": checksum(ids)}
        sidecar = canonical_json(record).encode() + b"\n"
        stream = self._files.enter_context(atomic_file(sidecar_path(self.folder, self.name), size=len(sidecar), durable=False))
        stream.write(sidecar)
        _sync(stream)
        self._files.close()  # renames all three
        flush_folder(self.folder)
        line = {"shard": self.name, "rows": self.rows, "sidecar": checksum(sidecar), "cache": self.header.digest}
        append_line(manifest_path(self.folder, self.rank), line)

    def _guarded(self, action) -> None:
        """An exception goes through the open files' contexts, which remove them and turn a full disk into a LussError."""
        with contextlib.ExitStack() as stack:
            stack.push(self._files)
            action()
            stack.pop_all()


class _Aborted(Exception):
    pass


def _abort() -> None:
    raise _Aborted


def _sync(stream: IO) -> None:
    stream.flush()
    os.fsync(stream.fileno())


_libc = ctypes.CDLL(None, use_errno=True) if sys.platform.startswith("linux") else None


def _start_writing(stream: IO) -> None:
    """Let the disk begin while the next block is computed. A hint: the fsync at the end is what counts, and reports errors."""
    if _libc is not None and hasattr(_libc, "sync_file_range"):
        stream.flush()
        _libc.sync_file_range(stream.fileno(), ctypes.c_longlong(0), ctypes.c_longlong(0), _START_WRITING)
