"""Named arrays and a JSON meta record in one file, every byte of it under a checksum.

The file is an uncompressed zip of .npy entries plus `meta.json`, so `numpy.load` and `unzip` open it. NumPy's own savez was
not enough: zip's CRC-32 covers the entries' contents but not the zip's headers and directory, so that a flipped byte there is
not noticed, or shows as a stray KeyError. So the file ends in a zip comment (every zip may have one) of fixed length:

    luss-arrays 1 <offset of meta.json's content> <its length> <BLAKE2b-128 of all bytes before it except the arrays' values>

and meta.json holds for each array its name, dtype, shape, offset and the BLAKE2b-128 of its values. A reader needs the comment,
the meta record and one pass over the values it wants; it never allocates more than the file holds.
"""

from __future__ import annotations

import hashlib
import io
import json
import mmap
import os
import struct
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from ..runtime.errors import LussError
from .atomic import PathLike, atomic_file, parse_json, plain

_MARK = b"luss-arrays 1 "
_DIGEST = 32  # hexadecimal digits
_COMMENT = len(_MARK) + 17 + 17 + _DIGEST
_END = struct.Struct("<4s4H2LH")  # zip's end-of-directory record, just before the comment
_TAIL = _END.size + _COMMENT
_DTYPES = {np.dtype(c).newbyteorder("<").str for c in ("?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16")}
_DIMENSIONS = 32


def save_arrays(path: PathLike, arrays: Mapping[str, np.ndarray], meta: dict) -> None:
    """Atomically write `arrays` and `meta` to `path`.

    Args:
        arrays: Any shape, also 0-d and empty; boolean, integer, float or complex. Names may contain "/" and ".".
        meta: Anything with a JSON form; tuples come back as lists, NumPy numbers as plain ones.

    Raises:
        ValueError: an array's name or dtype, or something in `meta`, cannot be stored.
        LussError: the disk is full or the folder not writable; the old file stays.
    """
    ready = {_checked_name(name): _storable(name, value) for name, value in arrays.items()}
    try:
        json.dumps(meta, default=plain)
    except (TypeError, RecursionError) as error:
        raise ValueError(f"meta has no JSON form: {error}") from error
    records: list[dict] = []
    with atomic_file(path, "w+b", size=sum(a.nbytes + 400 for a in ready.values())) as stream:
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
            for name, array in ready.items():
                records.append(_write_array(archive, stream, name, array))
            text = json.dumps({"arrays": records, "meta": meta}, default=plain).encode()
            with archive.open(zipfile.ZipInfo("meta.json"), "w") as entry:
                offset = stream.tell()
                entry.write(text)
            archive.comment = b"%s%016x %016x " % (_MARK, offset, len(text)) + b"0" * _DIGEST
        size = stream.seek(0, os.SEEK_END)
        digest = _structure_digest(stream, size, records)
        stream.seek(size - _DIGEST)
        stream.write(digest)


def load_arrays(path: PathLike, *, prefix: str = "", remedy: str = "delete it and make it again") -> tuple[dict[str, np.ndarray], dict]:
    """Read what `save_arrays` wrote.

    Args:
        prefix: Read (and verify) only the arrays whose names begin with it.
        remedy: What to do about a damaged file, for the error.

    Returns:
        arrays: {name: fresh writable array} in the order they were saved.
        meta: As saved, after a way through JSON.

    Raises:
        LussError: the file is absent, not of this format, cut off, or a byte of it has changed; names file and array.
    """
    try:
        with open(path, "rb", buffering=0) as stream:
            return _load(stream, path, prefix, remedy)
    except OSError as error:
        raise LussError(f"{path}: cannot be read ({error.strerror or error}); expected a file of arrays") from error


@dataclass(frozen=True)
class MappedArrays:
    """Arrays whose values stay in the file; every process that maps it shares one copy in memory."""

    arrays: dict[str, np.ndarray]  # read-only
    meta: dict
    identity: str  # 32 hexadecimal digits of all bytes: equal files have equal ones


