"""One pass of Lloyd's algorithm over the rows, for all restarts together, on the CPU (spec/performance.md 1.5)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..ops.fixed_sums import move_rows_host
from ..ops.nearest_again import NearestAgain
from .rows import Rows


class HostPass:
    """Labels, sums and counts of this process's rows in R restarts, carried from pass to pass.

    A pass reads every row once. Rows that changed their cluster are moved between the fixed-point sums; the others cost nothing there.

    Args:
        bits, energy_bits: sums, and squared lengths, are whole numbers of 2^-bits and of 2^-energy_bits.
        spherical: the largest product wins in place of the smallest distance.
        threads: None for all cores. Nothing depends on it.

    """

    def __init__(self, rows: Rows, restarts: int, clusters: int, *, bits: int, energy_bits: int, spherical: bool, threads: int | None = None):
        self.rows, self.bits, self.energy_bits, self.spherical, self.threads = rows, bits, energy_bits, spherical, threads
        self._sums = np.zeros((restarts, clusters, rows.dim), np.int64)
        self._counts = np.zeros((restarts, clusters), np.int64)
        self._blocks: list[tuple[np.ndarray, np.ndarray]] = []  # of each block: labels (R, m) int32, lower bounds (R, m) float32

    def run(self, centroids: np.ndarray, before: np.ndarray | None, on_rows: Callable[[int], None]) -> tuple[np.ndarray, int]:
        """Label all rows.

        Args:
            centroids: (R, K, d) float32.
            before: those of the last pass; None: this is the first one.
            on_rows: called with the number of rows after each block.

        Returns: (moved (R,) int64: rows whose label changed, energy: sum of the rows' squared lengths, in 2^-energy_bits).
        """
        moved, energy = np.zeros(len(centroids), np.int64), 0
        with NearestAgain(centroids, before, cosine=self.spherical, threads=self.threads) as nearest:
            for number, (_, x, squares) in enumerate(self.rows.measured_blocks()):
                if number == len(self._blocks):
                    shape = (len(centroids), len(x))
                    self._blocks.append((np.full(shape, -1, np.int32), np.full(shape, -np.inf, np.float32)))
                label, lower = self._blocks[number]
                known = label.copy()
                nearest(x, label, lower)
                moved += move_rows_host(x, known, label, self._sums, self._counts, self.bits, threads=self.threads)
                energy += int(np.rint(np.ldexp(squares, self.energy_bits)).astype(np.int64).sum())
                on_rows(len(x))
        return moved, energy

    def totals(self, restart: int) -> tuple[np.ndarray, np.ndarray]:
        """(K, d) and (K,) int64 sums and counts of this process's rows, of the restart that is number `restart` among those kept."""
        return self._sums[restart], self._counts[restart]

    def keep(self, restarts: np.ndarray) -> None:
        """Go on with these restarts alone: (R,) booleans."""
        self._sums, self._counts = self._sums[restarts], self._counts[restarts]
        for number, (label, lower) in enumerate(self._blocks):  # one after the other: never two copies of all
            self._blocks[number] = label[restarts], lower[restarts]
