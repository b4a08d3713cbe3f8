"""What a feature cache is on disk: names, geometry, cache.json and the headers of its .npy files.

    cache.json             what the cache holds and was made from; one, written first
    r000-s00000.npy        shard 0 of process 0: (n, dim) float16 or float32; values from byte 4096 on, so that they lie on pages
    r000-s00000.ids.npy    (n,) uint32: the image of each row
    r000-s00000.json       xxh3-64 of every block of rows, and of the ids
    manifest.r000.jsonl    one line for each shard that process 0 has committed, one for its end

A shard exists when its line does: its three files are on the disk before. numpy.load opens the .npy files.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xxhash

from ..runtime.errors import LussError
from ..storage.atomic import read_json, write_json
from ..storage.fingerprint import canonical_json

VERSION = 1
BLOCK_BYTES = 16 << 20  # under one checksum; less than a core's share of the last-level cache on common machines
SHARD_BYTES = 128 << 20
DATA_OFFSET = 4096
HEADER_FILE = "cache.json"
IDS_LIMIT = 1 << 32
_DTYPES = ("float16", "float32")
_VECTORS = ("one", "many")
_SHARD_FILE = re.compile(r"r(\d{3,})-s(\d{5,})(\.npy|\.ids\.npy|\.json)(\.tmp-\d+)?")
_MANIFEST = re.compile(r"manifest\.r(\d{3,})\.jsonl(\.tmp-\d+)?")


@dataclass(frozen=True)
class Header:
    """Content of cache.json; equal headers mean the same cache.

    Attributes:
        dtype: "float16" or "float32".
        dim: values a row.
        vectors: rows an image has: "one", or "many" (any number, the same or not).
        fingerprint: of what the rows were made from (images, settings, weights); the caller's.
        block_bytes: most bytes under one checksum.
    """

    dtype: str
    dim: int
    vectors: str = "one"
    fingerprint: str = ""
    block_bytes: int = BLOCK_BYTES

    def __post_init__(self):
        if self.dtype not in _DTYPES or self.vectors not in _VECTORS:
            raise ValueError(f"dtype={self.dtype!r}, vectors={self.vectors!r}: expected one of {_DTYPES} and one of {_VECTORS}")
        if not 1 <= self.dim <= 1 << 24 or self.block_bytes < 1:
            raise ValueError(f"dim={self.dim}, block_bytes={self.block_bytes}: expected 1 to 2^24, and at least 1")

    @property
    def value_type(self) -> np.dtype:
        return np.dtype(self.dtype).newbyteorder("<")

    @property
    def row_bytes(self) -> int:
        return self.dim * self.value_type.itemsize

    @property
    def block_rows(self) -> int:
        """Rows under one checksum: as many whole ones as go into block_bytes, at least one."""
        return max(1, self.block_bytes // self.row_bytes)

    @property
    def digest(self) -> str:
        """16 hexadecimal digits that every manifest line repeats, so that a line of another cache is noticed."""
        return checksum(canonical_json(self._record()).encode())

    def _record(self) -> dict:
        return {
            "format": f"luss-features {VERSION}",
            "dtype": self.dtype,
            "dim": self.dim,
            "vectors": self.vectors,
            "block_bytes": self.block_bytes,
            "fingerprint": self.fingerprint,
        }

    def write(self, folder: Path) -> None:
        write_json(folder / HEADER_FILE, {**self._record(), "digest": self.digest})

    @staticmethod
    def read(folder: Path, remedy: str) -> Header:
        """Header of the cache in `folder`.

        Raises:
            LussError: no cache there, another format, or damaged.
        """
        path = folder / HEADER_FILE
        if not path.exists():
            raise LussError(f"{folder}: no feature cache (it has no {HEADER_FILE}): {remedy}")
        try:
            record = read_json(path)
        except LussError as error:
            raise LussError(f"{path}: damaged ({error.__cause__}): delete {folder}, then {remedy}") from error
        if not isinstance(record, dict) or record.get("format") != f"luss-features {VERSION}":
            found = record.get("format") if isinstance(record, dict) else type(record).__name__
            raise LussError(f"{path}: found format {found!r}, expected 'luss-features {VERSION}': delete {folder}, then {remedy}")
        try:
            header = Header(record["dtype"], record["dim"], record["vectors"], record["fingerprint"], record["block_bytes"])
            whole = record.get("digest") == header.digest
        except (KeyError, TypeError, ValueError):
            whole = False
        if not whole:
            raise LussError(f"{path}: damaged (its content does not match its checksum): delete {folder}, then {remedy}")
        return header

    def difference(self, other: Header) -> str:
        """The first field in which two headers differ, in words; "" where none does."""
        for name in ("dtype", "dim", "vectors", "block_bytes", "fingerprint"):
            mine, theirs = getattr(self, name), getattr(other, name)
            if mine != theirs:
                return f"{name} is {mine!r}, expected {theirs!r}"
        return ""


def checksum(data) -> str:
    """xxh3-64 of a contiguous buffer as 16 hexadecimal digits."""
    return xxhash.xxh3_64_hexdigest(data)


def npy_header(dtype: np.dtype, shape: tuple[int, ...]) -> bytes:
    """The 4096 bytes before the values of a .npy file (format 1.0); a function of dtype and shape alone."""
    text = repr({"descr": dtype.str, "fortran_order": False, "shape": shape}).encode()
    length = DATA_OFFSET - 10
    return b"\x93NUMPY\x01\x00" + length.to_bytes(2, "little") + text.ljust(length - 1) + b"\n"


def shard_name(rank: int, number: int) -> str:
    return f"r{rank:03d}-s{number:05d}"


def shard_number(name: str) -> int:
    """The number in a shard's name; -1 if it is none."""
    found = _SHARD_FILE.fullmatch(f"{name}.npy")
    return int(found.group(2)) if found else -1


