"""Inputs for the tests of upsample_cross_entropy."""

from __future__ import annotations

import numpy as np

from engine.ops.upsample_argmax_reference import bilinear_matrix


def sample(seed: int, shape: tuple, size: tuple, ignore: int | None = None, scale: float = 3.0) -> tuple[np.ndarray, np.ndarray]:
    """Random logits and labels; half of the labels follow the source pixel's largest logit, a fifth is ignored where that is asked for."""
    rng = np.random.default_rng(seed)
    logits = (scale * rng.standard_normal(shape)).astype(np.float32)
    n, classes, h, w = shape
    rows, columns = np.arange(size[0]) * h // size[0], np.arange(size[1]) * w // size[1]
    likely = logits.argmax(1)[:, rows[:, None], columns]
    labels = np.where(rng.random((n, *size)) < 0.5, likely, rng.integers(0, classes, (n, *size))).astype(np.int32)
    if ignore is not None:
        labels[rng.random(labels.shape) < 0.2] = ignore
    return logits, labels


def gradient_bound(gradient: np.ndarray, labels: np.ndarray, ignore: int | None, middle: tuple | None, slack: float) -> np.ndarray:
    """How far off a gradient may be whose probabilities have a relative error of `slack`.

    It is the difference of two means, of probabilities and of labels; rounding is relative to each, so to their sum. The weights of
    interpolation are rounded too, by 1.2e-7 at most, small weights as well: that is relative to what the class has in the neighbourhood,
    so to no more than its sum over the image. Not below 1e-30, as exponentials end at 1e-38.
    """
    n, classes, h, w = gradient.shape
    rows, columns = bilinear_matrix(h, labels.shape[1]), bilinear_matrix(w, labels.shape[2])
    if middle is not None:
        rows = bilinear_matrix(middle[0], labels.shape[1]) @ bilinear_matrix(h, middle[0])
        columns = bilinear_matrix(middle[1], labels.shape[2]) @ bilinear_matrix(w, middle[1])
    chosen = (np.arange(classes)[:, None, None] == labels[:, None]) & (True if ignore is None else (labels != ignore)[:, None])
    count = labels.size if ignore is None else max(1, (labels != ignore).sum())
    of_labels = np.einsum("yv,nkyx,xu->nkvu", rows, chosen.astype(np.float64), columns, optimize=True) / count
    both = np.maximum(gradient + 2 * of_labels, 1e-30)
    return slack * both + 1.2e-7 * both.sum((2, 3), keepdims=True)
