"""Geometry of crops: pixel-correspondence grids and evaluation sizes (spec/pass.md, sections 3.3 and 5)."""

from __future__ import annotations

import numpy as np


def correspondence_grids(box_q, box_k, size: int = 7) -> tuple[np.ndarray, np.ndarray]:
    """Sampling grids over the overlap of two crops of one image (section 3.3).

    Args:
        box_q, box_k: (..., 5): left, top, width, height in pixels of the original image, and flip.
        size: points a side, at least 2.

    Returns:
        Two (..., size, size, 2) float32 arrays of (x, y) in [-1, 1]; [i, j] is the same point of the image in both. All -2 in
        both where the crops share no area: sampled with zero padding, such a grid gives zero vectors.
    """
    boxes = [np.moveaxis(np.asarray(box, np.float64), -1, 0)[..., None] for box in (box_q, box_k)]
    (xq, yq, wq, hq, _), (xk, yk, wk, hk, _) = boxes
    left, top = np.maximum(xq, xk), np.maximum(yq, yk)
    right, bottom = np.minimum(xq + wq, xk + wk), np.minimum(yq + hq, yk + hk)
    steps = np.arange(size) / (size - 1)
    apart = ((left >= right) | (top >= bottom))[..., None, None]
    grids = []
    for x, y, w, h, flip in boxes:
        u = (left - x) / w + steps * ((right - left) / w)
        v = (top - y) / h + steps * ((bottom - top) / h)
        grid = np.empty((*u.shape[:-1], size, size, 2), np.float32)
        grid[..., 0] = (2 * np.where(flip != 0, 1 - u, u) - 1)[..., None, :]
        grid[..., 1] = (2 * v - 1)[..., :, None]
        grids.append(np.where(apart, np.float32(-2), grid))
    return grids[0], grids[1]


def resize_shorter(width: int, height: int, side: int) -> tuple[int, int]:
    """(width, height) after the shorter side is made `side` pixels; the other is truncated to int(side * long / short)."""
    if width <= height:
        return side, int(side * height / width)
    return int(side * width / height), side


def center_crop_box(width: int, height: int, side: int) -> tuple[int, int, int, int]:
    """(left, top, side, side) of the central square; half-pixel offsets are rounded to the even number."""
    if side > width or side > height:
        raise ValueError(f"side={side}: expected at most the image's {width}x{height}")
    return round((width - side) / 2), round((height - side) / 2), side, side
