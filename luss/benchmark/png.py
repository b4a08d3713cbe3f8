"""PNG files of label maps without row filters: written five times faster than by Pillow, read more than twice as fast, of about the same size.

PNG's row filters help photographs. In a label map nearly every row repeats the one above, which the compressor finds by itself, and a file without
filters is plain after unpacking: ids can be taken from its bytes at once. Every PNG reader opens such files.
"""

from __future__ import annotations

import struct
import zlib

import numpy as np

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_HEADER = struct.Struct(">IIBBBBB")
_RGB8 = (8, 2, 0, 0, 0)  # bit depth, colour type, compression, filter method, not interlaced
_LEVEL = 3  # of zlib: 1 is no faster on label maps, 6 takes three times as long
_LOOK = 8  # rows unpacked to see whether a file has filters
_MAX_PIXELS = 1 << 26  # beyond that the general reader decides


def encode_plain(ids: np.ndarray) -> bytes:
    """PNG bytes, 8-bit RGB with R + 256 G = id, of (H, W) integers in [0, 65535]."""
    height, width = ids.shape
    rows = np.zeros((height, 1 + 3 * width), np.uint8)  # each begins with its filter: 0 = none
    rows[:, 1::3] = ids & 0xFF
    rows[:, 2::3] = ids >> 8
    return b"".join(
        (
            SIGNATURE,
            _chunk(b"IHDR", _HEADER.pack(width, height, *_RGB8)),
            _chunk(b"IDAT", zlib.compress(rows, _LEVEL)),
            _chunk(b"IEND", b""),
        )
    )


def decode_plain(data: bytes) -> np.ndarray | None:
    """Ids in the bytes of a sound 8-bit RGB PNG without filters, (H, W) uint16; None for any other bytes, which a general reader should judge."""
    body = _image_data(data)
    if body is None:
        return None
    width, height, *kind = _HEADER.unpack_from(data, 16)
    if tuple(kind) != _RGB8 or not 0 < width * height <= _MAX_PIXELS:
        return None
    stride, unpacker = 1 + 3 * width, zlib.decompressobj()
    try:
        rows = unpacker.decompress(body, _LOOK * stride)
        if any(rows[::stride]):
            return None
        if height > _LOOK:
            rows += unpacker.decompress(unpacker.unconsumed_tail, (height - _LOOK) * stride + 1)
        if len(rows) != height * stride or not unpacker.eof or unpacker.unused_data:
            return None
    except zlib.error:
        return None
    table = np.frombuffer(rows, np.uint8).reshape(height, stride)
    if table[:, 0].any():
        return None
    ids = table[:, 2::3].astype(np.uint16)
    ids <<= 8
    ids |= table[:, 1::3]
    return ids


def _image_data(data: bytes) -> bytes | None:
    """The joined image data of a PNG of nothing but IHDR, IDAT and IEND, all checksums good; else None."""
    place, parts, kind = len(SIGNATURE), [], b""
    while kind != b"IEND":
        if len(data) < place + 12:
            return None
        length = int.from_bytes(data[place : place + 4], "big")
        kind, content, end = data[place + 4 : place + 8], data[place + 8 : place + 8 + length], place + 12 + length
        if kind not in (b"IHDR", b"IDAT", b"IEND") or (kind == b"IHDR") != (place == len(SIGNATURE)) or (kind == b"IHDR" and length != _HEADER.size):
            return None
        if len(data) < end or zlib.crc32(content, zlib.crc32(kind)) != int.from_bytes(data[end - 4 : end], "big"):
            return None
        if kind == b"IDAT":
            parts.append(content)
        place = end
    return b"".join(parts)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(content, zlib.crc32(kind)))
