"""Ways to make one label map wrong, each with the kind of problem that must be named; every choice comes from a seeded generator."""

from __future__ import annotations

import io
from typing import Callable

import numpy as np

from luss.benchmark.label_map import decode_label_map, encode_label_map
from tests.luss.benchmark.submission_samples import K, png, saved

MAPS: dict[str, tuple[str, Callable[[bytes, np.random.Generator], bytes]]] = {}  # name: (kind, damage to the bytes of a valid map)


def _map(kind: str):
    def register(function):
        MAPS[function.__name__] = (kind, function)
        return function

    return register


def _ids(data: bytes) -> np.ndarray:
    return decode_label_map(data)


@_map("ids")
def id_above_the_categories(data, rng):
    ids = _ids(data)
    ids[rng.integers(len(ids)), 0] = int(rng.integers(K + 1, 1000))
    return encode_label_map(ids)


@_map("ids")
def id_ignore(data, rng):
    ids = _ids(data)
    ids[rng.integers(len(ids))] = 1000
    return encode_label_map(ids)


@_map("ids")
def id_with_high_byte(data, rng):
    return encode_label_map(_ids(data) + 256 * int(rng.integers(1, 255)))


@_map("size")
def size_differs(data, rng):
    return encode_label_map(np.pad(_ids(data), ((0, int(rng.integers(0, 3))), (0, int(rng.integers(1, 9))))))


@_map("size")
def size_transposed(data, rng):
    return encode_label_map(np.ascontiguousarray(_ids(data).T))


@_map("size")
def size_of_a_bomb(data, rng):
    return png(int(rng.integers(40_000, 2**31)), int(rng.integers(40_000, 2**31)), 8, 2, b"\0" * 1000)


@_map("size")
def size_bomb_that_unpacks(data, rng):
    return png(60_000, 60_000, 1, 0, b"\0" * (1 << 22))


@_map("mode")
def mode_sixteen_bit_rgb(data, rng):
    height, width = _ids(data).shape
    return png(width, height, 16, 2, (b"\0" + b"\0\1" * 3 * width) * height)


@_map("mode")
def mode_few_bits_of_grey(data, rng):
    height, width = _ids(data).shape
    depth = int(rng.choice([1, 2, 4]))
    return png(width, height, depth, 0, (b"\0" + b"\1" * -(-width * depth // 8)) * height)


@_map("mode")
def mode_grey_with_alpha(data, rng):
    return saved(np.stack([_ids(data)] * 2, -1).astype(np.uint8))


@_map("mode")
def mode_unknown_colour_type(data, rng):
    height, width = _ids(data).shape
    return png(width, height, 8, int(rng.choice([1, 5, 7, 200])), b"\0" * 64)


@_map("damage")
def png_cut_short(data, rng):
    return data[: int(rng.integers(34, len(data) - 40))]


@_map("damage")
def png_header_cut(data, rng):
    return data[: int(rng.integers(1, 33))]


@_map("damage")
def png_empty(data, rng):
    return b""


@_map("damage")
def png_is_a_jpeg(data, rng):
    return saved(np.stack([_ids(data)] * 3, -1).astype(np.uint8), "JPEG")


@_map("damage")
def png_is_a_web_page(data, rng):
    return b"<!doctype html><title>404</title>" * int(rng.integers(1, 20))


@_map("damage")
def png_is_numpy(data, rng):
    stream = io.BytesIO()
    np.save(stream, _ids(data))
    return stream.getvalue()


@_map("damage")
def png_without_pixels(data, rng):
    return png(0, int(rng.integers(0, 9)), 8, 2, b"")


@_map("damage")
def png_pixels_missing(data, rng):
    height, width = _ids(data).shape
    return png(width, height, 8, 2, b"\0\1\0\0" * int(rng.integers(1, 5)))


@_map("damage")
def png_pixels_not_deflated(data, rng):
    place = data.index(b"IDAT") + 4
    return data[:place] + rng.bytes(12) + data[place + 12 :]


def rescue_modes(ids: np.ndarray) -> dict[str, bytes]:
    """The same ids in every mode that is read, though it is not the published one."""
    rgba = np.zeros((*ids.shape, 4), np.uint8)
    rgba[..., 0], rgba[..., 2] = ids, 9
    blue = rgba[..., :3].copy()
    return {
        "8-bit RGBA": saved(rgba),
        "8-bit grey": saved(ids.astype(np.uint8)),
        "16-bit grey": saved(ids.astype(np.uint16)),
        "8-bit palette": saved(ids, palette=True),
        "blue": saved(blue),
    }
