"""How far every row is from the rows chosen so far; sums of that over rows and processes, without rounding that depends on their order."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..ops.nearest_centroid import nearest_centroid_host
from ..runtime.errors import LussError
from ..runtime.exchange import Exchange

_PART = 1 << 16


class ChosenDistances:
    """Of this process's rows, in R restarts.

    Attributes:
        distance: (R, n) float32, squared distance to the nearest chosen row; exactly 0 for the row itself and for its duplicates.
        label: (R, n) int32, its number, ties to the smallest; None where nobody asks.
    """

    def __init__(self, rows, restarts: int, *, labels: bool = False, threads: int | None = None) -> None:
        self._rows, self._threads = rows, threads
        self.distance = np.full((restarts, rows.last - rows.first), np.inf, np.float32)
        self.label = np.zeros(self.distance.shape, np.int32) if labels else None

    def add(self, chosen: np.ndarray, before: np.ndarray) -> None:
        """Take more chosen rows into account: one pass over the rows.

        Args:
            chosen: (R, C, d) float32. A restart that has fewer repeats one of its own at the end.
            before: (R,) numbers of rows chosen earlier, those of `chosen` are counted on from.

        Raises: LussError for a squared distance beyond float32.
        """
        for first, block in self._rows.blocks():
            part = slice(first - self._rows.first, first - self._rows.first + len(block))
            label, distance = nearest_centroid_host(block, chosen, threads=self._threads)
            if not np.isfinite(distance).all():
                row = first + int(np.argmin(np.isfinite(distance).all(axis=0)))
                raise LussError(f"clustering: row {row} is not finite, or so far from another row that the squared distance is beyond float32")
            if self.label is not None:
                nearer = distance < self.distance[:, part]
                np.copyto(self.label[:, part], label + np.asarray(before, np.int32)[:, None], where=nearer)
            np.minimum(self.distance[:, part], distance, out=self.distance[:, part])

    def totals(self, exchange: Exchange) -> np.ndarray:
        """(R,) float64 sums of `distance` over the rows of all processes."""
        return exact_totals(self.distance, self._rows.total, exchange)


def exact_totals(values: np.ndarray, count: int, exchange: Exchange) -> np.ndarray:
    """(R,) float64 sums of (R, n) non-negative float32 over all processes, the same bits for every division of the `count` columns among them.

    Values are added as whole numbers of 2^-bits, bits so chosen that the largest keeps 40 or more with up to 2^22 values: float32 has 24.
    """
    largest = largest_of(values, exchange)
    bits = [fixed_bits(count, value) for value in largest.tolist()]
    own = [sum(int(np.rint(np.ldexp(v[p].astype(np.float64), b)).astype(np.int64).sum()) for p in parts(len(v))) for v, b in zip(values, bits)]
    return np.ldexp(exchange.sum(np.array(own, np.int64)).astype(np.float64), -np.array(bits))


def largest_of(values: np.ndarray, exchange: Exchange) -> np.ndarray:
    """(R,) float64: the largest of each (R, n) row of non-negative values over all processes; 0 where there is none."""
    found = np.zeros((exchange.size, len(values)), np.float64)
    found[exchange.rank] = values.max(axis=1, initial=0)
    return exchange.sum(found).max(axis=0)


def fixed_bits(count: int, largest: float) -> int:
    """With how many bits after the point the sum of `count` values of at most `largest` stays below 2^62 (negative for huge ones)."""
    return 62 - int(np.ceil(np.log2(max(count, 1)))) - int(np.frexp(largest)[1])


def parts(count: int) -> Iterator[slice]:
    """0..count-1 in pieces whose temporary arrays stay in a cache."""
    return (slice(start, min(start + _PART, count)) for start in range(0, count, _PART))
