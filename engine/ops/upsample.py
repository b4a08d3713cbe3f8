"""Bilinear enlargement by matrix products."""

from __future__ import annotations

import functools

import numpy as np

from ..runtime import jt
from .backend import use_reference
from .upsample_reference import upsample_bilinear as reference
from .upsample_reference import upsample_bilinear_grad as reference_grad


@functools.lru_cache(maxsize=256)
def interpolation_matrix(source: int, target: int) -> np.ndarray:
    """(target, source) float32 weights of bilinear interpolation along one axis, align_corners false (pixel centres).

    Row i holds the weights of output i: position (i + 0.5) source / target - 0.5, clamped at 0, neighbours clamped at the end.
    """
    position = np.maximum((np.arange(target, dtype=np.float64) + 0.5) * source / target - 0.5, 0.0)
    low = np.minimum(position.astype(np.int64), source - 1)
    high = np.minimum(low + 1, source - 1)
    weight = position - low
    matrix = np.zeros((target, source), np.float64)
    np.add.at(matrix, (np.arange(target), low), 1 - weight)
    np.add.at(matrix, (np.arange(target), high), weight)
    return matrix.astype(np.float32)


def upsample_bilinear(
    x: jt.Var,  # (n, c, h, w) float32
    size: tuple[int, int],  # (H, W)
) -> jt.Var:
    """Resize the last two axes bilinearly, align_corners false, no antialiasing; equal to torch's F.interpolate.

    Interpolation along an axis is a product with a sparse matrix of known size; as a dense product it runs in the vendor's
    GEMM, forward and backward, which on the CPU is several times faster than Jittor's gather (bench/bench_train_step.py).

    Returns: (n, c, H, W) float32. Gradient: to x. Deterministic.
    Raises: ValueError for a rank other than 4 or an empty map, or a size below 1.
    """
    if x.ndim != 4 or 0 in x.shape:
        raise ValueError(f"x: expected a non-empty (n, c, h, w), found {tuple(x.shape)}")
    n, c, h, w = x.shape
    height, width = (int(side) for side in size)
    if height < 1 or width < 1:
        raise ValueError(f"size: expected (H, W) of at least 1, found {tuple(size)}")
    if (h, w) == (height, width):
        return x
    if use_reference():
        return _reference_function()(x, (height, width))
    rows = jt.array(interpolation_matrix(h, height))
    columns = jt.array(interpolation_matrix(w, width).T.copy())
    y = jt.matmul(x.reshape(n * c * h, w), columns)  # (n c h, W)
    y = y.reshape(n * c, h, width).transpose(1, 0, 2).reshape(h, n * c * width)
    y = jt.matmul(rows, y)  # (H, n c W)
    return y.reshape(height, n * c, width).transpose(1, 0, 2).reshape(n, c, height, width)


@functools.cache
def _reference_function():
    class ReferenceUpsample(jt.Function):
        def execute(self, x, size):
            self.size = tuple(int(side) for side in x.shape[2:])
            return jt.array(reference(x.numpy(), size).astype(np.float32))

        def grad(self, gradient):
            return jt.array(reference_grad(gradient.numpy(), self.size).astype(np.float32)), None

    return ReferenceUpsample.apply
