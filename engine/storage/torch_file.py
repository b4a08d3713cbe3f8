"""Read and write torch's checkpoint files with NumPy alone, whatever their suffix, executing nothing from them.

Known: torch's zip format (1.6 and later), its legacy format (0.1.10 to 1.5), and Jittor's pickle (spec/pass.md 1.3: a pickle,
its SHA-1, and eight letters).
"""

from __future__ import annotations

import hashlib
import mmap
import os
import re
import struct
import zipfile
import zlib
from typing import BinaryIO

import numpy as np

from ..runtime.errors import LussError
from .atomic import PathLike
from .foreign_values import ALLOWED, STORAGES, Budget, Builder, Storage, item_size, storage_values
from .pickle_reader import Global, PickleError, PickleReader
from .torch_writer import write_torch

__all__ = ["read_torch", "write_torch"]

_MAGIC = 0x1950A86A20F9469CFC6C  # first pickle of the legacy format
_JITTOR_MARK = b"HCAJSLHD"
_JITTOR_TAIL = 20 + len(_JITTOR_MARK)
_PICKLE_LIMIT = 256 << 20  # bytes of a zip file's data.pkl, which holds no tensor content
_AGAIN = "download or copy it again"


def read_torch(path: PathLike) -> object:
    """The content of a checkpoint file as dictionaries, lists, numbers and text with NumPy arrays for tensors.

    bf16 becomes float32, every other type stays; all arrays are contiguous, writable and own their memory, also where tensors
    shared it. `argparse.Namespace` becomes a dictionary; a dtype or type stored as such a `pickle_reader.Global`.

    Raises:
        LussError: absent, empty, a web page, cut off, damaged, of an unknown format, or asking for anything but plain values;
            the message names the file and the global it asked for. Nothing is ever imported or called for the file.
    """
    where = os.fspath(path)
    try:
        with open(path, "rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            if size == 0:
                raise LussError(f"{where}: the file is empty: {_AGAIN}")
            head = stream.read(512)
            if head[:2] == b"PK":
                return _read_zip(stream, where, size)
            if head[0] == 0x80 and head[8:10] != b'{"':  # a safetensors header may be 128 bytes long
                data = memoryview(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ))
                return _read_pickles(data, where)
    except OSError as error:
        raise LussError(f"{where}: cannot be read ({error.strerror or error}); expected a checkpoint file") from error
    raise LussError(f"{where}: {_describe(head)}; expected a file of torch.save or of Jittor's save")


def _describe(head: bytes) -> str:
    """What a file that is no checkpoint is, by its first bytes."""
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if re.match(rb"<(!doctype|html|head|body|\?xml|!--|script)", start):
        return "this is a web page, not a checkpoint: the download gave an error or log-in page; open the link in a browser, save the file itself"
    if start.startswith(b"version https://git-lfs"):
        return "this is a pointer of Git LFS, not the file itself: run  git lfs pull"
    if head[:2] == b"\x1f\x8b":
        return "this is a gzip archive: unpack it first"
    if head[257:262] == b"ustar":
        return "this is a tar archive: unpack it, or, from a torch before 0.1.10, save it again with a newer one"
    if head[8:10] == b'{"' or start.startswith((b"{", b"[")):
        return "this is JSON or safetensors, not a torch file"
    return f"not a known checkpoint format (it begins with {head[:8]!r})"


def _reader(data: memoryview, where: str, builder: Builder, position: int = 0, persistent=None) -> PickleReader:
    return PickleReader(data, where, position=position, allowed=ALLOWED, call=builder.call, build=builder.build, persistent=persistent)


# -- zip format


def _read_zip(stream: BinaryIO, where: str, size: int) -> object:
    try:
        with zipfile.ZipFile(stream) as archive:
            return _read_archive(archive, where, size)
    except zipfile.BadZipFile as error:
        raise LussError(f"{where}: cut off or damaged ({error}; {size} bytes): {_AGAIN}") from error
    except (EOFError, struct.error, zlib.error, RuntimeError, NotImplementedError, ValueError, KeyError, IndexError, OverflowError) as error:
        raise LussError(f"{where}: damaged ({error}): {_AGAIN}") from error


def _read_archive(archive: zipfile.ZipFile, where: str, size: int) -> object:
    pickles = [name for name in archive.namelist() if re.match(r"([^/]+/)?data\.pkl\Z", name)]
    if len(pickles) != 1:
        found = ", ".join(archive.namelist()[:5]) or "nothing"
        raise LussError(f"{where}: a zip archive without one data.pkl, so not written by torch.save; it holds {found}")
    root = pickles[0][: -len("data.pkl")]
    big_endian = f"{root}byteorder" in archive.NameToInfo and bytes(_entry(archive, f"{root}byteorder", 16)) == b"big"
    budget = Budget(size)
    unread = size  # honest entries do not overlap, so that together they are no larger than the file
    storages: dict[str, Storage] = {}

    def persistent(identifier: object) -> Storage:
        nonlocal unread
        dtype, key, length = _storage_identifier(identifier)[:3]
        known = storages.get(key)
        if known is None:
            unread -= length * item_size(dtype)
            if unread < 0:
                raise ValueError("its storages together claim more bytes than the file has")
            raw = _entry(archive, f"{root}data/{key}", length * item_size(dtype), exact=True)
            known = storages[key] = Storage(dtype, length, storage_values(raw, dtype, big_endian))
        if (known.dtype, known.length) != (dtype, length):
            raise ValueError(f"storage {key!r} is used with two types or lengths")
        return known

    data = memoryview(_entry(archive, pickles[0], _PICKLE_LIMIT))
    return _reader(data, where, Builder(budget), persistent=persistent).read()


