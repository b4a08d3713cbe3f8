"""One label map of a submission, looked at from its bytes alone: size, mode and ids, with a bound on the memory that it can take."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Union

import numpy as np
from PIL import Image

from engine.runtime.errors import LussError
from luss.benchmark.label_map import IGNORE, decode_label_map

MAX_PIXELS = 32_000_000  # the largest image of ImageNet's training sample has 3.8 million
Allowed = Union[int, frozenset[int], None]
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOURS = {0: "grey", 2: "RGB", 3: "palette", 4: "grey + alpha", 6: "RGBA"}
_READABLE = ("8-bit RGB", "8-bit RGBA", "8-bit grey", "16-bit grey", *(f"{depth}-bit palette" for depth in (1, 2, 4, 8)))
_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, Image.DecompressionBombError)


@dataclass(frozen=True)
class Header:
    """What the first 33 bytes of a PNG say."""

    width: int
    height: int
    depth: int
    colour: str

    @property
    def mode(self) -> str:
        return f"{self.depth}-bit {self.colour}"

    @property
    def readable(self) -> bool:
        """Whether the mode holds ids: the benchmark's, or one that our own readers also take."""
        return self.mode in _READABLE

    @property
    def published(self) -> bool:
        """Whether it is the mode of the benchmark, 8-bit RGB."""
        return self.mode == "8-bit RGB"


@dataclass(frozen=True)
class MapContent:
    """A decoded map: its header, the distinct ids in order, and whether a channel holds something that carries no id."""

    header: Header
    ids: tuple[int, ...]
    blue: bool


def read_header(data: bytes) -> Header:
    """Header of a PNG.

    Raises:
        LussError: no PNG, or one without pixels; the message is the finding alone, for the caller to put the name before it.
    """
    if not data:
        raise LussError("found an empty file; expected a PNG label map")
    if not data.startswith(_SIGNATURE) or data[12:16] != b"IHDR" or len(data) < 33:
        raise LussError(f"found {len(data)} bytes that are no PNG; expected a PNG label map")
    width, height, depth, colour = struct.unpack(">IIBB", data[16:26])
    if width == 0 or height == 0:
        raise LussError(f"found a PNG of {width} x {height} pixels; expected the size of the image")
    return Header(width, height, depth, _COLOURS.get(colour, f"colour type {colour}"))


def read_content(data: bytes, size: tuple[int, int] | None) -> MapContent:
    """Everything that is checked of a map. Nothing is decoded before the header's size is found to be in order.

    Args:
        data: the file's bytes.
        size: (width, height) of its image; None = unknown, and then at most `MAX_PIXELS` are decoded.

    Raises:
        SizeError: another size than that of its image, or more pixels than may be decoded.
        ModeError: a mode that holds no ids.
        LussError: as `read_header`, and damage.
    """
    header = read_header(data)
    found = f"{header.width} x {header.height}"
    if size is not None and (header.width, header.height) != size:
        turned = "; width and height are exchanged" if (header.height, header.width) == size else ""
        raise SizeError(f"found {found} pixels (width x height), expected the {size[0]} x {size[1]} of its image{turned}")
    if size is None and header.width * header.height > MAX_PIXELS:
        raise SizeError(f"found a header of {found} pixels, more than any image of the benchmark has (limit {MAX_PIXELS}); it was not decoded")
    if not header.readable:
        raise ModeError(f"found a PNG of mode {header.mode}, which holds no ids; expected 8-bit RGB, id = R + 256 G")
    try:
        ids, blue = _rgb_ids(data) if header.published else (np.unique(decode_label_map(data, "map")), False)
    except LussError as error:
        raise LussError(str(error).partition(": ")[2]) from error
    except _DAMAGE as error:
        raise LussError(f"damaged or unreadable PNG ({' '.join(str(error).split())})") from error
    return MapContent(header, tuple(int(value) for value in ids), blue)


class ModeError(LussError):
    """A PNG of a mode that no label map has."""


class SizeError(LussError):
    """A map whose header has another size than its image, or a size that no image has."""


def _rgb_ids(data: bytes) -> tuple[np.ndarray, bool]:
    """Distinct ids of an 8-bit RGB PNG, and whether its blue channel holds anything."""
    with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
        image.load()
        if image.mode != "RGB":
            raise OSError(f"decoded as {image.mode}")
        halves = np.frombuffer(image.tobytes("raw", "RGBX"), "<u2")  # R + 256 G, then B and padding, for each pixel
    counts = np.bincount(halves[::2], minlength=1)
    return np.flatnonzero(counts), bool((halves[1::2] & 0xFF).any())


def wrong_ids(ids: Sequence[int], allowed: Allowed) -> str | None:
    """What is wrong with a map's distinct ids, or None.

    Args:
        allowed: the largest id; or the set of ids that a match names; or None = any.
    """
    if allowed is None:
        return None
    named = isinstance(allowed, frozenset)
    wrong = [value for value in ids if (value not in allowed if named else value > allowed)]
    if not wrong:
        return None
    more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
    ignore = f" ({IGNORE} marks ignored pixels, in ground truth only)" if IGNORE in wrong else ""
    expected = "0 and the ids that the match names" if named else f"0 to {allowed}"
    return f"found the id {', '.join(map(str, wrong[:5]))}{more}{ignore}; expected {expected}"


def image_size(path: str) -> tuple[int, int]:
    """(width, height) in the header of an image file; its pixels are not decoded.

    Raises:
        LussError: unreadable.
    """
    try:
        with Image.open(path) as image:
            return image.size
    except (*_DAMAGE, TypeError) as error:
        raise LussError(f"{path}: the image's size cannot be read ({' '.join(str(error).split())}); expected a readable image") from error
