"""Masks and label maps for tests and benchmarks: what SAM's generator and a segmentation network give, by chance."""

from __future__ import annotations

import numpy as np


def sam_like(count: int, height: int, width: int, seed: int = 0, area: float = 0.043) -> np.ndarray:
    """(count, height, width) bool: overlapping ellipses with rough borders, `area` of the image on average, a tenth of them large."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    rough = rng.standard_normal((16, height // 4 + 2, width // 4 + 2)).astype(np.float32).repeat(4, 1).repeat(4, 2)
    masks = np.zeros((count, height, width), bool)
    share = np.where(rng.random(count) < 0.1, 6.0, 0.62) * rng.uniform(0.5, 1.5, count) * area
    for i, (mask, part) in enumerate(zip(masks, share)):
        ratio, angle = rng.uniform(0.4, 2.5), rng.uniform(0, np.pi)
        long, short = np.sqrt(part * height * width / np.pi) * np.array([ratio, 1 / ratio]) ** 0.5
        dy, dx = y - rng.uniform(0, height), x - rng.uniform(0, width)
        along, across = dx * np.cos(angle) + dy * np.sin(angle), dy * np.cos(angle) - dx * np.sin(angle)
        mask[:] = (along / long) ** 2 + (across / short) ** 2 + 0.08 * rough[i % 16, :height, :width] < 1
    return masks


def predicted(height: int, width: int, labels: int, seed: int = 0) -> np.ndarray:
    """(height, width) uint16: the largest of smooth random logits, as a network's prediction has regions."""
    rng = np.random.default_rng(seed)
    logits = rng.standard_normal((labels, 12, 16)).astype(np.float32)
    columns = _between(16, width)
    rows = _between(12, height)
    best, found = np.full((height, width), -np.inf, np.float32), np.zeros((height, width), np.uint16)
    for label, logit in enumerate(logits):
        value = rows @ logit @ columns.T
        found[value > best] = label
        best = np.maximum(best, value)
    return found


def _between(count: int, size: int) -> np.ndarray:
    """(size, count) weights of linear interpolation from `count` values to `size`."""
    return np.array([np.interp(np.linspace(0, count - 1, size), np.arange(count), unit) for unit in np.eye(count)], np.float32).T
