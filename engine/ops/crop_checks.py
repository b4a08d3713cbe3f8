"""Checks of the records of engine.ops.crop_table, shared by the ops that take them; every ValueError names argument, record and value."""

from __future__ import annotations

import os

import numpy as np

from .crop_table import CROP, IMAGE

SLACK = 1 / 1024  # of a pixel: a box of fractions may end that much outside its image
LARGEST_BLUR = 8.0  # LUSS_BLUR_RADIUS of kernels/luss/blur_taps.h is made for it
_NUMBERS = [name for name in CROP.names if CROP[name].kind == "f"]


def check_pixels(pixels, name: str = "pixels") -> int:
    """Number of bytes of a (bytes,) uint8 array or Var."""
    if len(pixels.shape) != 1 or str(pixels.dtype) != "uint8":
        raise ValueError(f"{name}: expected (bytes,) uint8, found {tuple(pixels.shape)} {pixels.dtype}")
    return int(pixels.shape[0])


def check_images(images: np.ndarray, length: int, bytes_each: int, name: str = "images") -> None:
    """(m,) IMAGE records whose pixels, of `bytes_each` bytes, lie inside a buffer of `length` bytes."""
    if not isinstance(images, np.ndarray) or images.ndim != 1 or images.dtype != IMAGE:
        raise ValueError(f"{name}: expected (m,) IMAGE records, found {_kind(images)}")
    height, width = images["height"].astype(np.int64), images["width"].astype(np.int64)
    _refuse(name, images, (height < 1) | (width < 1), "expected height and width of at least 1")
    outside = (images["offset"] < 0) | (images["offset"] > length - height * width * bytes_each)
    _refuse(name, images, outside, f"expected it inside the {length} bytes")


def check_crops(crops: np.ndarray, images: np.ndarray) -> None:
    """(n,) CROP records that say something possible about checked `images`."""
    if not isinstance(crops, np.ndarray) or crops.ndim != 1 or crops.dtype != CROP:
        raise ValueError(f"crops: expected (n,) CROP records, found {_kind(crops)}")
    _refuse("crops", crops, (crops["image"] < 0) | (crops["image"] >= len(images)), f"expected image in 0..{len(images) - 1}")
    finite = np.all([np.isfinite(crops[name]) for name in _NUMBERS], axis=0)
    _refuse("crops", crops, ~finite, "expected finite numbers")
    for name, lowest, highest in (("flip", 0, 1), ("grey", 0, 1), ("order", -1, 23), ("hue", -0.5, 0.5), ("blur", 0, LARGEST_BLUR)):
        _refuse("crops", crops, (crops[name] < lowest) | (crops[name] > highest), f"expected {name} in {lowest}..{highest}")
    for name in ("brightness", "contrast", "saturation"):
        _refuse("crops", crops, crops[name] < 0, f"expected {name} >= 0")
    for start, length, extent in (("left", "width", "width"), ("top", "height", "height")):
        whole = images[extent][crops["image"]].astype(np.float64)
        begin, long = crops[start].astype(np.float64), crops[length].astype(np.float64)
        bad = (begin < 0) | (begin >= whole) | (long < SLACK) | (begin + long > whole + SLACK)
        _refuse("crops", crops, bad, f"expected a box inside the image, {start} + {length} <= its {extent}", whole)


def check_size(size: int | tuple[int, int]) -> tuple[int, int]:
    """(h, w), each at least 1."""
    pair = (size, size) if isinstance(size, (int, np.integer)) else tuple(size)
    if len(pair) != 2 or not all(isinstance(side, (int, np.integer)) and 1 <= side < 1 << 15 for side in pair):
        raise ValueError(f"size={size!r}: expected a whole number or (h, w), each from 1 to {(1 << 15) - 1}")
    return int(pair[0]), int(pair[1])


def check_threads(threads: int | None) -> int:
    """`threads`, or the number of cores this process may use."""
    if threads is None:
        return len(os.sched_getaffinity(0))
    if not isinstance(threads, (int, np.integer)) or threads < 1:
        raise ValueError(f"threads={threads!r}: expected at least 1, or None")
    return int(threads)


def _refuse(name: str, records: np.ndarray, bad: np.ndarray, expected: str, extent: np.ndarray | None = None) -> None:
    if bad.any():
        first = int(np.argmax(bad))
        found = ", ".join(f"{field}={records[first][field].item():g}" for field in records.dtype.names)
        within = "" if extent is None else f" of {extent[first]:g} pixels"
        raise ValueError(f"{name}[{first}]: {expected}{within}, found {found}")


def _kind(value) -> str:
    return f"{value.shape} {value.dtype}" if isinstance(value, np.ndarray) else type(value).__name__
