"""Sums of rows as whole numbers of 2^-bits: exact and associative, so that no order of additions shows in them."""

from __future__ import annotations

import math

import numpy as np

from ..runtime.errors import LussError

_ROOM = 62  # bits of a sum beside its sign


def sum_bits(total: int, largest: float) -> int:
    """Most bits with which the sum of `total` numbers of at most `largest` stays below 2^62; at most 62.

    fp16 numbers (multiples of 2^-24) of which 2^21 are added need 2^(24 + 16 + 21): they are always summed without rounding.

    Raises:
        LussError: sums would keep less than 20 bits of the largest number.
    """
    if largest == 0:
        return _ROOM
    bits = min(_ROOM, energy_bits(total, largest))
    if bits < 0 or bits + math.log2(largest) < 20:
        raise LussError(
            f"clustering: features as large as {largest:g}, {total} of them: whole numbers of 62 bits cannot hold their sums with 20 bits of each: "
            "normalise them, or scale them all"
        )
    return bits


def energy_bits(total: int, largest: float) -> int:
    """Most bits with which the sum of `total` numbers of at most `largest` stays below 2^62, whatever their size: also more than 62, or below 0."""
    return _ROOM - math.ceil(math.log2(max(total, 1) * largest * 1.001)) if largest > 0 else 0


def means(sums: np.ndarray, counts: np.ndarray, bits: int) -> np.ndarray:
    """(..., K, d) float32 of int64 sums and counts (..., K), rounded once from float64; 0 for an empty cluster."""
    return (np.ldexp(sums.astype(np.float64), -bits) / np.maximum(counts, 1)[..., None]).astype(np.float32)


def objective(sums: np.ndarray, counts: np.ndarray, bits: int, centroids: np.ndarray, energy: float, spherical: bool) -> float:
    """Sum over all rows of |x - c|^2 = |x|^2 - 2 x.c + |c|^2, or of x.c, from the sums of each cluster: no pass over the rows.

    Args:
        sums, counts: (K, d) and (K,) int64, of the labels.
        centroids: (K, d) float32, against which the rows were labelled.
        energy: sum of |x|^2.

    Exact but for float64's rounding of K d terms: the same for all orders of rows, as the sums are.
    """
    c = centroids.astype(np.float64)
    products = float((np.ldexp(sums.astype(np.float64), -bits) * c).sum())
    return products if spherical else energy - 2 * products + float((counts * (c * c).sum(1)).sum())
