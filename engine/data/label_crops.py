"""Which pixels of a label map a crop shows: nearest look-ups, by Pillow's and torch's arithmetic (spec/pass.md, sections 6 and 7)."""

from __future__ import annotations

import numpy as np


def nearest_source(length: int, target: int) -> np.ndarray:
    """Source index of each of `target` positions when `length` are resized by torch's nearest rule: floor(i * in / out)."""
    scale = np.float32(length) / np.float32(target)
    return np.minimum((np.arange(target, dtype=np.float32) * scale).astype(np.int64), length - 1)


def label_indices(
    label_size: tuple[int, int], image_size: tuple[int, int], box: tuple[int, int, int, int], flip: bool, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of a label map that a size x size crop shows.

    The map is first brought to the image's size (torch nearest, where they differ), then cut and resized by Pillow's
    nearest rule; both are index look-ups, so they are joined into one and only size x size labels are ever touched.

    Args:
        label_size, image_size: (width, height).
        box: (left, top, width, height) in pixels of the image.

    Returns:
        rows (size,), columns (size,) int32 into the label map; columns run backwards when flipped.
    """
    left, top, width, height = box
    rows = top + _pillow_nearest(height, size)
    columns = left + _pillow_nearest(width, size)
    if label_size != image_size:
        rows = nearest_source(label_size[1], image_size[1])[rows]
        columns = nearest_source(label_size[0], image_size[0])[columns]
    return rows.astype(np.int32), (columns[::-1] if flip else columns).astype(np.int32)


def _pillow_nearest(length: int, target: int) -> np.ndarray:
    # Pillow adds the step up in double precision instead of multiplying; accumulate rounds exactly as it does.
    steps = np.full(target, length / target)
    steps[0] *= 0.5
    return np.minimum(np.add.accumulate(steps).astype(np.int64), length - 1)
