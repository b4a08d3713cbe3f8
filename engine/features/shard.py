"""One committed shard: checked when opened, its blocks checked against their checksums when first read."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import xxhash

from ..runtime.errors import LussError
from ..storage.atomic import parse_json
from .layout import DATA_OFFSET, Header, checksum, data_path, ids_path, npy_header, sidecar_path

_IDS_TYPE = np.dtype("<u4")
_PIECE = 1 << 20  # bytes read and added to the checksum at a time: they are still in the core's cache then


class DamagedShard(LussError):
    """Some of a cache cannot be trusted. `shards`: names of what is damaged."""

    def __init__(self, message: str, shards: Iterable[str] = ()):
        super().__init__(message)
        self.shards = tuple(shards)


class Shard:
    """Rows of one shard, by number.

    Opening reads ids and checksums, and looks at size and header of the rows; the rows themselves wait.

    Args:
        record: the shard's line of the manifest.

    Raises:
        DamagedShard: file, what was found and what was expected; without a remedy, which the caller knows.
    """

    def __init__(self, folder: Path, header: Header, record: dict):
        self.name: str = record["shard"]
        self.rows: int = record["rows"]
        self.header = header
        self.path = data_path(folder, self.name)
        sidecar = self._sidecar(sidecar_path(folder, self.name), record["sidecar"])
        self.sums: list[str] = sidecar["blocks"]
        expected = -(-self.rows // header.block_rows)
        if sidecar.get("shard") != self.name or sidecar.get("rows") != self.rows or len(self.sums) != expected:
            self._fail(sidecar_path(folder, self.name), f"describes another shard than {self.name} of {self.rows} rows")
        self.size = DATA_OFFSET + self.rows * header.row_bytes
        self._check_file(self.path, self.size, npy_header(header.value_type, (self.rows, header.dim)))
        self.ids = self._ids(ids_path(folder, self.name), sidecar["ids"])
        self.verified = np.zeros(expected, bool)  # set by any thread; a block is at worst checked twice

    def block_range(self, block: int) -> tuple[int, int]:
        """First row of a block, and the row after its last."""
        first = block * self.header.block_rows
        return first, min(first + self.header.block_rows, self.rows)

    def read_block(self, block: int, out: np.ndarray, verify: bool = True) -> None:
        """Fill `out`, the rows of one block, from the file.

        Raises:
            DamagedShard: fewer bytes than there should be, unreadable, or another checksum; `out` must not be used then.
        """
        view = memoryview(out).cast("B")
        offset = DATA_OFFSET + block * self.header.block_rows * self.header.row_bytes
        total = xxhash.xxh3_64()
        try:
            handle = os.open(self.path, os.O_RDONLY)
            try:
                done = 0
                while done < len(view):
                    got = os.preadv(handle, [view[done : done + _PIECE]], offset + done)
                    if got == 0:
                        self._fail(self.path, f"ends in block {block} at byte {offset + done}, expected {self.size} bytes: cut off")
                    if verify:
                        total.update(view[done : done + got])
                    done += got
            finally:
                os.close(handle)
        except OSError as error:
            self._fail(self.path, f"block {block} cannot be read ({error.strerror})")
        if verify:
            self._compare(block, total.hexdigest())

    def verify_block(self, block: int, rows: np.ndarray) -> None:
        """Check one block of `rows`, this shard's map of the file, unless that was done."""
        if not self.verified[block]:
            first, last = self.block_range(block)
            self._compare(block, checksum(rows[first:last]))

    def check_size(self) -> None:
        """Whether the file still has the size that it had when the shard was opened."""
        try:
            size = os.stat(self.path).st_size
        except OSError as error:
            self._fail(self.path, f"cannot be read ({error.strerror})")
        if size != self.size:
            self._fail(self.path, f"has {size} bytes, expected {self.size}: {'cut off' if size < self.size else 'not what was written'}")

    def _compare(self, block: int, found: str) -> None:
        if found != self.sums[block]:
            first, last = self.block_range(block)
            self._fail(self.path, f"block {block} of {len(self.sums)} (rows {first} to {last - 1}) fails its checksum")
        self.verified[block] = True

    def _sidecar(self, path: Path, expected: str) -> dict:
        try:
            content = path.read_bytes()
        except OSError as error:
            self._fail(path, f"cannot be read ({error.strerror})")
        if checksum(content) != expected:
            self._fail(path, "does not match its checksum in the manifest")
        try:
            sidecar = parse_json(content)
            if isinstance(sidecar["ids"], str) and isinstance(sidecar["blocks"], list):
                return sidecar
        except (ValueError, TypeError, KeyError, json.JSONDecodeError):
            pass
        self._fail(path, "holds no checksums")

    def _ids(self, path: Path, expected: str) -> np.ndarray:
        self._check_file(path, DATA_OFFSET + self.rows * _IDS_TYPE.itemsize, npy_header(_IDS_TYPE, (self.rows,)))
        ids = np.fromfile(path, _IDS_TYPE, offset=DATA_OFFSET)
        if checksum(ids) != expected:
            self._fail(path, "the ids of its rows fail their checksum")
        return ids.astype(np.uint32, copy=False)

    def _check_file(self, path: Path, size: int, header: bytes) -> None:
        try:
            with open(path, "rb", buffering=0) as stream:
                found = os.fstat(stream.fileno()).st_size
                start = stream.read(DATA_OFFSET)
        except OSError as error:
            self._fail(path, f"cannot be read ({error.strerror})")
        if found != size:
            self._fail(path, f"has {found} bytes, expected {size}: {'cut off' if found < size else 'not what was written'}")
        if start != header:
            self._fail(path, "its header is not the one that was written")

    def _fail(self, path: Path, reason: str):
        raise DamagedShard(f"{path}: {reason}", [self.name])