def map_arrays(path: PathLike, *, identity: str = "", remedy: str = "delete it and make it again") -> MappedArrays:
    """Map what `save_arrays` wrote into memory.

    The file must not be written in place while it is mapped; `save_arrays` never does.

    Args:
        identity: that of the file as another process found it when it verified it; the values are not verified again.
        remedy: What to do about a damaged file, for the error.

    Raises:
        LussError: as `load_arrays`; the file is another one than `identity` says.
    """
    try:
        with open(path, "rb", buffering=0) as stream:
            size = stream.seek(0, os.SEEK_END)
            if size == 0:
                raise LussError(f"{path}: the file is empty: {remedy}")
            records, meta, found = _checked_meta(stream, path, size, remedy)
            if identity and found.decode() != identity:
                raise LussError(f"{path}: it was replaced by another file while it was in use: start again")
            content = mmap.mmap(stream.fileno(), size, access=mmap.ACCESS_READ)
    except OSError as error:
        raise LussError(f"{path}: cannot be read ({error.strerror or error}); expected a file of arrays") from error
    arrays = {}
    for record in records:
        array = np.ndarray(record["shape"], np.dtype(record["dtype"]), content, record["offset"])
        values = np.ndarray(array.nbytes, np.uint8, content, record["offset"])
        if not identity and _digest([values]).decode() != record["digest"]:
            raise _damaged(path, record["name"], remedy)
        arrays[record["name"]] = array
    return MappedArrays(arrays, meta, found.decode())


def is_arrays_file(path: PathLike) -> bool:
    """Whether `path` ends as a file of `save_arrays` does."""
    with open(path, "rb") as stream:
        size = stream.seek(0, os.SEEK_END)
        stream.seek(max(0, size - _COMMENT))
        return stream.read(len(_MARK)) == _MARK


def _checked_name(name: str) -> str:
    if not isinstance(name, str) or not name or len(name) > 1000 or name.startswith("/") or "\0" in name or "\\" in name or ".." in name.split("/"):
        raise ValueError(f"arrays: {name!r} is no name for an array; expected up to 1000 characters of text, no leading '/', no '..', no backslash")
    return name


def _storable(name: str, value: np.ndarray) -> np.ndarray:
    """`value` as a C-ordered little-endian array; 0-d stays 0-d."""
    if not isinstance(value, (np.ndarray, np.generic)):
        raise ValueError(f"arrays[{name!r}] is a {type(value).__name__}; expected a NumPy array")
    array = np.asarray(value)
    little = array.dtype.newbyteorder("<")
    if little.str not in _DTYPES:
        raise ValueError(f"arrays[{name!r}] has dtype {array.dtype}; expected a boolean, integer, float or complex type of at most 16 bytes")
    return np.asarray(array, dtype=little, order="C")


def _write_array(archive: zipfile.ZipFile, stream: BinaryIO, name: str, array: np.ndarray) -> dict:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, np.lib.format.header_data_from_array_1_0(array))
    values = array.reshape(-1).view(np.uint8)
    with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=array.nbytes > 1 << 30) as entry:
        entry.write(header.getvalue())
        offset = stream.tell()
        entry.write(values)
    return {"name": name, "dtype": array.dtype.str, "shape": list(array.shape), "offset": offset, "digest": _digest([values]).decode()}


