"""Where crops lie: random-resized boxes, evaluation sizes, pixel-correspondence grids (spec/pass.md, sections 3.2, 3.3, 5).

A box is (left, top, width, height) in pixels of the original image; with a flip bit as fifth number where grids need it.
"""

from __future__ import annotations

import math
import random

import numpy as np

_CROPS_KEY = 0x6C7573735F637270  # second half of the Philox key, so that other users of the seed draw other numbers
_WORD = (1 << 64) - 1


class NumpyDraws:
    """The two draws a crop needs, from a NumPy generator."""

    def __init__(self, generator: np.random.Generator):
        self._generator = generator

    def uniform(self, low: float, high: float) -> float:
        return low + (high - low) * self._generator.random()

    def integers_inclusive(self, low: int, high: int) -> int:
        return int(self._generator.integers(low, high, endpoint=True))


class PythonDraws:
    """The same draws from Python's `random`, which the published code uses; the golden boxes are made with it."""

    def __init__(self, source: random.Random):
        self.uniform = source.uniform
        self.integers_inclusive = source.randint


def crop_rng(seed: int, epoch: int, image_index: int, crop: int) -> np.random.Generator:
    """Generator of one crop of one image in one epoch: depends on these four numbers alone, not on the order of loading."""
    # Philox counts its lowest word up while drawing; the other three are ours, so no two streams ever meet.
    key = np.array([seed & _WORD, _CROPS_KEY], np.uint64)
    counter = np.array([0, crop, image_index, epoch], np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=counter))


def random_resized_crop(
    rng: np.random.Generator | NumpyDraws | PythonDraws,
    width: int,
    height: int,
    scale: tuple[float, float],
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> tuple[int, int, int, int]:
    """A random box in an image of width x height pixels.

    Draws, in this order and up to ten times: area, logarithm of the aspect ratio, and where the box fits top, then left.
    After ten misfits the centre box of the nearest allowed aspect ratio is taken.

    Args:
        rng: NumPy generator, or an object with `uniform(low, high)` and `integers_inclusive(low, high)`.
        scale: smallest and largest share of the image's area.
        ratio: smallest and largest width / height, log-uniform between them.

    Returns:
        (left, top, width, height), inside the image, at least 1 x 1.
    """
    if width < 1 or height < 1:
        raise ValueError(f"width={width}, height={height}: expected at least 1")
    draws = NumpyDraws(rng) if isinstance(rng, np.random.Generator) else rng
    log_ratio = (math.log(ratio[0]), math.log(ratio[1]))
    for _ in range(10):
        area = draws.uniform(*scale) * (width * height)
        aspect = math.exp(draws.uniform(*log_ratio))
        w = round(math.sqrt(area * aspect))
        h = round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            top = draws.integers_inclusive(0, height - h)
            left = draws.integers_inclusive(0, width - w)
            return left, top, w, h
    w, h = width, height
    if width / height < min(ratio):
        h = round(w / min(ratio))
    elif width / height > max(ratio):
        w = round(h * max(ratio))
    return (width - w) // 2, (height - h) // 2, w, h


def correspondence_grids(box_q, box_k, size: int = 7) -> tuple[np.ndarray, np.ndarray]:
    """Sampling grids over the overlap of two crops of one image (section 3.3).

    Args:
        box_q, box_k: (left, top, width, height, flip) in pixels of the original image.
        size: points a side, at least 2.

    Returns:
        Two (size, size, 2) float32 arrays of (x, y) in [-1, 1]; [i, j] is the same point of the image in both. All -2 in
        both where the crops share no area: sampled with zero padding, such a grid gives zero vectors.
    """
    (xq, yq, wq, hq), (xk, yk, wk, hk) = box_q[:4], box_k[:4]
    left, top = max(xq, xk), max(yq, yk)
    right, bottom = min(xq + wq, xk + wk), min(yq + hq, yk + hk)
    if left >= right or top >= bottom:
        return np.full((size, size, 2), -2, np.float32), np.full((size, size, 2), -2, np.float32)
    steps = np.arange(size) / (size - 1)
    grids = []
    for x, y, w, h, flip in (box_q, box_k):
        u = (left - x) / w + steps * ((right - left) / w)
        v = (top - y) / h + steps * ((bottom - top) / h)
        grid = np.empty((size, size, 2), np.float32)
        grid[..., 0] = 2 * (1 - u if flip else u) - 1
        grid[..., 1] = (2 * v - 1)[:, None]
        grids.append(grid)
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
