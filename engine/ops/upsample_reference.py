"""NumPy reference of engine.ops.upsample."""

from __future__ import annotations

import numpy as np


def upsample_bilinear(x: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """NumPy reference of engine.ops.upsample.upsample_bilinear: four neighbours, float64."""
    out = np.zeros((*x.shape[:2], *size))
    for i, (i0, i1, fv) in enumerate(_neighbours(x.shape[2], size[0])):
        for j, (j0, j1, fu) in enumerate(_neighbours(x.shape[3], size[1])):
            out[..., i, j] = (1 - fv) * ((1 - fu) * x[..., i0, j0] + fu * x[..., i0, j1]) + fv * ((1 - fu) * x[..., i1, j0] + fu * x[..., i1, j1])
    return out


def upsample_bilinear_grad(gradient: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Of sum(gradient * upsample_bilinear(x, ...)) by x, whose last two axes have `size`: each output's share goes to its four neighbours."""
    out = np.zeros((*gradient.shape[:2], *size))
    for i, (i0, i1, fv) in enumerate(_neighbours(size[0], gradient.shape[2])):
        for j, (j0, j1, fu) in enumerate(_neighbours(size[1], gradient.shape[3])):
            g = gradient[..., i, j].astype(np.float64)
            out[..., i0, j0] += (1 - fv) * (1 - fu) * g
            out[..., i0, j1] += (1 - fv) * fu * g
            out[..., i1, j0] += fv * (1 - fu) * g
            out[..., i1, j1] += fv * fu * g
    return out


def _neighbours(source: int, target: int) -> list[tuple[int, int, float]]:
    """Of each output: the lower and the upper input, and the share of the upper."""
    found = []
    for i in range(target):
        position = max((i + 0.5) * source / target - 0.5, 0)
        low = min(int(position), source - 1)
        found.append((low, min(low + 1, source - 1), position - low))
    return found
