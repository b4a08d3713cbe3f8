"""NumPy reference of engine.ops.label_maps."""

from __future__ import annotations

import numpy as np

from .upsample_reference import upsample_bilinear


def upsample_argmax(logits: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """NumPy reference of engine.ops.label_maps.upsample_argmax: all enlarged logits in float64, then argmax."""
    return upsample_bilinear(logits[None], size)[0].argmax(0)
