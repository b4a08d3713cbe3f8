"""The label-map codec: round trips, every kind of PNG that holds ids, and every way a file can be wrong."""

import contextlib
import io
import os
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image

from engine.runtime.errors import LussError
from luss.benchmark.label_map import decode_label_map, encode_label_map, read_label_map, write_label_map


def _png(width, height, depth, colour, raw):
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")


@settings(max_examples=60, deadline=None)
@given(arrays(np.int32, array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.integers(0, 65535)))
def test_round_trip(ids):
    again = decode_label_map(encode_label_map(ids))
    assert again.dtype == np.int32
    np.testing.assert_array_equal(again, ids)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int64])
def test_any_integer_type_is_written(dtype):
    ids = np.array([[0, 1, 200]], dtype)
    np.testing.assert_array_equal(decode_label_map(encode_label_map(ids)), ids)


def test_channels_are_those_of_the_benchmark():
    rgb = np.asarray(Image.open(io.BytesIO(encode_label_map(np.array([[0, 255, 256, 1000]])))))
    assert rgb.tolist() == [[[0, 0, 0], [255, 0, 0], [0, 1, 0], [232, 3, 0]]]


def test_write_leaves_only_the_file(tmp_path):
    write_label_map(tmp_path / "a.png", np.array([[3, 919]]))
    assert os.listdir(tmp_path) == ["a.png"]
    assert read_label_map(tmp_path / "a.png").tolist() == [[3, 919]]


def _saved(mode, array):
    stream = io.BytesIO()
    image = Image.fromarray(array)
    if mode == "P":
        image = Image.new("P", array.shape[::-1])
        image.putpalette([7, 9, 11] * 256)
        image.putdata(array.ravel().tolist())
    image.save(stream, "PNG")
    return stream.getvalue()


def test_other_kinds_of_png():
    assert decode_label_map(_saved("RGBA", np.array([[[231, 3, 9, 0]]], np.uint8))).tolist() == [[999]]
    assert decode_label_map(_saved("RGB", np.array([[[1, 1, 255]]], np.uint8))).tolist() == [[257]]  # blue is passed over
    assert decode_label_map(_saved("L", np.array([[0, 50, 255]], np.uint8))).tolist() == [[0, 50, 255]]
    assert decode_label_map(_saved("P", np.array([[0, 3, 49]], np.uint8))).tolist() == [[0, 3, 49]]
    assert decode_label_map(_saved("I;16", np.array([[0, 919, 1000, 65535]], np.uint16))).tolist() == [[0, 919, 1000, 65535]]
    assert decode_label_map(_palette_of_two_bits()).tolist() == [[1, 2, 3]]


def _with_palette(ids, palette):
    stream = io.BytesIO()
    image = Image.frombytes("P", ids.shape[::-1], ids.astype(np.uint8).tobytes())
    image.putpalette(palette)
    image.save(stream, "PNG")
    return stream.getvalue()


def test_a_palette_whose_colours_are_other_ids_is_refused():
    """What a tool that shrinks PNG files makes of an RGB label map with the ids 0, 7 and 300."""
    shrunk = _with_palette(np.array([[0, 1, 2]]), [0, 0, 0, 7, 0, 0, 44, 1, 0])
    with pytest.raises(LussError, match=r"x: found a palette PNG whose index 1 has the colour of id 7, so that either could be meant"):
        decode_label_map(shrunk, "x")
    assert decode_label_map(_with_palette(np.array([[0, 7, 44]]), [v for i in range(256) for v in (i, 0, 0)])).tolist() == [[0, 7, 44]]
    assert decode_label_map(_with_palette(np.array([[0, 1, 2]]), [0, 0, 0, 128, 0, 0, 0, 128, 0])).tolist() == [[0, 1, 2]]  # 32768 is no id


def _palette_of_two_bits():
    stream = io.BytesIO()
    image = Image.new("P", (3, 1))
    image.putpalette([0, 0, 0, 9, 9, 9, 8, 8, 8, 7, 7, 7])
    image.putdata([1, 2, 3])
    image.save(stream, "PNG", bits=2)
    assert stream.getvalue()[24] == 2
    return stream.getvalue()


@pytest.mark.parametrize(
    "data, found",
    [
        (b"", "an empty file"),
        (b"<html>404</html>", "16 bytes that are no PNG"),
        (_png(2, 1, 4, 0, b"\0\x12"), "4-bit grey PNG of 2 x 1"),  # Pillow alone would multiply the values by 17
        (_png(8, 1, 1, 0, b"\0\x12"), "1-bit grey PNG of 8 x 1"),
        (_png(1, 1, 16, 2, b"\0" + b"\1\2" * 3), "16-bit RGB PNG of 1 x 1"),
        (_png(1, 1, 8, 4, b"\0\1\2"), r"8-bit grey \+ alpha PNG of 1 x 1"),
        (encode_label_map(np.arange(900).reshape(30, 30))[:-60], "damaged or unreadable PNG"),
        (_png(5, 5, 8, 2, b"\0\1\2\3"), "damaged or unreadable PNG"),
        (encode_label_map(np.arange(900).reshape(30, 30))[:60], "damaged or unreadable PNG"),
    ],
)
def test_bad_file_is_named(tmp_path, data, found):
    path = tmp_path / "x.png"
    path.write_bytes(data)
    with pytest.raises(LussError, match=rf"x\.png: .*{found}.*8-bit RGB with id = R \+ 256 G"):
        read_label_map(path)


def test_every_flipped_byte_is_an_error_or_a_map():
    """No byte of a damaged file leads to another exception than ours."""
    data = bytearray(encode_label_map(np.arange(64).reshape(8, 8)))
    for position in range(len(data)):
        data[position] ^= 0x55
        with contextlib.suppress(LussError):
            assert decode_label_map(bytes(data)).ndim == 2
        data[position] ^= 0x55


def test_jpeg_and_missing_file(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "x.png", "JPEG")
    with pytest.raises(LussError, match=r"x\.png: found \d+ bytes that are no PNG"):
        read_label_map(tmp_path / "x.png")
    with pytest.raises(LussError, match=r"none\.png: cannot be read"):
        read_label_map(tmp_path / "none.png")


@pytest.mark.parametrize("ids", [np.zeros((2, 2, 1), int), np.zeros((2, 2)), np.zeros((0, 3), int), np.array([[-1]]), np.array([[65536]])])
def test_encode_refuses(ids):
    with pytest.raises(ValueError, match="ids: expected"):
        encode_label_map(ids)
