"""NumPy reference of engine.ops.pixel_nearest_centroid."""

from __future__ import annotations

import numpy as np

from .upsample_argmax_reference import bilinear_matrix, enlarge, enlarge_map, nearest_rows


def cosines(features: np.ndarray, centroids: np.ndarray, factor: int = 4) -> np.ndarray:
    """(C, h, w), (K, C) -> (K, factor h, factor w) float64: as published, of the enlarged and then normalised features."""
    axes = [bilinear_matrix(side, factor * side) for side in features.shape[1:]]
    pixels = enlarge(features, *axes)
    pixels /= np.maximum(np.linalg.norm(pixels, axis=0), 1e-12)
    centroids = centroids.astype(np.float64)
    return np.einsum("kc,chw->khw", centroids / np.maximum(np.linalg.norm(centroids, axis=1, keepdims=True), 1e-12), pixels)


def pixel_nearest_centroid(features, centroids, sizes, attention=None, threshold: float = 0.0, factor: int = 4) -> list[np.ndarray]:
    """Label of the largest cosine on the enlarged grid, nearest to the image's size, 0 where the enlarged attention is below the threshold."""
    maps = []
    for i, size in enumerate(sizes):
        labels = cosines(features[i], centroids, factor).argmax(0) + 1
        rows, columns = (nearest_rows(side, int(target)) for side, target in zip(labels.shape, size))
        labels = labels[rows][:, columns]
        if attention is not None:
            labels[enlarge_map(attention[i], size) < np.float32(threshold)] = 0
        maps.append(np.ascontiguousarray(labels, np.int32))
    return maps