def _entry(archive: zipfile.ZipFile, name: str, limit: int, exact: bool = False) -> np.ndarray:
    """Content of an entry as uint8, of at most (or exactly) `limit` bytes; its CRC is checked."""
    info = archive.NameToInfo.get(name)
    if info is None:
        raise ValueError(f"no entry {name[:100]!r}")
    if info.compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"entry {name[:100]!r} is compressed, which torch.save never does")
    if info.file_size > limit or info.file_size != info.compress_size or (exact and info.file_size != limit):
        raise ValueError(f"entry {name[:100]!r} has {info.file_size} bytes, {limit} were expected")
    with archive.open(info) as stream:
        content = np.empty(info.file_size, np.uint8)
        view = memoryview(content)
        done = 0
        while done < len(view):
            count = stream.readinto(view[done : done + (1 << 24)])
            if not count:
                raise EOFError(f"entry {name!r} is cut off")
            done += count
        stream.read(1)  # at the end zipfile compares the CRC
    return content


def _storage_identifier(identifier: object) -> tuple[str, str, int, object]:
    """(dtype, key, length, view) of torch's ('storage', class, key, device, length[, view])."""
    if not isinstance(identifier, tuple) or len(identifier) not in (5, 6) or identifier[0] != "storage":
        raise ValueError("a persistent id that is no storage")
    kind, key, length = identifier[1], identifier[2], identifier[4]
    if not isinstance(kind, Global) or kind.name not in STORAGES or not isinstance(key, str) or type(length) is not int or length < 0:
        raise ValueError("a storage of unknown type")
    return STORAGES[kind.name], key, length, identifier[5] if len(identifier) == 6 else None


# -- legacy and Jittor format


def _read_pickles(data: memoryview, where: str) -> object:
    if len(data) > _JITTOR_TAIL and data[-len(_JITTOR_MARK) :] == _JITTOR_MARK:
        content, checksum = data[:-_JITTOR_TAIL], data[-_JITTOR_TAIL : -len(_JITTOR_MARK)]
        if hashlib.sha1(content).digest() != checksum:
            raise LussError(f"{where}: damaged: its SHA-1 does not hold: {_AGAIN}")
        data = content
    first = _reader(data, where, Builder(Budget(len(data))))
    value = first.read()
    if type(value) is int and value == _MAGIC:
        return _read_legacy(data, where, first.position)
    if first.position != len(data):
        rest = len(data) - first.position
        raise LussError(f"{where}: cut off or damaged: the {rest} bytes behind its pickle do not end as Jittor's checksum does: {_AGAIN}")
    return value


def _read_legacy(data: memoryview, where: str, position: int) -> object:
    """Protocol number, machine, the tree, the keys of the storages, then their contents: so the tree is parsed twice."""
    budget = Budget(len(data))
    plain = Builder(budget)
    protocol = _reader(data, where, plain, position)
    if protocol.read() != 1001:
        raise LussError(f"{where}: a legacy torch file of an unknown protocol")
    machine = _reader(data, where, plain, protocol.position)
    facts = machine.read()
    big_endian = isinstance(facts, dict) and facts.get("little_endian") is False
    storages: dict[str, Storage] = {}

    def declare(identifier: object) -> Storage:
        dtype, key, length, _ = _storage_identifier(identifier)
        known = storages.setdefault(key, Storage(dtype, length, None))
        if (known.dtype, known.length) != (dtype, length):
            raise ValueError(f"storage {key!r} is used with two types or lengths")
        return known

    tree = _reader(data, where, plain, machine.position, declare)
    tree.read()
    listed = _reader(data, where, plain, tree.position)
    keys = listed.read()
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys) or sorted(keys) != sorted(storages):
        raise LussError(f"{where}: damaged: its list of storages does not fit its tensors: {_AGAIN}")
    position = listed.position
    for key in keys:
        storage = storages[key]
        count = storage.length * item_size(storage.dtype)
        header, content = data[position : position + 8], data[position + 8 : position + 8 + count]
        if len(header) < 8 or len(content) < count:
            raise PickleError(f"{where}: cut off within storage {key!r}: {_AGAIN}")
        if struct.unpack(">q" if big_endian else "<q", header)[0] != storage.length:
            raise LussError(f"{where}: damaged: storage {key!r} has another length than its tensors say: {_AGAIN}")
        storage.values = storage_values(np.frombuffer(content, np.uint8).copy(), storage.dtype, big_endian)
        position += 8 + count

    def find(identifier: object) -> Storage:
        view = _storage_identifier(identifier)[3]
        whole = storages[identifier[2]]
        if view is None:
            return whole
        _, offset, length = view  # a storage that is part of another, written by torch before 0.4
        if type(offset) is not int or type(length) is not int or not 0 <= offset <= offset + length <= whole.length:
            raise ValueError("a storage view outside its storage")
        return Storage(whole.dtype, length, whole.values[offset : offset + length], taken=True)

    return _reader(data, where, Builder(Budget(len(data))), machine.position, find).read()
