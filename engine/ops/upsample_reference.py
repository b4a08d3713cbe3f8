"""NumPy reference of engine.ops.upsample."""

from __future__ import annotations

import numpy as np


def upsample_bilinear(x: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """NumPy reference of engine.ops.upsample.upsample_bilinear: four neighbours, float64."""
    n, c, h, w = x.shape
    out = np.zeros((n, c, *size))
    for i in range(size[0]):
        v = max((i + 0.5) * h / size[0] - 0.5, 0)
        i0 = min(int(v), h - 1)
        i1, fv = min(i0 + 1, h - 1), v - i0
        for j in range(size[1]):
            u = max((j + 0.5) * w / size[1] - 0.5, 0)
            j0 = min(int(u), w - 1)
            j1, fu = min(j0 + 1, w - 1), u - j0
            out[..., i, j] = (1 - fv) * ((1 - fu) * x[..., i0, j0] + fu * x[..., i0, j1]) + fv * ((1 - fu) * x[..., i1, j0] + fu * x[..., i1, j1])
    return out
