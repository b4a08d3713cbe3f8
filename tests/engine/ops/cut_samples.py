"""Packed images and evaluation cuts for the tests of engine.ops.resize_crops; imported by bench/bench_resize_crops.py, too."""

from __future__ import annotations

import numpy as np

from engine.ops.crop_table import CUT, IMAGE
from tests.engine.data.samples import photo

MIXED_SIZE = (33, 41)


def pack(arrays, gap=0) -> tuple[np.ndarray, np.ndarray]:
    """(bytes,) uint8 and (m,) IMAGE of (h, w, 3) arrays, `gap` bytes of 255 before each."""
    images, parts, offset = np.zeros(len(arrays), IMAGE), [], 0
    for record, array in zip(images, arrays):
        record["offset"], record["height"], record["width"] = offset + gap, *array.shape[:2]
        parts += [np.full(gap, 255, np.uint8), array.reshape(-1)]
        offset += gap + array.nbytes
    return np.concatenate(parts), images


def cut_of(width, height, left=0, top=0, image=0) -> np.ndarray:
    """(1,) CUT of an image resized to width x height."""
    return np.array([(image, height, width, top, left)], CUT)


def mixed_batch():
    """Images of several sizes, one of them tall, and cuts of MIXED_SIZE; images and sizes repeat."""
    sizes = [(120, 90), (75, 300), (60, 60), (120, 90), (41, 33)]
    packed = pack([np.asarray(photo(*size, seed=size[0])) for size in sizes], gap=3)
    images = np.array([0, 1, 2, 3, 0, 1, 4, 2])
    cuts = np.zeros(len(images), CUT)
    cuts["image"] = images
    cuts["width"], cuts["height"] = [60, 50, 64, 60, 60, 50, 41, 200], [45, 100, 64, 45, 45, 100, 33, 180]
    cuts["left"], cuts["top"] = [0, 3, 23, 19, 7, 9, 0, 150], [12, 50, 31, 0, 3, 67, 0, 140]
    return packed, cuts
