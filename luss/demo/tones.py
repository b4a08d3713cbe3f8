"""Random colours of a given lightness, drawn independently of the category."""

from __future__ import annotations

import colorsys

import numpy as np

_WEIGHTS = np.array([0.299, 0.587, 0.114])
_HUE = (0.09, 0.035)  # mean and deviation, in turns: earth and fur. Were it free, a small network would tell pictures apart by it


def colour(rng: np.random.Generator, lightness: float, share: float = 1.0) -> np.ndarray:
    """(3,) float32 RGB in [0, 1] of this luma (0 to 1): a grey to a warm brown. `share` (0 to 1) scales the saturation."""
    pure = np.array(colorsys.hsv_to_rgb(rng.normal(*_HUE) % 1.0, share * 0.5 * rng.random(), 1.0))
    luma = float(pure @ _WEIGHTS)
    if lightness <= luma:
        return (pure * (lightness / luma)).astype(np.float32)
    return (pure + (1 - pure) * ((lightness - luma) / (1 - luma))).astype(np.float32)


def tones(rng: np.random.Generator) -> np.ndarray:
    """(3, 3) float32: a dark and a clearly lighter colour, and a third between or beside them."""
    distance = rng.uniform(0.48, 0.62)
    low = rng.uniform(0.06, 0.24)
    pair = [low, low + distance]
    third = float(np.clip(pair[1] + 0.5 * (pair[0] - pair[1]) * rng.uniform(-0.6, 0.9), 0.04, 0.96))
    return np.stack([colour(rng, lightness) for lightness in (*pair, third)])
