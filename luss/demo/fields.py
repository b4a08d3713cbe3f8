"""Smooth random fields and blurs on 2-D float32 arrays, cheap enough for a few dozen an image."""

from __future__ import annotations

import numpy as np
from PIL import Image

_BICUBIC = Image.Resampling.BICUBIC


def resize(field: np.ndarray, height: int, width: int) -> np.ndarray:
    """(h, w) float32 to (height, width) float32, bicubic; may overshoot the range of `field` a little."""
    return np.asarray(Image.fromarray(np.ascontiguousarray(field, np.float32)).resize((width, height), _BICUBIC))


def noise(rng: np.random.Generator, height: int, width: int, cell: float) -> np.ndarray:
    """(height, width) float32: normal values on a grid of `cell` pixels, interpolated; standard deviation somewhat below 1."""
    rows, columns = max(2, round(height / cell) + 1), max(2, round(width / cell) + 1)
    return resize(rng.standard_normal((rows, columns), np.float32), height, width)


def octaves(rng: np.random.Generator, height: int, width: int, cell: float, count: int, persistence: float = 0.5) -> np.ndarray:
    """Sum of `count` noises, each of half the cell and `persistence` times the amplitude of the one before."""
    total = np.zeros((height, width), np.float32)
    amplitude = 1.0
    for _ in range(count):
        total += amplitude * noise(rng, height, width, max(cell, 1.0))
        cell /= 2
        amplitude *= persistence
    return total


def smooth(field: np.ndarray, radius: float) -> np.ndarray:
    """Wide blur of about `radius` pixels through a small copy of the field: fast, not exactly Gaussian."""
    height, width = field.shape
    step = max(1.0, radius * 1.2)
    small = Image.fromarray(np.ascontiguousarray(field, np.float32)).resize(
        (max(2, round(width / step)), max(2, round(height / step))), Image.Resampling.HAMMING
    )
    return np.asarray(small.resize((width, height), _BICUBIC))


def cells(rng: np.random.Generator, x: np.ndarray, y: np.ndarray, size: float) -> tuple[np.ndarray, np.ndarray]:
    """Voronoi cells of a jittered grid of `size` pixels, at the points (x, y).

    Returns:
        edge: float32 of the same shape, distance to the second nearest centre less that to the nearest, in units of `size`.
        tone: float32 in [0, 1), one random value a cell.
    """
    u, v = x / size, y / size
    column, row = np.floor(u).astype(np.int32), np.floor(v).astype(np.int32)
    left, top = int(column.min()) - 1, int(row.min()) - 1
    shape = (int(row.max()) - top + 2, int(column.max()) - left + 2)
    jitter = rng.random((3, *shape), np.float32)
    centre_u = (0.1 + 0.8 * jitter[0] + np.arange(left, left + shape[1], dtype=np.float32)).ravel()
    centre_v = (0.1 + 0.8 * jitter[1] + np.arange(top, top + shape[0], dtype=np.float32)[:, None]).ravel()
    home = (row - top) * shape[1] + (column - left)
    nearest = np.full(u.shape, np.inf, np.float32)
    second = nearest.copy()
    owner = home.copy()
    for shift in [down * shape[1] + right for down in (-1, 0, 1) for right in (-1, 0, 1)]:
        index = home + shift
        distance = (centre_u[index] - u) ** 2 + (centre_v[index] - v) ** 2
        closer = distance < nearest
        second = np.minimum(second, np.maximum(distance, nearest))
        np.copyto(nearest, distance, where=closer)
        np.copyto(owner, index, where=closer)
    return np.sqrt(second) - np.sqrt(nearest), jitter[2].ravel()[owner]
