"""Pillow reference of engine.ops.augment_crops."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter

from .crop_output import MEAN, STD
from .crop_table import ORDERS
from .resize_crops_reference import resize

_ENHANCERS = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)


def augment_crops(pixels, images, crops, size, *, mean, std):
    """Pillow reference of engine.ops.augment_crops.augment_crops: (n, 3, h, w) float32."""
    return normalize(augment_levels(pixels, images, crops, size), mean, std)


def normalize(levels, mean=MEAN, std=STD):
    """(n, h, w, 3) levels -> (n, 3, h, w) float32."""
    return np.moveaxis((levels / 255.0 - np.array(mean)) / np.array(std), -1, 1).astype(np.float32)


def augment_levels(pixels, images, crops, size):
    """The same before normalisation: (n, h, w, 3) uint8."""
    height, width = (size, size) if isinstance(size, int) else size
    out = np.zeros((len(crops), height, width, 3), np.uint8)
    for crop, result in zip(crops, out):
        offset, rows, columns = images[crop["image"]].tolist()
        image = Image.fromarray(pixels[offset : offset + rows * columns * 3].reshape(rows, columns, 3))
        result[:] = np.asarray(_photometric(_cut(image, crop, width, height), crop))
    return out


def _cut(image, crop, width, height):
    sides = []  # of each axis: the pixels that the box touches by 1/1024 or more, and the box's edges within them
    for start, length, extent in zip(("left", "top"), ("width", "height"), image.size):
        begin, end = float(crop[start]), float(crop[start]) + float(crop[length])
        slack = min(1 / 1024, float(crop[length]) / 2)
        low = min(int(begin + slack), extent - 1)
        high = min(max(math.ceil(end - slack), low + 1), extent)
        sides.append((low, high, max(begin - low, 0), min(end - low, high - low)))
    (left, right, x0, x1), (top, bottom, y0, y1) = sides
    cut = resize(image.crop((left, top, right, bottom)), width, height, box=(x0, y0, x1, y1))
    return cut.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if crop["flip"] else cut


def _photometric(image, crop):
    if crop["order"] >= 0:
        factors = [float(crop[name]) for name in ("brightness", "contrast", "saturation")]
        for step in ORDERS[crop["order"]].tolist():
            image = _turn_hue(image, float(crop["hue"])) if step == 3 else _ENHANCERS[step](image).enhance(factors[step])
    if crop["grey"]:
        image = image.convert("L").convert("RGB")
    return image.filter(ImageFilter.GaussianBlur(float(crop["blur"]))) if crop["blur"] > 0 else image


def _turn_hue(image, hue):
    bands = list(image.convert("HSV").split())
    bands[0] = Image.fromarray(((np.asarray(bands[0]).astype(int) + int(255 * hue)) % 256).astype(np.uint8))
    return Image.merge("HSV", bands).convert("RGB")
