"""NumPy reference of engine.ops.upsample_cross_entropy."""

from __future__ import annotations

import numpy as np

from .upsample_argmax_reference import bilinear_matrix


def upsample_cross_entropy(logits, labels, ignore=None, middle=None):
    """Loss, accuracy and the loss's gradient by the logits: enlarged in full, in float64."""
    n, k, h, w = logits.shape
    rows, columns = bilinear_matrix(h, labels.shape[1]), bilinear_matrix(w, labels.shape[2])
    if middle is not None:
        rows = bilinear_matrix(middle[0], labels.shape[1]) @ bilinear_matrix(h, middle[0])
        columns = bilinear_matrix(middle[1], labels.shape[2]) @ bilinear_matrix(w, middle[1])
    counts = np.ones(labels.shape, bool) if ignore is None else labels != ignore
    total = counts.sum()
    loss, right, gradient = 0.0, 0, np.zeros(logits.shape)
    for i in range(n):
        if not counts[i].any():
            continue
        if not np.isfinite(logits[i]).all():
            loss, gradient[i] = np.nan, np.nan
            continue
        z = np.einsum("yv,kvu,xu->kyx", rows, logits[i].astype(np.float64), columns, optimize=True)
        picked = np.take_along_axis(z, np.where(counts[i], labels[i], 0)[None], 0)[0]
        right += ((picked >= z.max(0)) & counts[i]).sum()
        z -= z.max(0)
        p = np.exp(z)
        p /= p.sum(0)
        onehot = np.arange(k)[:, None, None] == labels[i]
        chosen = (np.log(p.sum(0)) - np.where(onehot, z - np.log(np.exp(z).sum(0)), 0).sum(0))[counts[i]]
        loss += chosen.sum()
        gradient[i] = np.einsum("yv,kyx,xu->kvu", rows, (p - onehot) * counts[i], columns, optimize=True) / total
    return loss / max(total, 1), right / max(total, 1), gradient
