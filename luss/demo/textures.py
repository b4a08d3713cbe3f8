"""The texture families of the objects: pattern values in [0, 1] at points given in pixels, 0 and 1 being the two main tones."""

from __future__ import annotations

import numpy as np

from .fields import cells

COARSENESS = 0.5  # patterns twice their own period: in a 64 pixel crop they must survive an encoder that halves it twice at once


def texture(name: str, rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A random member of a texture family.

    Args:
        x, y: float32 of equal shape, coordinates in pixels along and across the object.

    Returns:
        value: float32 in [0, 1], the mixture of the two main tones.
        third: float32 in [0, 1], how much of a third tone is to be mixed in; 0 for most families.
    """
    return _FAMILIES[name](rng, x * COARSENESS, y * COARSENESS)


def _step(field: np.ndarray, softness: float) -> np.ndarray:
    """0 below zero, 1 above, linear within +-softness / 2."""
    return np.clip(field / softness + 0.5, 0, 1)


def _stripes(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    period = rng.uniform(8.5, 10.5)
    phase = (x + 1.2 * np.sin(y / rng.uniform(9, 16) + rng.uniform(0, 6))) * (2 * np.pi / period)
    value = _step(np.sin(phase + rng.uniform(0, 6)) + rng.uniform(-0.25, 0.25), 0.9)
    third = 0.8 * _step(np.sin(phase / 3), 0.4) if rng.random() < 0.3 else np.zeros_like(x)  # now and then a stripe of its own tone
    return value, third * value


def _dots(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    period = rng.uniform(12, 14.5)
    radius = rng.uniform(0.27, 0.33)
    u, v = x / period + rng.random(), y / (period * 0.87) + rng.random()
    row = np.floor(v)
    across = (v - row - 0.5) * 0.87
    along = u - 0.5 * (row % 2)
    distance = np.hypot(along - np.floor(along) - 0.5, across)
    return _step(radius - distance, 0.16), np.zeros_like(x)


def _cells(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    edge, tone = cells(rng, x, y, rng.uniform(12.5, 15.5))
    return _step(edge - rng.uniform(0.17, 0.24), 0.16), 0.55 * tone


def _checker(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    period = rng.uniform(13, 15.5)
    wave = np.sin(x * (2 * np.pi / period) + rng.uniform(0, 6)) * np.sin(y * (2 * np.pi / (period * rng.uniform(0.9, 1.1))) + rng.uniform(0, 6))
    return _step(wave, 0.35), np.zeros_like(x)


def _zigzag(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    period = rng.uniform(9, 11)
    width = rng.uniform(14, 17)
    tooth = np.abs((x / width + rng.random()) % 1 - 0.5) * 2  # 0 to 1 and back
    value = _step(np.sin((y + tooth * width * rng.uniform(0.5, 0.65)) * (2 * np.pi / period)) + rng.uniform(-0.2, 0.2), 0.9)
    return value, np.zeros_like(x)


def _patches(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Irregular blotches, as on a cow: a sum of waves in all directions, cut at a level."""
    field = np.zeros_like(x)
    for _ in range(8):
        period, bearing = rng.uniform(17, 27), rng.uniform(0, 2 * np.pi)
        field += np.sin((x * np.cos(bearing) + y * np.sin(bearing)) * (2 * np.pi / period) + rng.uniform(0, 2 * np.pi)).astype(np.float32)
    return _step(field + rng.uniform(-0.4, 0.4), 0.7), np.zeros_like(x)


def _net(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Thin light lines that cross at right angles, diagonally."""
    period, width = rng.uniform(9.5, 11.5), rng.uniform(0.20, 0.26)
    lines = [np.abs((axis / period + rng.random()) % 1 - 0.5) for axis in ((x + y) * np.float32(0.7071), (x - y) * np.float32(0.7071))]
    return _step(width / 2 - np.minimum(*lines), 0.12), np.zeros_like(x)


_FAMILIES = {"stripes": _stripes, "dots": _dots, "cells": _cells, "checker": _checker, "zigzag": _zigzag, "patches": _patches, "net": _net}
