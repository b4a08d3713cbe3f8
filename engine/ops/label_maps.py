"""From maps at the encoder's resolution to maps at the image's size, on the CPU, in bounded memory."""

from __future__ import annotations

import numpy as np

from .upsample import interpolation_matrix

ROWS = 32  # output rows enlarged at a time


def enlarge_map(x: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(h, w) float32 -> (H, W) float32, bilinear, align_corners false."""
    return interpolation_matrix(x.shape[0], size[0]) @ (x @ interpolation_matrix(x.shape[1], size[1]).T)


def enlarge_labels(labels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(h, w) ids -> (H, W), nearest: source index min(floor(dst in / out), in - 1) with a float32 product."""
    axes = []
    for source, target in zip(labels.shape, size):
        axes.append(np.minimum((np.arange(target, dtype=np.float32) * np.float32(source / target)).astype(np.int64), source - 1))
    return labels[axes[0]][:, axes[1]]


def upsample_argmax(
    logits: np.ndarray,  # (k, h, w) float32
    size: tuple[int, int],  # (H, W)
) -> np.ndarray:
    """Class of the largest bilinearly enlarged logit at each pixel, (H, W) int32; equal logits give the smallest id.

    The (k, H, W) logits are never stored: at most `ROWS` rows of them at a time.
    Raises: ValueError for a rank other than 3 or an empty array.
    """
    if logits.ndim != 3 or 0 in logits.shape:
        raise ValueError(f"logits: expected a non-empty (k, h, w), found {logits.shape}")
    wide = logits @ interpolation_matrix(logits.shape[2], size[1]).T  # (k, h, W)
    rows = interpolation_matrix(logits.shape[1], size[0])
    out = np.empty(size, np.int32)
    for first in range(0, size[0], ROWS):
        block = np.matmul(rows[first : first + ROWS][None], wide)  # (k, rows, W)
        out[first : first + ROWS] = block.argmax(0)
    return out


def upsample_argmax_limited(logits: np.ndarray, size: tuple[int, int], max_res: int) -> np.ndarray:
    """`upsample_argmax`, but for images of more than max_res^2 pixels at max_res rows, then nearest (spec/pass.md 8)."""
    height, width = size
    if max_res <= 0 or height * width <= max_res * max_res:
        return upsample_argmax(logits, size)
    return enlarge_labels(upsample_argmax(logits, (max_res, max(1, int(max_res * width / height)))), size)
