"""How well clusters agree with classes, and how unlike their sizes are: normalised mutual information and one-to-one accuracy from one table."""

from __future__ import annotations

import numpy as np


def confusion(labels: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """(clusters, classes) int64 counts of two (n,) integer arrays of ids from 0, up to the largest ids there are.

    Raises: ValueError for arrays of unlike length, or an id below 0. Memory beyond the table: 8 bytes a sample.
    """
    labels, classes = np.asarray(labels), np.asarray(classes)
    if labels.ndim != 1 or labels.shape != classes.shape:
        raise ValueError(f"classes: expected {labels.shape} as labels, one axis each, found {classes.shape}")
    if len(labels) == 0:
        return np.zeros((0, 0), np.int64)
    for name, ids in (("labels", labels), ("classes", classes)):
        if not np.issubdtype(ids.dtype, np.integer) or ids.min() < 0:
            raise ValueError(f"{name}: expected integers from 0, found {ids.dtype} from {ids.min()}")
    rows, columns = int(labels.max()) + 1, int(classes.max()) + 1
    cell = labels.astype(np.int64)
    cell *= columns
    cell += classes
    return np.bincount(cell, minlength=rows * columns).reshape(rows, columns)


def agreement(labels: np.ndarray, classes: np.ndarray) -> tuple[float, float]:
    """(normalised mutual information, one-to-one accuracy), from one table; see the two below."""
    table = confusion(labels, classes)
    return _mutual_information(table), _accuracy(table)


def normalized_mutual_information(labels: np.ndarray, classes: np.ndarray) -> float:
    """Mutual information over the arithmetic mean of both entropies, 0 to 1 (scikit-learn's definition); 1 for two constants."""
    return _mutual_information(confusion(labels, classes))


def matched_accuracy(labels: np.ndarray, classes: np.ndarray) -> float:
    """Share of samples whose cluster is assigned to their class by the best one-to-one assignment, 0 to 1; 0 without samples."""
    return _accuracy(confusion(labels, classes))


def imbalance(sizes: np.ndarray) -> float:
    """K * sum of n_k^2 / (sum of n_k)^2 of the sizes of K clusters: faiss's imbalance factor. 1 where all are equal, K where one has all rows;
    1 without rows."""
    sizes = np.asarray(sizes, np.float64)
    total = sizes.sum()
    return float(len(sizes) * (sizes @ sizes) / total**2) if total > 0 else 1.0


def _mutual_information(table: np.ndarray) -> float:
    total = max(int(table.sum()), 1)
    p, q = table.sum(1) / total, table.sum(0) / total
    mean = (_entropy(p) + _entropy(q)) / 2
    if mean == 0:
        return 1.0
    rows, columns = np.nonzero(table)
    joint = table[rows, columns] / total
    return float((joint * np.log(joint / (p[rows] * q[columns]))).sum() / mean)


def _accuracy(table: np.ndarray) -> float:
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(table, maximize=True)
    return float(table[rows, columns].sum() / max(int(table.sum()), 1))


def _entropy(shares: np.ndarray) -> float:
    shares = shares[shares > 0]
    return float(-(shares * np.log(shares)).sum())
