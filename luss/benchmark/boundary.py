"""Boundary maps of label maps (spec/pass.md 10.1), for all ids at once.

A pixel is interior when all (2r+1) x (2r+1) pixels around it lie inside the frame and carry its id; every other pixel is boundary. That is what
eroding the mask of each id r times with a 3 x 3 square leaves over.
"""

from __future__ import annotations

import math

import numpy as np

RATIO = 0.03  # of the diagonal; the boundary-IoU paper has 0.02


def boundary_radius(height: int, width: int) -> int:
    """r = 3 % of the diagonal, rounded half to even, at least 1."""
    return max(1, round(RATIO * math.sqrt(height**2 + width**2)))


def boundary_mask(ids: np.ndarray, radius: int | None = None) -> np.ndarray:
    """Which pixels are boundary.

    The square around a pixel is uniform when no id changes downwards in any of its columns and none changes sideways in its middle row. "Some change
    within a window" is an OR over shifted copies, which takes log2(window) passes over bytes: some 0.2 ms at 500 x 375, whatever the ids.

    Args:
        ids: (H, W) integers; the ignore id takes part like any other.
        radius: None = `boundary_radius` of the shape.

    Returns:
        (H, W) bool.
    """
    height, width = ids.shape
    r = boundary_radius(height, width) if radius is None else radius
    if r < 1:
        raise ValueError(f"radius={r}: expected at least 1")
    mask = np.ones((height, width), bool)
    if height <= 2 * r or width <= 2 * r:  # every square leaves the frame
        return mask
    columns = _any_in_window(ids[1:] != ids[:-1], 2 * r)  # (H-2r, W): the column through x, rows y-r..y+r, is not uniform
    row = ids[r : height - r]
    sideways = row[:, 1:] != row[:, :-1]
    sideways |= columns[:, 1:]
    sideways |= columns[:, :-1]
    mask[r : height - r, r : width - r] = _any_in_window(sideways.T, 2 * r).T
    return mask


def _any_in_window(flags: np.ndarray, length: int) -> np.ndarray:
    """(n, m) bool -> (n - length + 1, m): whether any of `length` consecutive rows is set. Windows double, the last two overlap."""
    size = 1
    while 2 * size <= length:
        flags = flags[:-size] | flags[size:]
        size *= 2
    rest = length - size
    return flags[:-rest] | flags[rest:] if rest else flags