def data_path(folder: Path, name: str) -> Path:
    return folder / f"{name}.npy"


def ids_path(folder: Path, name: str) -> Path:
    return folder / f"{name}.ids.npy"


def sidecar_path(folder: Path, name: str) -> Path:
    return folder / f"{name}.json"


def manifest_path(folder: Path, rank: int) -> Path:
    return folder / f"manifest.r{rank:03d}.jsonl"


@dataclass(frozen=True)
class Listing:
    """Names in the folder that belong to one process: shards with any file, temporaries, and whether it has a manifest."""

    shards: tuple[str, ...]
    temporaries: tuple[str, ...]
    manifest: bool


def list_ranks(folder: Path) -> dict[int, Listing]:
    """What each process has in the folder, by rank, in order."""
    shards: dict[int, set[str]] = {}
    temporaries: dict[int, list[str]] = {}
    manifests = set()
    for entry in sorted(os.listdir(folder)):
        found = _SHARD_FILE.fullmatch(entry)
        manifest = _MANIFEST.fullmatch(entry)
        if not found and not manifest:
            continue
        rank = int((found or manifest).group(1))
        if (found or manifest).groups()[-1]:
            temporaries.setdefault(rank, []).append(entry)
        elif found:
            shards.setdefault(rank, set()).add(shard_name(rank, int(found.group(2))))
        else:
            manifests.add(rank)
    ranks = sorted({*shards, *temporaries, *manifests})
    return {r: Listing(tuple(sorted(shards.get(r, ()))), tuple(temporaries.get(r, ())), r in manifests) for r in ranks}


def is_headless(folder: Path) -> bool:
    """Whether parts of a cache lie in a folder and its header does not: the header was lost, since a writer begins with it.

    A folder with neither is what a kill or a full disk at a writer's very start leaves; the next writer goes on in it.
    """
    return folder.is_dir() and not (folder / HEADER_FILE).exists() and bool(list_ranks(folder))
