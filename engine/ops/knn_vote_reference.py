"""Weighted vote of the nearest bank rows, plainly in float64 NumPy."""

from __future__ import annotations

import numpy as np


def knn_vote(queries: np.ndarray, bank: np.ndarray, labels: np.ndarray, classes: int, k: int, temperature: float) -> np.ndarray:
    """See `engine.ops.knn_vote.knn_vote`; one query after another."""
    votes = np.zeros((len(queries), classes))
    unit = bank / np.maximum(np.linalg.norm(bank.astype(np.float64), axis=1, keepdims=True), 1e-12)
    for query, vote in zip(queries.astype(np.float64), votes):
        cosine = unit @ (query / max(np.linalg.norm(query), 1e-12))
        nearest = np.argsort(-cosine, kind="stable")[:k]
        for row in nearest:  # without the common factor exp(largest / temperature), which would overflow
            vote[labels[row]] += np.exp((cosine[row] - cosine[nearest[0]]) / temperature)
    return votes.argmax(1).astype(np.int32)
