"""NumPy reference of engine.ops.attention_pool, in float64."""

from __future__ import annotations

import numpy as np


def enlarge(x: np.ndarray) -> np.ndarray:
    """(..., h, w) -> (..., 4h, 4w): bilinear, pixel centres, edges repeated; taps of weight 0 are not read."""
    for axis in (-2, -1):
        x = np.moveaxis(np.asarray(x, np.float64), axis, -1)
        padded = np.concatenate([x[..., :1], x, x[..., -1:]], -1)
        before, here, after = padded[..., :-2], x, padded[..., 2:]
        parts = [(3 * before + 5 * here) / 8, (before + 7 * here) / 8, (7 * here + after) / 8, (5 * here + 3 * after) / 8]
        x = np.moveaxis(np.stack(parts, -1).reshape(*x.shape[:-1], 4 * x.shape[-1]), -1, axis)
    return x


def shrink(x: np.ndarray) -> np.ndarray:
    """The transpose of `enlarge`: (..., 4h, 4w) -> (..., h, w)."""
    rows, columns = (_matrix(x.shape[axis] // 4) for axis in (-2, -1))
    return np.einsum("Hh,...HW,Ww->...hw", rows, np.asarray(x, np.float64), columns)


def _matrix(size: int) -> np.ndarray:
    """(4 size, size) weights along one axis."""
    return enlarge(np.eye(size)[:, None, :])[:, 0, :].T


def pixel_norms(features: np.ndarray) -> np.ndarray:
    """NumPy reference of engine.ops.attention_pool.pixel_norms."""
    return np.sqrt(np.maximum((enlarge(features) ** 2).sum(1, keepdims=True), 1e-24))


def _parts(features, logits, threshold, normalize):
    norms = pixel_norms(features) if normalize else 1.0
    s = 1 / (1 + np.exp(-(np.asarray(logits, np.float64) + np.asarray(threshold, np.float64)[:, None, None])))
    return norms, enlarge(features) / norms, s


def attention_pool(features, logits, threshold, normalize=True):
    """NumPy reference of engine.ops.attention_pool.attention_pool."""
    _, unit, s = _parts(features, logits, threshold, normalize)
    return (unit * s).mean((2, 3))


def attention_pool_grad(features, logits, threshold, gradient, normalize=True):
    """Gradients of sum(gradient * attention_pool(...)) by features, logits and threshold."""
    norms, unit, s = _parts(features, logits, threshold, normalize)
    g = np.asarray(gradient, np.float64)[:, :, None, None] / unit[0, 0].size
    d_logits = g * unit * s * (1 - s)
    d_u = g * s / norms
    if normalize:
        d_u = d_u - np.where(norms > 1e-12, unit * (g * s * unit).sum(1, keepdims=True) / norms, 0)
    return shrink(d_u), d_logits, d_logits.sum((0, 2, 3))
