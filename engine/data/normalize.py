"""Pixels to network input."""

from __future__ import annotations

import numpy as np

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
STD_PUBLISHED = (0.228, 0.224, 0.225)  # the first value is a slip of the published stages 1 and 2.1


def normalize(images: np.ndarray, std: tuple[float, float, float] = STD) -> np.ndarray:
    """(x / 255 - MEAN) / std, channels first.

    Args:
        images: (N, H, W, 3) uint8.

    Returns:
        (N, 3, H, W) float32, contiguous.
    """
    if images.ndim != 4 or images.shape[-1] != 3 or images.dtype != np.uint8:
        raise ValueError(f"images {images.shape} {images.dtype}: expected (N, H, W, 3) uint8")
    scale = [np.float32(1 / (255 * s)) for s in std]
    shift = [np.float32(-m / s) for m, s in zip(MEAN, std)]
    out = np.empty((images.shape[0], 3) + images.shape[1:3], np.float32)
    for image, planes in zip(images, out):  # plane by plane: each stays in the cache for its second pass
        for channel in range(3):
            np.multiply(image[..., channel], scale[channel], out=planes[channel])
            planes[channel] += shift[channel]
    return out
