"""A small data set with valid label maps, and a zip of entries that can be made wrong in any way a zip can be."""

from __future__ import annotations

import io
import json
import stat
import struct
import warnings
import zipfile
import zlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from luss.benchmark.label_map import encode_label_map
from luss.benchmark.submission_texts import LABELS, MethodText

CLASSES = ("n00000001", "n00000002", "n00000003")
PER_CLASS = 3
K = len(CLASSES)
CLUSTERS = 5
MATCH = {1: 3, 2: 1, 3: 0, 4: 2, 5: 1}
METHOD = MethodText("PASS", "the set itself", "SSL", "ResNet-18", "none", "a test")


def size_of(number: int) -> tuple[int, int]:
    """(width, height) of the test image of this number; never square."""
    return 12 + number, 40 - number


def ids_of(number: int, top: int, rng: np.random.Generator) -> np.ndarray:
    """A label map of the image's size in which 0 and several ids occur."""
    width, height = size_of(number)
    ids = rng.integers(0, top + 1, (height, width))
    ids[0, :3] = (0, 1, 2)
    return ids


def keys() -> list[str]:
    return [f"{name}/ILSVRC2012_val_{number:08d}" for number, name in enumerate(np.repeat(CLASSES, PER_CLASS))]


def make_data(root: Path) -> Path:
    """<root>/test/<class>/*.JPEG and <root>/train/<class>/."""
    for number, key in enumerate(keys()):
        path = root / "test" / f"{key}.JPEG"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size_of(number)).save(path)
        (root / "train" / path.parent.name).mkdir(parents=True, exist_ok=True)
    return root


def valid_maps(top: int = K, seed: int = 0) -> dict[str, bytes]:
    """{<class>/<stem>.png: bytes} with ids up to `top`."""
    rng = np.random.default_rng(seed)
    return {f"{key}.png": encode_label_map(ids_of(number, top, rng)) for number, key in enumerate(keys())}


def write_maps(root: Path, maps: dict[str, bytes]) -> Path:
    for name, data in maps.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return root


@dataclass(frozen=True)
class Entry:
    """One entry of a zip to be written."""

    name: str
    data: bytes
    compression: int = zipfile.ZIP_STORED
    mode: int = stat.S_IFREG | 0o644


def valid_entries(match: bool, seed: int = 0) -> list[Entry]:
    maps = valid_maps(CLUSTERS if match else K, seed)
    entries = [Entry(name, data) for name, data in maps.items()] + [Entry("method.txt", METHOD.text().encode())]
    if match:
        entries.append(Entry("match.json", match_text(MATCH)))
    return entries


def match_text(match: dict) -> bytes:
    return json.dumps({**{str(key): value for key, value in match.items()}, "0": 0}).encode()


def method_lines() -> list[str]:
    lines = METHOD.text().split("\n")
    assert len(lines) == len(LABELS)
    return lines


def zip_bytes(entries: list[Entry]) -> bytes:
    stream = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(stream, "w") as archive:
        warnings.simplefilter("ignore")  # a name that is there already
        for entry in entries:
            info = zipfile.ZipInfo(entry.name)
            info.create_system, info.external_attr, info.compress_type = 3, entry.mode << 16, entry.compression
            archive.writestr(info, entry.data)
    return stream.getvalue()


def changed(entries: list[Entry], position: int, **changes) -> list[Entry]:
    return [replace(entry, **changes) if number == position else entry for number, entry in enumerate(entries)]


def patch_directory(data: bytes, position: int, offset: int, form: str, value: int) -> bytes:
    """Overwrite a field of an entry in the zip's list of entries; `offset` counts from the record's signature."""
    place = data.find(b"PK\1\2")
    for _ in range(position):
        place = data.find(b"PK\1\2", place + 4)
    field = struct.pack(form, value)
    return data[: place + offset] + field + data[place + offset + len(field) :]


def png(width: int, height: int, depth: int, colour: int, raw: bytes) -> bytes:
    """A PNG whose header says this, whatever the pixels are."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")


def saved(array: np.ndarray, kind: str = "PNG", palette: bool = False) -> bytes:
    image = Image.new("P", array.shape[::-1]) if palette else Image.fromarray(array)
    if palette:
        image.putpalette([5, 6, 7] * 256)
        image.putdata(array.ravel().tolist())
    stream = io.BytesIO()
    image.save(stream, kind)
    return stream.getvalue()
