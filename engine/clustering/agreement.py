"""How well clusters agree with classes: normalised mutual information and one-to-one accuracy, from one confusion matrix."""

from __future__ import annotations

import numpy as np


def confusion(labels: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """(clusters, classes) int64 counts of two (n,) arrays of ids from 0."""
    if len(labels) == 0:
        return np.zeros((0, 0), np.int64)
    rows, columns = int(labels.max()) + 1, int(classes.max()) + 1
    return np.bincount(labels.astype(np.int64) * columns + classes, minlength=rows * columns).reshape(rows, columns)


def normalized_mutual_information(labels: np.ndarray, classes: np.ndarray) -> float:
    """Mutual information over the arithmetic mean of both entropies, 0 to 1 (scikit-learn's definition); 1 for two constants."""
    table = confusion(labels, classes) / max(len(labels), 1)
    p, q = table.sum(1), table.sum(0)

    def entropy(x):
        x = x[x > 0]
        return float(-(x * np.log(x)).sum())

    mean = (entropy(p) + entropy(q)) / 2
    if mean == 0:
        return 1.0
    outer = np.outer(p, q)
    positive = table > 0
    return float((table[positive] * np.log(table[positive] / outer[positive])).sum() / mean)


def matched_accuracy(labels: np.ndarray, classes: np.ndarray) -> float:
    """Share of samples whose cluster is assigned to their class by the best one-to-one assignment, 0 to 1."""
    from scipy.optimize import linear_sum_assignment

    table = confusion(labels, classes)
    rows, columns = linear_sum_assignment(-table)
    return float(table[rows, columns].sum() / max(len(labels), 1))
