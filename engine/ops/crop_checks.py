"""Checks of the records of engine.ops.crop_table, shared by the ops that take them; every ValueError names argument, record and value."""

from __future__ import annotations

import os

import numpy as np

from .crop_table import CROP, IMAGE

SLACK = 1 / 1024  # of a pixel: a box of fractions may end that much outside its image
LARGEST_BLUR = 8.0  # LUSS_LARGEST_REACH of kernels/luss/box_blur.h is made for it
_SIDE = float(np.iinfo(np.int32).max)
_WHOLE = {"image": (0, _SIDE), "flip": (0, 1), "order": (-1, 23), "grey": (0, 1)}
_RANGES = {
    **_WHOLE,
    **{"left": (0, _SIDE), "top": (0, _SIDE), "width": (SLACK, _SIDE), "height": (SLACK, _SIDE)},
    **dict.fromkeys(("brightness", "contrast", "saturation"), (0, float(np.finfo(np.float32).max))),
    **{"hue": (-0.5, 0.5), "blur": (0, LARGEST_BLUR)},
}
_LOWEST_WHOLE, _HIGHEST_WHOLE = np.array([_RANGES[name] for name in CROP.names[: len(_WHOLE)]], np.int64).T.astype(np.int32)
_LOWEST, _HIGHEST = np.array([_RANGES[name] for name in CROP.names[len(_WHOLE) :]], np.float32).T


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
    words = np.ascontiguousarray(crops).view(np.int32).reshape(-1, len(CROP.names))  # all fields have 4 bytes
    numbers = words.view(np.float32)[:, len(_WHOLE) :]
    # A loader calls this for every image: everything in a few comparisons (NaN fails them), one field after another only to name a fault
    if (
        not ((words[:, : len(_WHOLE)] >= _LOWEST_WHOLE) & (words[:, : len(_WHOLE)] <= _HIGHEST_WHOLE)).all()
        or not ((numbers >= _LOWEST) & (numbers <= _HIGHEST)).all()
    ):
        for name, (lowest, highest) in _RANGES.items():
            _refuse("crops", crops, ~((crops[name] >= lowest) & (crops[name] <= highest)), f"expected {name} in {lowest:g}..{highest:g}")
    _refuse("crops", crops, words[:, 0] >= len(images), f"expected image in 0..{len(images) - 1}")
    for start, length, extent in (("left", "width", "width"), ("top", "height", "height")):
        whole = images[extent][words[:, 0]]
        outside = (crops[start] >= whole) | (crops[start].astype(np.float64) + crops[length] > whole + SLACK)
        _refuse("crops", crops, outside, f"expected a box inside the image, {start} + {length} <= its {extent}", whole)


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
