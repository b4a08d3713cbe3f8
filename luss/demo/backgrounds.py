"""Backgrounds: textures out of focus, of any pale colour, drawn without knowledge of the objects."""

from __future__ import annotations

import numpy as np

from .fields import cells, noise, octaves, resize, smooth
from .tones import colour

_SCALE = 2  # drawn at this fraction of the size: what is out of focus needs no more


def background(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """(height, width, 3) float32, about [0, 1]."""
    h, w = -(-height // _SCALE), -(-width // _SCALE)
    field = _FAMILIES[rng.integers(len(_FAMILIES))](rng, h, w)
    field = smooth(field, rng.uniform(1.0, 3.0))  # in half pixels
    field = (field - field.mean()) / (field.std() + 1e-6)
    light = rng.uniform(0.38, 0.54)
    contrast = rng.uniform(0.018, 0.055)
    base, other = colour(rng, light, 0.5), colour(rng, light + rng.uniform(-0.07, 0.07), 0.5)
    place = np.clip(0.5 + 0.35 * octaves(rng, h, w, h / 2, 2), 0, 1)[..., None]
    image = base + place * (other - base) + contrast * np.clip(field, -2.2, 2.2)[..., None]
    image *= 1 + 0.03 * noise(rng, h, w, 3)[..., None]
    return np.stack([resize(image[..., channel], height, width) for channel in range(3)], -1)


def _clouds(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    return octaves(rng, height, width, rng.uniform(12, 40), 5, rng.uniform(0.5, 0.75))


def _bands(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Folds of cloth, boards, furrows: warped, of uneven width."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    angle = rng.uniform(0, np.pi)
    along = x * np.cos(angle) + y * np.sin(angle) + 5 * noise(rng, height, width, 30)
    period = rng.uniform(14, 34)
    wave = np.sin(along * (2 * np.pi / period)) + 0.6 * np.sin(along * (2 * np.pi / period / 1.7) + 1)
    return wave + 0.4 * octaves(rng, height, width, 8, 2)


def _gravel(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width].astype(np.float32)
    depth = 1 + rng.uniform(-0.3, 0.3) * (y / height - 0.5)  # stones grow towards the viewer
    edge, tone = cells(rng, x * depth + 2 * noise(rng, height, width, 10), y * depth, rng.uniform(5, 11))
    return 1.6 * tone + np.minimum(edge, 0.4)


def _bokeh(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Soft discs of out-of-focus lights."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    total = 0.5 * octaves(rng, height, width, 30, 2)
    for _ in range(int(rng.integers(8, 20))):
        radius = rng.uniform(4, 14)
        centre_y, centre_x = rng.uniform(0, height), rng.uniform(0, width)
        top, left = max(int(centre_y - radius) - 1, 0), max(int(centre_x - radius) - 1, 0)
        patch = np.s_[top : int(centre_y + radius) + 3, left : int(centre_x + radius) + 3]
        distance = np.hypot(y[patch] - centre_y, x[patch] - centre_x)
        total[patch] += rng.uniform(-1, 1.6) * np.clip(radius - distance, 0, 1.5) / 1.5
    return total


def _horizon(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Two grounds with a rough line between them."""
    y = np.arange(height, dtype=np.float32)[:, None]
    line = height * rng.uniform(0.25, 0.75) + height * 0.06 * noise(rng, height, width, rng.uniform(10, 40))
    below = np.clip((y - line) / 2 + 0.5, 0, 1)
    far, near = octaves(rng, height, width, 40, 2), octaves(rng, height, width, 9, 3, 0.7)
    return rng.uniform(-2.5, 2.5) * below + (1 - below) * far * 0.5 + below * near * 0.8


_FAMILIES = (_clouds, _bands, _gravel, _bokeh, _horizon)
