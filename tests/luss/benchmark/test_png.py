"""Label maps as PNG without filters: other readers see the same ids, and anything unusual is left to the general reader."""

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from luss.benchmark.png import decode_plain, encode_plain

MAPS = arrays(np.uint16, st.tuples(st.integers(1, 20), st.integers(1, 12)), elements=st.sampled_from([0, 1, 255, 256, 919, 1000, 65535]))


@settings(max_examples=80, deadline=None)
@given(MAPS)
def test_round_trip_and_what_pillow_sees(ids):
    data = encode_plain(ids)
    found = decode_plain(data)
    assert found.dtype == np.uint16
    np.testing.assert_array_equal(found, ids)
    with Image.open(io.BytesIO(data)) as image:
        image.verify()
    with Image.open(io.BytesIO(data)) as image:
        assert image.mode == "RGB"
        rgb = np.asarray(image).astype(int)
    np.testing.assert_array_equal(rgb[..., 0] + 256 * rgb[..., 1], ids)
    assert not rgb[..., 2].any()


def test_any_integer_type():
    for dtype in (np.uint8, np.int32, np.int64):
        np.testing.assert_array_equal(decode_plain(encode_plain(np.array([[0, 1, 200]], dtype))), [[0, 1, 200]])


def test_every_changed_byte_is_left_to_the_general_reader():
    data = encode_plain(np.arange(64).reshape(8, 8))
    for position in range(8, len(data)):  # the signature is looked at before
        changed = data[:position] + bytes([data[position] ^ 4]) + data[position + 1 :]
        assert decode_plain(changed) is None
    for length in range(8, len(data)):
        assert decode_plain(data[:length]) is None


def _png(width, height, rows, kind=(8, 2, 0, 0, 0), more=b""):
    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, *kind)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + more + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    "data",
    [
        _png(2, 1, b"\1" + bytes(6)),  # a filter in the first rows
        _png(1, 12, bytes(4) * 11 + b"\2\0\0\0"),  # in the last
        _png(2, 1, bytes(6)),  # too few bytes
        _png(2, 1, bytes(8)),  # too many
        _png(2, 20, bytes(7 * 20 + 10**7)),  # far too many
        _png(2, 1, bytes(9), (8, 6, 0, 0, 0)),  # RGBA
        _png(2, 1, bytes(13), (16, 2, 0, 0, 0)),
        _png(2, 1, bytes(7), (8, 2, 0, 0, 1)),  # interlaced
        _png(2, 1, bytes(7), more=struct.pack(">I", 0) + b"tEXt" + struct.pack(">I", zlib.crc32(b"tEXt"))),
        _png(1 << 30, 1 << 30, bytes(7)),
        _png(0, 1, b"\0"),
    ],
)
def test_anything_else_is_left_to_the_general_reader(data):
    assert decode_plain(data) is None
    assert decode_plain(_png(2, 1, bytes(7))).tolist() == [[0, 0]]