def _digest(blocks: Iterable[bytes | np.ndarray]) -> bytes:
    digest = hashlib.blake2b(digest_size=_DIGEST // 2)
    for block in blocks:
        digest.update(block)
    return digest.hexdigest().encode()


def _structure_digest(stream: BinaryIO, size: int, records: list[dict]) -> bytes:
    """Digest of all bytes of the file except the arrays' values and the digest itself."""

    def gaps():
        position = 0
        for record in records:
            stream.seek(position)
            yield _read(stream, record["offset"] - position)
            position = record["offset"] + _count_bytes(record)
        stream.seek(position)
        yield _read(stream, size - _DIGEST - position)

    return _digest(gaps())


def _count_bytes(record: dict) -> int:
    count = np.dtype(record["dtype"]).itemsize
    for length in record["shape"]:
        count *= length
    return count


def _read(stream: BinaryIO, count: int) -> bytearray:
    block = bytearray(count)
    _fill(stream, memoryview(block))
    return block


def _fill(stream: BinaryIO, view: memoryview) -> None:
    """Read exactly len(view) bytes; one call may return fewer (the kernel stops at 2 GB)."""
    done = 0
    while done < len(view):
        count = stream.readinto(view[done:])
        if not count:
            raise OSError(f"it ended {len(view) - done} bytes early while it was read")
        done += count


def _load(stream: BinaryIO, path: PathLike, prefix: str, remedy: str) -> tuple[dict[str, np.ndarray], dict]:
    size = stream.seek(0, os.SEEK_END)
    if size == 0:
        raise LussError(f"{path}: the file is empty: {remedy}")
    records, meta, _ = _checked_meta(stream, path, size, remedy)
    arrays = {}
    for record in records:
        name = record["name"]
        if not name.startswith(prefix):
            continue
        array = np.empty(record["shape"], dtype=np.dtype(record["dtype"]))
        values = array.reshape(-1).view(np.uint8)
        stream.seek(record["offset"])
        _fill(stream, memoryview(values))
        if _digest([values]).decode() != record["digest"]:
            raise _damaged(path, name, remedy)
        arrays[name] = array
    return arrays, meta


def _damaged(path: PathLike, name: str, remedy: str) -> LussError:
    return LussError(f"{path}: array {name} is damaged (its checksum does not hold): {remedy}")


def _checked_meta(stream: BinaryIO, path: PathLike, size: int, remedy: str) -> tuple[list[dict], dict, bytes]:
    """The array records, the caller's meta, and the digest of both and all headers, which holds the digests of the values too."""
    records, meta, stored = _read_meta(stream, path, size, remedy)
    if _structure_digest(stream, size, records) != stored:
        raise LussError(f"{path}: its headers are damaged (their checksum does not hold): {remedy}")
    return records, meta, stored


def _read_meta(stream: BinaryIO, path: PathLike, size: int, remedy: str) -> tuple[list[dict], dict, bytes]:
    """The array records and the caller's meta, checked for sense before anything is allocated from them; the stored digest."""
    stream.seek(max(0, size - _TAIL))
    tail = bytes(_read(stream, min(size, _TAIL)))
    comment = tail[_END.size :]
    if len(tail) < _TAIL or tail[:4] != b"PK\x05\x06" or not comment.startswith(_MARK):
        raise LussError(f"{path}: cut off or damaged: its {size} bytes do not end as a file of arrays does: {remedy}")
    try:
        offset, length = (int(part, 16) for part in comment[len(_MARK) :].split()[:2])
        if not 0 <= offset <= offset + length <= size - _TAIL:
            raise ValueError("meta record outside the file")
        stream.seek(offset)
        content = parse_json(_read(stream, length))
        records, meta = content["arrays"], content["meta"]
        position = 0
        for record in records:
            name, shape = record["name"], record["shape"]
            if not isinstance(name, str) or record["dtype"] not in _DTYPES or not isinstance(shape, list) or len(shape) > _DIMENSIONS:
                raise ValueError(f"array {name!r}: no such dtype or shape")
            if not all(type(n) is int and 0 <= n <= size for n in shape) or type(record["offset"]) is not int:
                raise ValueError(f"array {name!r}: shape {shape}")
            if not position <= record["offset"] <= record["offset"] + _count_bytes(record) <= offset:
                raise ValueError(f"array {name!r}: its values lie outside the file")
            position = record["offset"] + _count_bytes(record)
    except (ValueError, KeyError, TypeError) as error:
        raise LussError(f"{path}: its meta record is damaged ({error}): {remedy}") from error
    return records, meta, comment[-_DIGEST:]
