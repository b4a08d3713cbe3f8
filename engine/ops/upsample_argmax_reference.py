"""NumPy reference of engine.ops.upsample_argmax."""

from __future__ import annotations

import numpy as np


def bilinear_matrix(source: int, target: int) -> np.ndarray:
    """(target, source) float64: row i holds the weights of output i, pixel centres, clamped at both ends."""
    matrix = np.zeros((target, source))
    for i in range(target):
        at = max((i + 0.5) * source / target - 0.5, 0)
        low = min(int(at), source - 1)
        matrix[i, low] += 1 - (at - low)
        matrix[i, min(low + 1, source - 1)] += at - low
    return matrix


def nearest_rows(grid: int, target: int) -> np.ndarray:
    """(target,) index into the grid: the published rule, in float32."""
    return np.minimum((np.arange(target, dtype=np.float32) * (np.float32(grid) / np.float32(target))).astype(np.int64), grid - 1)


def enlarge(x: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """(.., h, w) by weights (H, h) and (W, w), float64; numbers of weight 0 are not looked at."""

    def along_last(values, weights):
        out = np.zeros((*values.shape[:-1], len(weights)))
        for i, weight in enumerate(weights):
            taps = np.flatnonzero(weight)
            out[..., i] = (values[..., taps] * weight[taps]).sum(-1)
        return out

    with np.errstate(invalid="ignore"):
        return along_last(along_last(x.astype(np.float64).swapaxes(-1, -2), rows).swapaxes(-1, -2), columns)


def enlarge_map(x: np.ndarray, size) -> np.ndarray:
    """NumPy reference of engine.ops.upsample_argmax.enlarge_map."""
    return enlarge(x, *(bilinear_matrix(source, int(target)) for source, target in zip(x.shape, size))).astype(np.float32)


def grid_size(size, grid, max_res: int) -> tuple[int, int]:
    height, width = (int(side) for side in size)
    if grid is not None:
        return grid
    if max_res > 0 and height * width > max_res * max_res:
        return max_res, max(1, int(max_res * width / height))
    return height, width


def enlarged_logits(x: np.ndarray, size, middle=None, grid=None, max_res: int = 0) -> np.ndarray:
    """(k, h, w) -> (k, H, W) float64: the values that are compared."""
    axes = []
    for source, inner, target, final in zip(x.shape[1:], middle or x.shape[1:], grid_size(size, grid, max_res), size):
        weights = bilinear_matrix(inner, target) @ bilinear_matrix(source, inner) if middle else bilinear_matrix(source, target)
        axes.append(weights[nearest_rows(target, int(final))])
    return enlarge(x, *axes)


def upsample_argmax(logits, sizes, attention=None, middle=None, grid=None, max_res: int = 0, first_id: int = 0, threshold: float = 0.0):
    """All enlarged logits in float64, then argmax; see engine.ops.upsample_argmax."""
    maps = []
    for i, size in enumerate(sizes):
        labels = enlarged_logits(logits[i], size, middle, grid, max_res).argmax(0) + first_id
        if attention is not None:
            labels[enlarge_map(attention[i], size) < np.float32(threshold)] = 0
        maps.append(np.ascontiguousarray(labels, np.int32))
    return maps
