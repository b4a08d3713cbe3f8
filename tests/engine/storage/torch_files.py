"""Make torch's zip and legacy files by hand, opcode by opcode, also wrong and hostile ones; independent of the code under test."""

from __future__ import annotations

import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np

MAGIC = 0x1950A86A20F9469CFC6C
ORDERED = b"ccollections\nOrderedDict\n)R"
CLASSES = {"f4": "Float", "f8": "Double", "f2": "Half", "bf16": "BFloat16", "b1": "Bool"}
CLASSES.update({"i8": "Long", "i4": "Int", "i2": "Short", "i1": "Char", "u1": "Byte"})


def text(value: str) -> bytes:
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def number(value: int) -> bytes:
    if 0 <= value < 256:
        return b"K" + bytes([value])
    raw = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(raw)]) + raw


def sequence(*items: bytes) -> bytes:
    return b"(" + b"".join(items) + b"t"


def mapping(items: dict[str, bytes], begin: bytes = b"}") -> bytes:
    return begin + b"(" + b"".join(text(key) + value for key, value in items.items()) + b"u"


def storage(dtype: str, key: str, length: int, view: bytes | None = None) -> bytes:
    """A persistent id; `view` (or b"N") only in legacy files."""
    parts = [text("storage"), f"ctorch\n{CLASSES[dtype]}Storage\n".encode(), text(key), text("cpu"), number(length)]
    return sequence(*parts, *([view] if view is not None else [])) + b"Q"


def tensor(store: bytes, offset: int, size: tuple, stride: tuple, function: str = "_rebuild_tensor_v2") -> bytes:
    parts = [store, number(offset), sequence(*map(number, size)), sequence(*map(number, stride)), b"\x89", ORDERED]
    return f"ctorch._utils\n{function}\n".encode() + sequence(*parts) + b"R"


def whole(array: np.ndarray, key: str, view: bytes | None = None) -> bytes:
    """Opcodes of a contiguous tensor that is all of its storage."""
    strides = tuple(step // array.itemsize for step in np.ascontiguousarray(array).strides)
    return tensor(storage(array.dtype.str[1:], key, array.size, view), 0, array.shape, strides)


def zip_file(path: Path, tree: bytes, storages: dict[str, bytes], *, order: bytes = b"little", compress: bool = False) -> Path:
    root = "archive/"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED) as archive:
        archive.writestr(f"{root}data.pkl", b"\x80\x02" + tree + b".")
        archive.writestr(f"{root}byteorder", order)
        for key, content in storages.items():
            archive.writestr(f"{root}data/{key}", content)
        archive.writestr(f"{root}version", b"3\n")
    return path


def legacy_bytes(tree: bytes, storages: dict[str, tuple], *, little: bool = True, keys: list | None = None, protocol: int = 1001) -> bytes:
    """storages: {key: (number of elements, content)}."""
    parts = [
        pickle.dumps(MAGIC, 2),
        pickle.dumps(protocol, 2),
        pickle.dumps({"protocol_version": 1001, "little_endian": little, "type_sizes": {"short": 2, "int": 4, "long": 4}}, 2),
        b"\x80\x02" + tree + b".",
        pickle.dumps(sorted(storages) if keys is None else keys, 2),
    ]
    for key in sorted(storages):
        length, content = storages[key]
        parts += [struct.pack("<q" if little else ">q", length), content]
    return b"".join(parts)
