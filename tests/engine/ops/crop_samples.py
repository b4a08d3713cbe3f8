"""Packed images and random crop plans for the tests of engine.ops.augment_crops; imported by bench/bench_augment_crops.py, too."""

from __future__ import annotations

import numpy as np

from engine.ops.crop_table import CROP, IMAGE
from tests.engine.data.crop_reference import random_resized_crop


def pack(arrays) -> tuple[np.ndarray, np.ndarray]:
    """(bytes,) uint8 and (m,) IMAGE of (h, w, ...) arrays, one after another."""
    images = np.zeros(len(arrays), IMAGE)
    offset = 0
    for record, array in zip(images, arrays):
        record["offset"], record["height"], record["width"] = offset, *array.shape[:2]
        offset += array.nbytes
    return np.concatenate([np.ascontiguousarray(array).reshape(-1).view(np.uint8) for array in arrays]), images


def plain_crops(count: int) -> np.ndarray:
    """(count,) CROP of images 0, 1, ... that cut and resize only; the boxes are zero, to be filled in."""
    crops = np.zeros(count, CROP)
    crops["image"] = np.arange(count)
    crops["order"] = -1
    crops[["brightness", "contrast", "saturation"]] = (1, 1, 1)
    return crops


class _Draws:
    def __init__(self, rng):
        self.uniform = rng.uniform
        self.randint = lambda low, high: int(rng.integers(low, high, endpoint=True))


def random_plan(images, count, seed=0, jitter=0.8, grey=0.2, blur=0.5, scale=(0.08, 1.0)) -> np.ndarray:
    """(count,) CROP over the images in turn, drawn as in pre-training (spec/pass.md 3.2) with these probabilities."""
    rng = np.random.default_rng(seed)
    crops = plain_crops(count)
    for number, crop in enumerate(crops):
        crop["image"] = number % len(images)
        image = images[crop["image"]]
        box = random_resized_crop(_Draws(rng), int(image["width"]), int(image["height"]), scale)
        crop["left"], crop["top"], crop["width"], crop["height"] = box
        crop["flip"] = rng.random() < 0.5
        if rng.random() < jitter:
            crop["order"] = rng.integers(24)
            crop["brightness"], crop["contrast"], crop["saturation"] = rng.uniform(0.2, 1.8, 3)
            crop["hue"] = rng.uniform(-0.2, 0.2)
        crop["grey"] = rng.random() < grey
        if rng.random() < blur:
            crop["blur"] = rng.uniform(0.1, 2.0)
    return crops
