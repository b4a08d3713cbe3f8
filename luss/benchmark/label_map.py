"""Label maps as PNG files: 8-bit RGB, id = R + 256 G, B = 0 (spec/pass.md 1.1). 0 = other, 1..K = category, 1000 = ignore.

Also read: RGBA (alpha passed over), palette (the index is the id, unless the colours look like ids), 8-bit and 16-bit grey (the grey value is
the id). The blue channel is passed over, as the published evaluators do.
"""

from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path
from typing import Union

import numpy as np
from PIL import Image

from engine.runtime.errors import LussError
from engine.storage.atomic import atomic_file
from luss.benchmark.png import SIGNATURE, decode_plain, encode_plain

IGNORE = 1000  # ground truth only: pixels that count nowhere
MAX_ID = 65535  # what two channels hold

PathLike = Union[str, "os.PathLike[str]"]

_COLOURS = {0: "grey", 2: "RGB", 3: "palette", 4: "grey + alpha", 6: "RGBA"}
_EXPECTED = "expected a PNG label map: 8-bit RGB with id = R + 256 G (8-bit RGBA, palette, and 8- or 16-bit grey are read too)"
_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, Image.DecompressionBombError)  # what Pillow raises on bad files


def read_label_map(path: PathLike) -> np.ndarray:
    """Ids of a label map file, (H, W) int32 in [0, 65535].

    Raises:
        LussError: absent, not a PNG, damaged, or a kind of PNG that holds no ids; the message names file and finding.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise LussError(f"{path}: cannot be read ({error.strerror}); {_EXPECTED}") from error
    return decode_label_map(data, name=os.fspath(path))


def decode_label_map(data: bytes, name: str = "label map") -> np.ndarray:
    """Ids in the bytes of a PNG, (H, W) int32; `name` stands in the error."""
    return decode_ids(data, name).astype(np.int32)


def decode_ids(data: bytes, name: str = "label map") -> np.ndarray:
    """Like `decode_label_map`, (H, W) uint16: what the evaluator's passes over pixels want. Beware of sums and differences in this type."""
    kind = _kind(data, name)
    plain = decode_plain(data)
    if plain is not None:
        return plain
    try:
        with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
            image.load()
            if kind in ("RGB", "RGBA"):
                # Four bytes a pixel is how Pillow holds RGB, so this packing copies once and R + 256 G is the low half of each word.
                raw = image.tobytes("raw", "RGBX" if image.mode == "RGB" else "RGBA")
                return np.frombuffer(raw, "<u2")[::2].astype(np.uint16).reshape(image.height, image.width)
            ids = np.asarray(image).astype(np.uint16)
            if kind == "palette":
                _refuse_coded_palette(ids, image.getpalette() or [], name)
            return ids
    except _DAMAGE as error:
        raise LussError(f"{name}: damaged or unreadable PNG ({error}); {_EXPECTED}; make or fetch the file again") from error


def encode_label_map(ids: np.ndarray) -> bytes:
    """PNG bytes of a label map.

    Args:
        ids: (H, W) integers in [0, 65535], H and W at least 1.
    """
    ids = np.asarray(ids)
    if ids.ndim != 2 or ids.size == 0 or ids.dtype.kind not in "iu":
        raise ValueError(f"ids: expected a non-empty (H, W) array of integers, found shape {ids.shape}, {ids.dtype}")
    low, high = int(ids.min()), int(ids.max())
    if low < 0 or high > MAX_ID:
        raise ValueError(f"ids: expected values in [0, {MAX_ID}], found {low}..{high}")
    return encode_plain(ids)


def write_label_map(path: PathLike, ids: np.ndarray, *, durable: bool = False) -> None:
    """Write a label map so that a reader finds the whole file or none; its folder must exist.

    Args:
        ids: (H, W) integers in [0, 65535].
        durable: flush to the disk at once. False suits stages that write thousands: they call
            `engine.storage.atomic.flush_file_system` once before their marker.
    """
    data = encode_label_map(ids)
    with atomic_file(path, size=len(data), durable=durable) as stream:
        stream.write(data)


def _refuse_coded_palette(ids: np.ndarray, palette: list[int], name: str) -> None:
    """LussError where the colours in use look like the benchmark's code for other ids than the indices.

    Tools that shrink PNG files turn an RGB label map into one with a palette; read by its indices it would give wrong figures without a word.
    """
    used = np.flatnonzero(np.bincount(ids.ravel(), minlength=256)[:256])
    colours = np.zeros((256, 3), np.int64)
    given = np.array(palette, np.int64).reshape(-1, 3)
    colours[: len(given)] = given
    codes = colours[used, 0] + 256 * colours[used, 1]
    if not colours[used, 2].any() and (codes <= IGNORE).all() and (codes != used).any():
        first = int(np.flatnonzero(codes != used)[0])
        raise LussError(
            f"{name}: found a palette PNG whose index {used[first]} has the colour of id {codes[first]}, so that either could be meant (the index is "
            f"read where colours cannot be ids); {_EXPECTED}; save it as RGB, or as 16-bit grey with the id as value"
        )


def _kind(data: bytes, name: str) -> str:
    """Colour type named in the header. Pillow alone would not do: it rescales 1-, 2- and 4-bit grey and cuts 16-bit RGB to 8 bits."""
    if not data.startswith(SIGNATURE) or data[12:16] != b"IHDR" or len(data) < 33:
        found = f"{len(data)} bytes that are no PNG" if data else "an empty file"
        raise LussError(f"{name}: found {found}; {_EXPECTED}")
    width, height, depth, colour = struct.unpack(">IIBB", data[16:26])
    kind = _COLOURS.get(colour, f"colour type {colour}")
    good = depth == 8 if kind in ("RGB", "RGBA") else depth <= 8 if kind == "palette" else kind == "grey" and depth in (8, 16)
    if not good:
        raise LussError(f"{name}: found a {depth}-bit {kind} PNG of {width} x {height} pixels; {_EXPECTED}")
    return kind
