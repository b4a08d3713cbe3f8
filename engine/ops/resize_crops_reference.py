"""Pillow reference of engine.ops.resize_crops."""

from __future__ import annotations

import numpy as np
from PIL import Image


def resize_crops(pixels, images, cuts, size, *, mean, std):
    """Pillow reference of engine.ops.resize_crops.resize_crops: (n, 3, h, w) float32."""
    levels = resize_levels(pixels, images, cuts, size)
    return np.moveaxis((levels / 255.0 - np.array(mean)) / np.array(std), -1, 1).astype(np.float32)


def resize_levels(pixels, images, cuts, size):
    """The same before normalisation: (n, h, w, 3) uint8."""
    height, width = (size, size) if isinstance(size, int) else size
    out = np.zeros((len(cuts), height, width, 3), np.uint8)
    for cut, result in zip(cuts, out):
        offset, rows, columns = images[cut["image"]].tolist()
        image = Image.fromarray(pixels[offset : offset + rows * columns * 3].reshape(rows, columns, 3))
        whole = np.asarray(resize(image, int(cut["width"]), int(cut["height"])))
        result[:] = whole[cut["top"] : cut["top"] + height, cut["left"] : cut["left"] + width]
    return out


def resize(image, width, height, box=None):
    """Pillow 13's `image.resize((width, height), BILINEAR, box)` with any Pillow: one pass at a time, in its order."""
    left, top, right, bottom = box or (0, 0, *image.size)
    columns_first = height < image.height and image.height - height > 2 * (image.width - width)

    def across(image):
        return image.resize((width, image.height), Image.Resampling.BILINEAR, box=(left, 0, right, image.height))

    def down(image):
        return image.resize((image.width, height), Image.Resampling.BILINEAR, box=(0, top, image.width, bottom))

    return across(down(image)) if columns_first else down(across(image))
