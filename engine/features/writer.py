"""Append vectors to a feature cache, one writer a process; killed at any moment, it goes on after its last shard."""

from __future__ import annotations

import contextlib
import os
import queue
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..runtime.errors import LussError
from ..storage.atomic import PathLike, process_lives
from .background import Background
from .check import Damage, clean, read_rank, verify_shard
from .layout import BLOCK_BYTES, HEADER_FILE, SHARD_BYTES, Header, list_ranks, manifest_path, shard_name
from .manifest import append_line
from .rows import checked_rows, image_ends
from .shard_file import ShardFile

_BUFFERS = 3  # blocks: one is filled while one is written and one waits


class FeatureWriter:
    """Writer of process `rank`; a context manager: leaving it closes the cache, an exception drops the open shard.

    Opening an existing cache continues it: shards of this process that are damaged, unlisted or half written are removed (`dropped`
    tells which), and what the others and itself have committed is in `done_ids()`. The bytes written depend on the rows and their order
    alone: fed the images that are not done in the same order, a resumed writer leaves the files of an undisturbed one.

    Args:
        folder: made if need be; all processes write into the same one.
        dim: values a row.
        dtype: "float16" or "float32"; rows are converted.
        rank: of this process.
        fingerprint: of what the rows are made from; another one in the folder is refused.
        shard_bytes: most bytes of rows in a shard, at least one row; whole blocks where it holds one.
        vectors: rows an image has: "one", or "many", which stay together in one shard.
        block_bytes: most bytes under one checksum.

    Raises:
        LussError: the folder holds another cache, or cannot be written. Errors of writing are raised by a later `append`, `flush` or `close`.
    """

    def __init__(
        self,
        folder: PathLike,
        dim: int,
        dtype: str = "float32",
        *,
        rank: int = 0,
        fingerprint: str = "",
        shard_bytes: int = SHARD_BYTES,
        vectors: str = "one",
        block_bytes: int = BLOCK_BYTES,
    ):
        if not 0 <= rank < 1 << 20 or shard_bytes < 1:
            raise ValueError(f"rank={rank}, shard_bytes={shard_bytes}: expected 0 to 2^20, and at least 1")
        self.folder, self.rank = Path(folder), rank
        self.header = Header(dtype, dim, vectors, fingerprint, block_bytes)
        self._capacity = max(1, shard_bytes // self.header.row_bytes)
        if self._capacity > self.header.block_rows:
            self._capacity -= self._capacity % self.header.block_rows
        self._enter_cache()
        self._done, self.dropped = self._resume()
        self._last_id = -1
        self._ids: list[np.ndarray] = []  # of the open shard
        self._rows = 0  # in the open shard
        self._filled = 0  # of the open block
        self._block: np.ndarray | None = None
        self._free: queue.Queue[np.ndarray | None] = queue.Queue()
        for _ in range(_BUFFERS):
            self._free.put(None)
        self._shard: ShardFile | None = None  # the background's alone
        self._background = Background(_BUFFERS + 1)
        self._open = True

    def __enter__(self) -> FeatureWriter:
        return self

    def __exit__(self, kind, *_) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    def done_ids(self) -> np.ndarray:
        """(n,) uint32, rising: images whose rows were committed by any process before this writer was opened."""
        return self._done

    def append(self, ids: Sequence[int] | np.ndarray, rows: np.ndarray) -> None:
        """Add rows; they are copied. A full shard is committed in the background.

        Args:
            ids: (n,) image of each row, 0 to 2^32 - 1. With "many" the rows of an image are adjacent and come in one call.
            rows: (n, dim) floating-point numbers.

        An image that comes twice is stored twice, and the reader takes the first.

        Raises:
            ValueError: other shapes or ids; an image split up; more rows of one image than a shard holds.
            LussError: a finite value does not fit into float16; or writing failed (see the class).
        """
        self._check_open()
        ids, rows = checked_rows(self.header, ids, rows)
        ends = None
        if self.header.vectors == "many" and len(ids):
            ends = image_ends(ids, self._last_id, self._capacity)
            self._last_id = int(ids[-1])
        start = 0
        while start < len(ids):
            end = start + self._capacity - self._rows
            if ends is not None:
                found = np.searchsorted(ends, end, "right")
                end = int(ends[found - 1]) if found else 0
            end = min(end, len(ids))
            if end <= start:  # the next image does not fit any more
                self.flush()
                continue
            self._put(ids[start:end], rows[start:end])
            start = end
            if self._rows == self._capacity:
                self.flush()

    def flush(self, *, wait: bool = False) -> None:
        """Commit the open shard as it is: what was appended so far then survives a kill.

        Args:
            wait: return when that is done; else it is done in the background.
        """
        self._check_open()
        if self._rows:
            if self._filled:
                self._send_block()
            ids, self._ids, self._rows = np.concatenate(self._ids), [], 0
            self._background.submit(lambda: self._commit(ids))
        if wait:
            self._background.wait()

    def close(self) -> None:
        """Commit the rest, and mark this process's part as finished. May be called again."""
        if not self._open:
            return
        try:
            self.flush(wait=True)
            self._finish()
        finally:
            self.abort()

    def abort(self) -> None:
        """Stop without committing the open shard; what was committed stays."""
        self._open = False
        self._background.stop()
        if self._shard is not None:
            self._shard.abort()
            self._shard = None

    def _check_open(self) -> None:
        self._background.check()
        if not self._open:
            raise ValueError(f"the writer of {self.folder} is closed")

    # -- moving rows

    def _put(self, ids: np.ndarray, rows: np.ndarray) -> None:
        self._ids.append(ids)
        self._rows += len(ids)
        while len(rows):
            if self._block is None:
                self._block = self._free_block()
            count = min(len(rows), len(self._block) - self._filled)
            self._block[self._filled : self._filled + count] = rows[:count]
            self._filled += count
            rows = rows[count:]
            if self._filled == len(self._block):
                self._send_block()

    def _free_block(self) -> np.ndarray:
        while True:
            self._background.check()  # after an error no block comes back
            try:
                block = self._free.get(timeout=0.2)
                break
            except queue.Empty:
                continue
        if block is None:
            block = np.empty((min(self.header.block_rows, self._capacity), self.header.dim), self.header.value_type)
        return block

    def _send_block(self) -> None:
        block, count = self._block, self._filled
        self._block, self._filled = None, 0
        self._background.submit(lambda: self._write(block, count))

    # -- in the background

    def _write(self, block: np.ndarray, count: int) -> None:
        try:
            if self._shard is None:
                self._shard = ShardFile(self.folder, self.header, self.rank, self._next_name())
            self._shard.write(block[:count])
        finally:
            self._free.put(block)

    def _commit(self, ids: np.ndarray) -> None:
        self._shard.commit(ids)
        self._used[self._shard.name] = self._shard.rows
        self._shard = None
        self._closed = False

    def _next_name(self) -> str:
        """The lowest number that is not used, so that a removed shard's place is filled again."""
        number = 0
        while shard_name(self.rank, number) in self._used:
            number += 1
        return shard_name(self.rank, number)

    # -- opening and closing

    def _enter_cache(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LussError(f"{self.folder}: cannot be made ({error.strerror}); expected a folder that can be written") from error
        remedy = "start again"
        begun = list_ranks(self.folder)  # looked at first: who has begun wrote the header before
        if not (self.folder / HEADER_FILE).exists():
            if begun:
                raise LussError(f"{self.folder}: holds shards, but no {HEADER_FILE}: delete the folder, then {remedy}")
            with contextlib.suppress(FileNotFoundError):  # its temporary was taken for a left-over: then another process has written the same
                self.header.write(self.folder)
        found = Header.read(self.folder, remedy)
        difference = found.difference(self.header)
        if difference:
            raise LussError(f"{self.folder}: another feature cache lies here: its {difference}; delete it or name another folder, then {remedy}")
        for leftover in self.folder.glob(f"{HEADER_FILE}.tmp-*"):
            if not process_lives(int(leftover.name.rpartition("-")[2])):
                leftover.unlink(missing_ok=True)

    def _resume(self) -> tuple[np.ndarray, list[Damage]]:
        own = read_rank(self.folder, self.header, self.rank)
        last = own.shards[-1:]  # the one that a power cut may have caught
        broken = [damage for damage in map(verify_shard, last) if damage]
        dropped = own.damage + broken
        clean(self.folder, own, {damage.shard for damage in dropped})
        self._used = {shard.name: shard.rows for shard in own.shards}
        self._closed = own.closed
        path = manifest_path(self.folder, self.rank)
        if not path.exists():  # its end without a closing line then tells readers that this process has begun
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o666))
        others = [read_rank(self.folder, self.header, rank, listing) for rank, listing in list_ranks(self.folder).items() if rank != self.rank]
        ids = [shard.ids for state in [own, *others] for shard in state.shards]
        return np.unique(np.concatenate(ids)) if ids else np.zeros(0, np.uint32), dropped

    def _finish(self) -> None:
        if not self._closed:
            line = {"closed": [len(self._used), sum(self._used.values())], "cache": self.header.digest}
            append_line(manifest_path(self.folder, self.rank), line)
            self._closed = True
