"""Class of each query by the weighted vote of its nearest rows in a labelled bank (spec/benchmark.md 5; Wu et al. 2018, weighted kNN)."""

from __future__ import annotations

import numpy as np

from ..runtime import jt
from .backend import use_reference
from .knn_vote_reference import knn_vote as reference

_CELLS = 1 << 24  # cosines held at a time: 64 MB


class LabelledBank:
    """Bank rows on the device as unit vectors, made once for many queries.

    Args:
        rows: (N, C) float32, finite; zero rows have cosine 0 with everything.
        labels: (N,) integers in [0, classes).

    Raises:
        ValueError: an empty bank, other shapes, labels outside the range, values that are not finite.
    """

    def __init__(self, rows: np.ndarray, labels: np.ndarray, classes: int):
        rows, labels = np.asarray(rows, np.float32), np.asarray(labels)
        if rows.ndim != 2 or 0 in rows.shape or labels.shape != rows.shape[:1]:
            raise ValueError(f"rows, labels: expected non-empty (N, C) and (N,), found {rows.shape} and {labels.shape}")
        if labels.min() < 0 or labels.max() >= classes:
            raise ValueError(f"labels: expected 0..{classes - 1}, found {labels.min()}..{labels.max()}")
        if not np.isfinite(rows).all():
            raise ValueError("rows: expected finite values")
        self.classes = classes
        self.labels = labels.astype(np.int64)
        norm = np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
        self.columns = jt.array(np.ascontiguousarray((rows / np.maximum(norm, 1e-12)).astype(np.float32).T))  # (C, N)

    def __len__(self) -> int:
        return len(self.labels)


def knn_vote(queries, bank: LabelledBank, k: int = 10, temperature: float = 0.07) -> np.ndarray:
    """Each of the k rows with the largest cosine adds exp(cosine / temperature) to its class; the class with the largest sum wins.

    Equal cosines at rank k: the lower row number; equal sums: the lower class. The (M, N) cosines are held in blocks of at most 64 MB.
    Deterministic for a given device and block size.

    Args:
        queries: (M, C) float32 Var, any length (zero vectors: all cosines 0).
        k: neighbours; the whole bank where it has fewer rows.
        temperature: > 0.

    Returns: (M,) int32 classes; empty for M = 0.
    Raises: ValueError for other shapes, k < 1, temperature <= 0, or a cosine that is not finite (NaN in a query).
    """
    length = bank.columns.shape[0]
    if len(queries.shape) != 2 or queries.shape[1] != length or str(queries.dtype) != "float32":
        raise ValueError(f"queries: expected (M, {length}) float32 as in the bank, found {tuple(queries.shape)} {queries.dtype}")
    if k < 1 or not temperature > 0:
        raise ValueError(f"k={k}, temperature={temperature}: expected k >= 1 and temperature > 0")
    k = min(k, len(bank))
    if use_reference():
        given = queries.numpy()
        if not np.isfinite(given).all():
            raise ValueError(f"queries: a cosine in rows 0..{len(given) - 1} is not finite")
        return reference(given, bank.columns.numpy().T, bank.labels, bank.classes, k, temperature)
    found = np.empty(queries.shape[0], np.int32)
    step = max(1, _CELLS // len(bank))
    for first in range(0, len(found), step):
        part = queries[first : first + step]
        with jt.no_grad():
            unit = part / jt.sqrt((part * part).sum(1, keepdims=True).maximum(1e-24))
            cosine = jt.matmul(unit, bank.columns)
        cosines, rows = top_by_passes(cosine, k) if jt.flags.use_cuda else top_on_host(cosine.numpy(), k)
        if not np.isfinite(cosines).all():
            raise ValueError(f"queries: a cosine in rows {first}..{first + len(cosines) - 1} is not finite")
        found[first : first + step] = _vote(cosines, bank.labels[rows], bank.classes, temperature)
    return found


def top_on_host(cosine: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k largest of each row of (m, n) and their columns, both (m, k), in no order; equal values: the lower column."""
    m, n = cosine.shape
    if k == n:
        return cosine, np.broadcast_to(np.arange(n), (m, n))
    columns = np.argpartition(cosine, n - k, axis=1)[:, n - k :]
    least = np.take_along_axis(cosine, columns, 1).min(1, keepdims=True)
    for row in np.flatnonzero((cosine >= least).sum(1) > k):  # several at rank k: the partition chose any of them
        values = cosine[row]
        above = np.flatnonzero(values > least[row])
        columns[row] = np.concatenate([above, np.flatnonzero(values == least[row])[: k - len(above)]])
    return np.take_along_axis(cosine, columns, 1), columns


def top_by_passes(cosine, k: int) -> tuple[np.ndarray, np.ndarray]:
    """`top_on_host` on the device: k times the maximum of each row, taken out after it was found; k passes over (m, n), no sort."""
    n = cosine.shape[1]
    number = jt.index(cosine.shape, 1)
    values, columns = [], []
    with jt.no_grad():
        for _ in range(k):
            best = cosine.max(1, keepdims=True)
            column = jt.ternary(cosine == best, number, jt.full_like(number, n)).min(1, keepdims=True)
            values.append(best)
            columns.append(column)
            cosine = jt.ternary(number == column, jt.full_like(cosine, -4.0), cosine)
        return jt.concat(values, dim=1).numpy(), np.minimum(jt.concat(columns, dim=1).numpy(), n - 1)  # n: NaN equals nothing


def _vote(cosines: np.ndarray, labels: np.ndarray, classes: int, temperature: float) -> np.ndarray:
    """Sums over the k neighbours without a (m, classes) table: a neighbour's class sum is over its equals among the k."""
    # largest cosine taken out: exp cannot overflow, and a common factor of a query's weights changes no winner
    weight = np.exp((cosines.astype(np.float64) - cosines.max(1, keepdims=True)) / temperature)
    total = ((labels[:, :, None] == labels[:, None, :]) * weight[:, None, :]).sum(2)
    best = total >= total.max(1, keepdims=True)
    return np.where(best, labels, classes).min(1).astype(np.int32)
