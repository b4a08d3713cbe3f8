"""One pass of Lloyd's algorithm over the rows, for all restarts together, through Jittor's ops: for CUDA.

Rows stay on the device as they are stored (fp16) as far as they fit; the rest is copied in every pass. A block is normalised, meets all
centroids in one launch (`nearest_centroid`), and rows that changed their cluster are moved between the fixed-point sums (`fixed_sums`), which
are exact: like the CPU's, they do not depend on the order of additions, on blocks or on processes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from ..ops.fixed_sums import fixed_sums
from ..ops.nearest_centroid import nearest_centroid
from ..ops.project_rows import project_rows
from ..ops.unit_rows import row_squares_host, unit_rows
from .rows import Rows, check_finite

_RESIDENT = 0.4  # of the device's memory for rows


class DevicePass:
    """See HostPass. One device a process: Jittor has no second one; several cards are several processes (`mpirun`)."""

    def __init__(self, rows: Rows, restarts: int, clusters: int, *, bits: int, energy_bits: int, spherical: bool):
        from ..runtime import jt

        self.jt, self.rows, self.bits, self.energy_bits, self.spherical = jt, rows, bits, energy_bits, spherical
        self._sums = jt.zeros((restarts, clusters, rows.dim), "int64")
        self._counts = jt.zeros((restarts, clusters), "int64")
        self._energies: list[int] = []  # of each block
        self._labels: list = []  # of each block, (R, m) int32
        self._resident: list = []  # the first blocks of rows
        self._room = _RESIDENT * (jt.get_mem_info().total_cuda_ram if jt.flags.use_cuda else 0)

    def totals(self, restart: int) -> tuple[np.ndarray, np.ndarray]:
        """See HostPass.totals: of one restart, as those of all are R K d words that would be copied R times."""
        return self._sums[restart].numpy(), self._counts[restart].numpy()

    def run(self, centroids: np.ndarray, before: np.ndarray | None, on_rows: Callable[[int], None]) -> tuple[np.ndarray, int]:
        """Label all rows: as HostPass.run."""
        jt = self.jt
        moved = np.zeros(len(centroids), np.int64)
        points = jt.array(centroids)
        for number, (first, x, squares) in enumerate(self._blocks()):
            if number == len(self._energies):  # the same in every pass
                squares = row_squares_host(x.numpy()) if squares is None else squares.numpy()
                check_finite(first, squares, self.rows.name)
                self._energies.append(int(np.rint(np.ldexp(squares, self.energy_bits)).astype(np.int64).sum()))
            label, _ = nearest_centroid(x, points, cosine=self.spherical)
            if number == len(self._labels):
                self._labels.append(jt.full(label.shape, -1, "int32"))
            known = self._labels[number]
            moves = known != label
            nowhere = jt.full(label.shape, -1, "int32")
            arrive = fixed_sums(x, jt.ternary(moves, label, nowhere), centroids.shape[1], self.bits)
            leave = fixed_sums(x, jt.ternary(moves, known, nowhere), centroids.shape[1], self.bits)
            self._sums = self._sums + (arrive[0] - leave[0])
            self._counts = self._counts + (arrive[1] - leave[1])
            self._labels[number] = label
            moved += moves.int32().sum(1).numpy()
            jt.sync([self._sums, self._counts, label])
            on_rows(int(x.shape[0]))
        return moved, sum(self._energies)

    def keep(self, restarts: np.ndarray) -> None:
        """Go on with these restarts alone: (R,) booleans."""
        kept = self.jt.array(np.flatnonzero(restarts).astype(np.int32))
        self._sums, self._counts = self._sums[kept], self._counts[kept]
        for number, label in enumerate(self._labels):
            self._labels[number] = label[kept]

    def _blocks(self) -> Iterator[tuple[int, object, object]]:
        """(number of the first row, vectors (m, dim) as Var, their squared lengths (m,) float64 as Var; None where nothing has found them)."""
        rows = self.rows
        for first, raw in self._raw():
            if rows.whitening is not None:
                raw = project_rows(raw, rows.whitening.mean, rows.whitening.basis)
            yield (first, *(unit_rows(raw) if rows.normalise else (raw, None)))

    def _raw(self) -> Iterator[tuple[int, object]]:
        yield from list(self._resident)
        resident = sum(int(block.shape[0]) for _, block in self._resident)
        for first, block in self.rows.raw_blocks(self.rows.first + resident):
            copied = self.jt.array(block.copy())  # the reader's buffer is used again
            self._room -= block.nbytes  # of the first block that does not fit as well: none after it stays
            if self._room >= 0:
                self._resident.append((first, copied))
            yield first, copied
