"""The list of a process's committed shards: lines of JSON, each behind its own checksum, only ever appended."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from ..runtime.errors import LussError
from ..storage.atomic import describe_bytes, flush_folder, parse_json, write_bytes
from ..storage.fingerprint import canonical_json
from .layout import checksum

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True)
class Manifest:
    """Lines in order; `damaged` are the numbers (from 1) of those that fail their checksum, `torn` tells of a last line without end."""

    lines: tuple[dict, ...]
    damaged: tuple[int, ...] = ()
    torn: bool = False


def encode_line(record: dict) -> bytes:
    body = canonical_json(record).encode()
    return checksum(body).encode() + b" " + body + b"\n"


def read_manifest(path: Path) -> Manifest:
    """Content of a manifest; an absent one has no lines.

    Raises:
        LussError: it cannot be read.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return Manifest(())
    except OSError as error:
        raise LussError(f"{path}: cannot be read ({error.strerror}); expected the list of a process's shards: make it readable") from error
    pieces = content.split(b"\n")
    torn = pieces.pop() != b""  # a writer was killed in the middle of it: nothing was committed by it
    lines, damaged = [], []
    for number, piece in enumerate(pieces, 1):
        record = _decode(piece)
        if record is None:
            damaged.append(number)
        else:
            lines.append(record)
    return Manifest(tuple(lines), tuple(damaged), torn)


def _decode(piece: bytes) -> dict | None:
    if piece[16:17] != b" " or checksum(piece[17:]).encode() != piece[:16]:
        return None
    try:
        record = parse_json(piece[17:])
    except (ValueError, json.JSONDecodeError):
        return None
    return record if isinstance(record, dict) else None


def append_line(path: Path, record: dict) -> None:
    """Append a line and flush it to the disk; a line that does not go in whole is taken out again.

    Raises:
        LussError: the disk is full, or the file cannot be opened. OSError: any other failure.
    """
    line = encode_line(record)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    except OSError as error:
        raise LussError(f"{path}: cannot be written ({error.strerror}); expected a writable file in a writable folder") from error
    try:
        before = os.fstat(handle).st_size
        try:
            rest = memoryview(line)
            while rest:
                rest = rest[os.write(handle, rest) :]
            os.fsync(handle)
        except OSError as error:
            with contextlib.suppress(OSError):  # a torn line is dropped by the next reader anyway
                os.ftruncate(handle, before)
            if error.errno not in _FULL:
                raise
            free = describe_bytes(shutil.disk_usage(path.parent).free)
            raise LussError(
                f"{path}: a line could not be added ({error.strerror}): needed {describe_bytes(len(line))}, free {free}; "
                "make room and start again; the shards listed in it are untouched"
            ) from error
    finally:
        os.close(handle)
    if before == 0:
        flush_folder(path.parent)


def rewrite(path: Path, lines: list[dict]) -> None:
    """Atomically make `lines` the whole content, after a repair."""
    write_bytes(path, b"".join(encode_line(line) for line in lines))
