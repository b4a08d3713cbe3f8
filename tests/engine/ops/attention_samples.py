"""Inputs of attention_pool and attention_head, and how far float32 may lead away from the float64 reference.

Bounds are first-order: 2^-24 for each rounding that a number goes through, times the size of what was rounded. An enlarged value is a sum of
four taps, so its error is in proportion to the enlarged |f|, not to itself; a pixel's norm inherits that, `spread` times.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from engine.ops.attention_head import HeadWeights
from engine.ops.attention_pool_reference import enlarge, pixel_norms, shrink

UNIT = 2.0**-24
SHAPES = [(2, 5, 3, 4), (1, 70, 7, 7), (3, 2, 1, 1), (2, 3, 8, 11), (1, 33, 1, 9), (1, 1, 2, 1)]  # n, c, h, w


class PoolInputs(NamedTuple):
    features: np.ndarray
    logits: np.ndarray
    threshold: np.ndarray


def pool_inputs(seed: int, n: int, c: int, h: int, w: int, spread: float = 3.0) -> PoolInputs:
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((n, c, h, w)).astype(np.float32)
    logits = (spread * rng.standard_normal((n, c, 4 * h, 4 * w))).astype(np.float32)
    return PoolInputs(features, logits, rng.standard_normal(c).astype(np.float32))


def head_inputs(seed: int, n: int, c: int, h: int, w: int) -> tuple[np.ndarray, HeadWeights]:
    rng = np.random.default_rng(seed)

    def draw(*shape):
        return rng.standard_normal(shape).astype(np.float32)

    features = np.maximum(draw(n, c, h, w) + 0.5, 0)  # as an encoder's last ReLU leaves them, some pixels all zero where c is small
    weights = HeadWeights(draw(c, c), 1 + draw(c) / 8, draw(c) / 4, draw(c, c) / np.float32(np.sqrt(c)), 1 + draw(c) / 8, draw(c))
    return features, weights


def norm_roundings(c: int) -> float:
    """Of a norm: taps, squares, the sum in either path's pieces, halved by the root, which adds its own."""
    return 8 + (32 + max(c / 32, c / 16)) / 2


def norm_bound(features: np.ndarray) -> np.ndarray:
    """Of |computed - exact| of pixel_norms."""
    return norm_roundings(features.shape[1]) * UNIT * pixel_norms(np.abs(features))


class PoolBounds(NamedTuple):
    pooled: np.ndarray
    d_features: np.ndarray
    d_logits: np.ndarray
    d_threshold: np.ndarray


def pool_bounds(inputs: PoolInputs, gradient: np.ndarray, normalize: bool) -> PoolBounds:
    """Of |computed - exact| of attention_pool and its gradients."""
    features, logits, threshold = (array.astype(np.float64) for array in inputs)
    n, c, pixels = features.shape[0], features.shape[1], logits[0, 0].size
    x = logits + threshold[:, None, None]
    s = 1 / (1 + np.exp(-x))
    size, norms, spread = enlarge(np.abs(features)), 1.0, 0.0
    if normalize:
        norms = pixel_norms(features)
        spread = norm_roundings(c) * pixel_norms(np.abs(features)) / norms
    # taps 4, division 2, sigmoid 8 and the rounding of x itself; spread: of the norm
    each = UNIT * (20 + np.abs(x) + spread)
    added = UNIT * (pixels / 4 + 8)  # one after another at most: SSE's four lanes have the longest chains
    unit = size / norms
    g = np.abs(gradient.astype(np.float64))[:, :, None, None] / pixels
    d_logits = g * unit * s * (1 - s)
    direct, lost = g * s / norms, 0.0
    if normalize:
        lost = unit * (g * s * unit * (1 + each + UNIT * c)).sum(1, keepdims=True) / norms
    return PoolBounds(
        (unit * s * (each + added)).mean((2, 3)),
        shrink((direct + 3 * lost) * (each + UNIT * (64 + c)) + 3 * UNIT * spread * lost),
        d_logits * each,
        (d_logits * (each + added + UNIT * n)).sum((0, 2, 3)),
    )


def head_bounds(features: np.ndarray, weights: HeadWeights) -> tuple[np.ndarray, np.ndarray]:
    """Of |computed - exact| of pooled and attention. Products: at most c roundings one after another, each of the sum of sizes."""
    weight1, scale1, shift1, weight2, scale2, shift2 = (np.abs(np.asarray(array, np.float64)) for array in weights)
    c = features.shape[1]
    size = enlarge(np.abs(features))
    norms = pixel_norms(features)
    spread = norm_roundings(c) * pixel_norms(np.abs(features)) / norms
    first = np.einsum("dc,nchw->ndhw", weight1, size / norms) * scale1[:, None, None]
    hidden = first + shift1[:, None, None]
    hidden_error = UNIT * (first * (c + 12 + spread) + hidden * 4)
    second = np.einsum("dc,nchw->ndhw", weight2, hidden) * scale2[:, None, None]
    z_error = np.einsum("dc,nchw->ndhw", weight2, hidden_error) * scale2[:, None, None] + UNIT * (second * (c + 4) + shift2[:, None, None] * 2)
    s_error = z_error / 4 + UNIT * 8  # the slope of the logistic function is at most 1 / 4
    pixels = size[0, 0].size
    return (size * (s_error + UNIT * (12 + pixels / 4))).mean((2, 3)), s_error.mean(1, keepdims=True) + UNIT * c
