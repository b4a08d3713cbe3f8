"""NumPy reference of engine.ops.attention_head, in float64."""

from __future__ import annotations

import numpy as np

from .attention_pool_reference import enlarge, pixel_norms


def attention_head(features, weights):
    """NumPy reference of engine.ops.attention_head.attention_head, in the order that the method is written in: (pooled, attention)."""
    weight1, scale1, shift1, weight2, scale2, shift2 = (np.asarray(array, np.float64) for array in weights)
    u = enlarge(features)
    hidden = np.einsum("dc,nchw->ndhw", weight1, u / pixel_norms(features)) * scale1[:, None, None] + shift1[:, None, None]
    z = np.einsum("dc,nchw->ndhw", weight2, np.maximum(hidden, 0)) * scale2[:, None, None] + shift2[:, None, None]
    s = 1 / (1 + np.exp(-z))
    return (u * s).mean((2, 3)), s.mean(1, keepdims=True)
