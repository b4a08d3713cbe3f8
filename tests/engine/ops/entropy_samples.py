"""Inputs for the tests of upsample_cross_entropy."""

from __future__ import annotations

import numpy as np


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
