"""Colours of categories and of attention."""

from __future__ import annotations

import functools

import numpy as np

OTHER = (38, 42, 50)
IGNORE_LIGHT, IGNORE_DARK = (226, 228, 232), (172, 176, 184)  # the two tones of the hatch
_SIZE = 1000  # colours before they repeat; more than the 919 categories of ImageNet-S
_HEAT = ((12, 8, 38), (86, 24, 110), (188, 55, 84), (249, 142, 9), (252, 255, 190))  # dark to light, also in grey print


@functools.lru_cache(maxsize=1)
def category_colours() -> np.ndarray:
    """(1000, 3) uint8: row i - 1 is the colour of id i. The first are the most unlike each other, "other" and ignore.

    Each next colour is the one of a grid over RGB whose nearest predecessor is farthest, in the Oklab space (Ottosson 2020),
    where distance follows perception.
    """
    levels = np.arange(0, 256, 17)
    grid = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), -1).reshape(-1, 3)
    lab = _oklab(grid)
    fit = (np.hypot(lab[:, 1], lab[:, 2]) > 0.05) & (lab[:, 0] > 0.4)  # greys look like ignore, dark colours like "other"
    grid, lab = grid[fit], lab[fit]
    taken = _oklab(np.array([OTHER, IGNORE_LIGHT, (255, 255, 255)]))
    distance = np.min(((lab[:, None] - taken[None]) ** 2).sum(-1), axis=1)
    chosen = np.empty(_SIZE, np.int64)
    for i in range(_SIZE):
        chosen[i] = distance.argmax()
        distance = np.minimum(distance, ((lab - lab[chosen[i]]) ** 2).sum(-1))
    return grid[chosen].astype(np.uint8)


def colour(number: int) -> tuple[int, int, int]:
    """Colour of an id; 0 is "other"."""
    if number == 0:
        return OTHER
    r, g, b = category_colours()[(number - 1) % _SIZE].tolist()
    return r, g, b


def heat(values: np.ndarray) -> np.ndarray:
    """Values in [0, 1] (clipped; NaN as 0) of any shape -> uint8 colours with a last axis of 3."""
    v = np.clip(np.nan_to_num(values), 0, 1)
    stops = np.linspace(0, 1, len(_HEAT))
    return np.stack([np.interp(v, stops, channel) for channel in zip(*_HEAT)], -1).round().astype(np.uint8)


def css(rgb: tuple[int, int, int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*rgb)


def heat_gradient() -> str:
    """The scale of `heat` as a CSS background."""
    return f"linear-gradient(90deg,{','.join(css(stop) for stop in _HEAT)})"


def _oklab(rgb: np.ndarray) -> np.ndarray:
    """sRGB (n, 3) in 0..255 -> Oklab (n, 3)."""
    c = rgb / 255
    linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
    cones = linear @ np.array(
        [[0.4122214708, 0.2119034982, 0.0883024619], [0.5363325363, 0.6806995451, 0.2817188376], [0.0514459929, 0.1073969566, 0.6299787005]]
    )
    mix = [[0.2104542553, 1.9779984951, 0.0259040371], [0.7936177850, -2.4285922050, 0.7827717662], [-0.0040720468, 0.4505937099, -0.8086757660]]
    return np.cbrt(cones) @ np.array(mix)
