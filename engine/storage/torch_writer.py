"""Write torch's zip format with NumPy alone, readable by torch.load, also with weights_only=True."""

from __future__ import annotations

import io
import struct
import zipfile
from collections import OrderedDict

import numpy as np

from .atomic import PathLike, atomic_file

_STORAGES = {
    "|b1": "BoolStorage",
    "|u1": "ByteStorage",
    "|i1": "CharStorage",
    "<i2": "ShortStorage",
    "<i4": "IntStorage",
    "<i8": "LongStorage",
    "<f2": "HalfStorage",
    "<f4": "FloatStorage",
    "<f8": "DoubleStorage",
    "<c8": "ComplexFloatStorage",
    "<c16": "ComplexDoubleStorage",
}
_DEPTH = 100  # far beyond any checkpoint, and what stops a tree that contains itself
_ORDERED_DICT = b"ccollections\nOrderedDict\n)R"


def write_torch(path: PathLike, tree: object) -> None:
    """Atomically write `tree` as torch.save would.

    Args:
        tree: Nested dict, OrderedDict, list, tuple, int, float, str, None, bool and NumPy arrays, which torch.load gives back
            as CPU tensors (boolean, integer, float16/32/64, complex). NumPy numbers become plain ones. An array that occurs
            twice is stored once and shared, as torch does with tensors.

    Raises:
        ValueError: something else is in `tree`; its place is named.
        LussError: the disk is full or the folder not writable; the old file stays.
    """
    writer = _Tree()
    writer.add(tree, "tree")
    with atomic_file(path, size=sum(a.nbytes for a in writer.arrays)) as stream, zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        _add_entry(archive, "data.pkl", b"\x80\x02" + writer.pickle.getvalue() + b".")
        _add_entry(archive, "byteorder", b"little")
        for key, array in enumerate(writer.arrays):
            _add_entry(archive, f"data/{key}", memoryview(array.reshape(-1).view(np.uint8)))
        _add_entry(archive, "version", b"3\n")


def _add_entry(archive: zipfile.ZipFile, name: str, content: bytes | memoryview) -> None:
    with archive.open(zipfile.ZipInfo(f"archive/{name}"), "w", force_zip64=len(content) > 1 << 30) as entry:
        entry.write(content)


class _Tree:
    """Emits a protocol-2 pickle (the opcodes torch's own restricted reader knows) and collects the arrays it refers to."""

    def __init__(self) -> None:
        self.pickle = io.BytesIO()
        self.arrays: list[np.ndarray] = []  # by storage key
        self._keys: dict[int, int] = {}  # id of an array of the tree -> storage key; the tree keeps them alive

    def add(self, value: object, place: str, depth: int = 0) -> None:
        emit = self.pickle.write
        if depth > _DEPTH:
            raise ValueError(f"tree is nested more than {_DEPTH} deep, or contains itself, at {place[:60]}...")
        if isinstance(value, np.generic):
            value = value.item()
        if value is None:
            emit(b"N")
        elif isinstance(value, bool):
            emit(b"\x88" if value else b"\x89")
        elif isinstance(value, int):
            self._add_integer(value)
        elif isinstance(value, float):
            emit(b"G" + struct.pack(">d", value))
        elif isinstance(value, str):
            raw = value.encode("utf-8", "surrogatepass")
            emit(b"X" + struct.pack("<I", len(raw)) + raw)
        elif isinstance(value, np.ndarray):
            self._add_array(value, place)
        elif isinstance(value, dict):
            emit(_ORDERED_DICT if isinstance(value, OrderedDict) else b"}")
            emit(b"(")
            for key, item in value.items():
                if not isinstance(key, (str, int, float, bool, type(None))):
                    raise ValueError(f"{place} has a key of type {type(key).__name__}; expected text or a number")
                self.add(key, place)
                self.add(item, f"{place}[{key!r}]", depth + 1)
            emit(b"u")
        elif isinstance(value, list):
            emit(b"](")
            for index, item in enumerate(value):
                self.add(item, f"{place}[{index}]", depth + 1)
            emit(b"e")
        elif isinstance(value, tuple):
            emit(b"(")
            for index, item in enumerate(value):
                self.add(item, f"{place}[{index}]", depth + 1)
            emit(b"t")
        else:
            raise ValueError(f"{place} is a {type(value).__name__}; expected dict, list, tuple, number, text, None or a NumPy array")

    def _add_integer(self, value: int) -> None:
        if -(1 << 31) <= value < 1 << 31:
            self.pickle.write(b"J" + struct.pack("<i", value))
            return
        raw = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
        if len(raw) > 255:
            raise ValueError(f"an integer of {len(raw)} bytes does not fit")
        self.pickle.write(b"\x8a" + bytes([len(raw)]) + raw)

    def _add_array(self, value: np.ndarray, place: str) -> None:
        dtype = value.dtype.newbyteorder("<")
        if dtype.str not in _STORAGES:
            raise ValueError(f"{place} has dtype {value.dtype}, which torch files do not have")
        key = self._keys.get(id(value))
        if key is None:
            key = self._keys[id(value)] = len(self.arrays)
            self.arrays.append(np.asarray(value, dtype=dtype, order="C"))
        emit = self.pickle.write
        emit(b"ctorch._utils\n_rebuild_tensor_v2\n((")
        self.add("storage", place)
        emit(b"ctorch\n" + _STORAGES[dtype.str].encode() + b"\n")
        self.add(str(key), place)
        self.add("cpu", place)
        self.add(value.size, place)
        emit(b"tQ")
        self.add(0, place)
        self.add(tuple(value.shape), place)
        strides = [1]
        for length in value.shape[:0:-1]:
            strides.append(strides[-1] * max(length, 1))
        self.add(tuple(strides[::-1]) if value.ndim else (), place)
        emit(b"\x89" + _ORDERED_DICT + b"tR")
