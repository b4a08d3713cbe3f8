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

    Attributes:
        sums: (R, K, d) int64 of this process's rows.
        counts: (R, K) int64.
    """

    def __init__(self, rows: Rows, restarts: int, clusters: int, *, bits: int, energy_bits: int, spherical: bool, threads: int | None = None):
        self.rows, self.bits, self.energy_bits, self.spherical, self.threads = rows, bits, energy_bits, spherical, threads
        self.sums = np.zeros((restarts, clusters, rows.dim), np.int64)
        self.counts = np.zeros((restarts, clusters), np.int64)
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
                moved += move_rows_host(x, known, label, self.sums, self.counts, self.bits, threads=self.threads)
                energy += int(np.rint(np.ldexp(squares, self.energy_bits)).astype(np.int64).sum())
                on_rows(len(x))
        return moved, energy

    def keep(self, restarts: np.ndarray) -> None:
        """Go on with these restarts alone: (R,) booleans."""
        self.sums, self.counts = self.sums[restarts], self.counts[restarts]
        self._blocks = [(label[restarts], lower[restarts]) for label, lower in self._blocks]
