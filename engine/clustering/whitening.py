"""PCA-whitening of rows that are read in blocks: directions of largest variance, scaled to variance 1 (spec/pass.md 5).

Mean and covariance are sums of whole numbers, so they are exact, and the same to the bit for any block size, number of threads and number of
processes. To that end the numbers of a column are taken from the middle of its range, and rounded to B bits of half that range:

  n rows, B = min(22, (62 - ceil(log2 n)) / 2), 20 for 1.18 million: sums of products of two such numbers stay below 2^62,
  and those of 2^(53 - 2 B) rows below 2^53, which float64's matrix product adds exactly, whatever its order.

The rounding is as noise of variance (half range)^2 4^-B / 12 on a column: 10^-11 of a column's variance where the half range is 10 standard
deviations. Directions below `eps` of the largest variance do not count as any.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ..ops.project_rows import project_rows_host
from ..runtime.errors import LussError
from ..runtime.exchange import SINGLE, Exchange

_MOST_BITS = 22  # of a rounded number, its sign apart: 512 rows a product
_MOST_ROWS = 2048  # of a product: beyond it gains nothing


class RowBlocks(Protocol):
    """This process's part of the rows; `blocks()` begins anew at each call, and the arrays may be reused between its steps."""

    total: int  # rows of all processes
    dim: int

    def blocks(self) -> Iterator[tuple[int, np.ndarray]]:
        """(number of the first row among all, (m, dim) float32 or float16), in order."""


@dataclass(frozen=True)
class Whitening:
    """Whitened rows are (x - mean) @ basis: uncorrelated, of variance 1 over the rows it was fitted to.

    Attributes:
        mean: (d,) float32.
        basis: (d, dim) float32: eigenvectors of the covariance over the root of their eigenvalues, largest first; the largest component of
            each, the first of equal ones, is positive.
        eigenvalues: (dim,) float64, variances along them.
    """

    mean: np.ndarray
    basis: np.ndarray
    eigenvalues: np.ndarray

    def apply(self, x: np.ndarray, out: np.ndarray | None = None, *, threads: int | None = None) -> np.ndarray:
        """(m, dim) float32 of x, (m, d) float32 or float16; not scaled to unit length. A row's bits do not depend on the other rows."""
        return project_rows_host(x, self.mean, self.basis, out, threads=threads)


def fit_whitening(
    rows: RowBlocks, dim: int, exchange: Exchange = SINGLE, *, eps: float = 1e-9, on_block: Callable[[int], None] | None = None
) -> Whitening:
    """The whitening of all rows of all processes to `dim` dimensions; the same in each of them. Reads the rows twice; n d^2 operations.

    Sums are exact (see above); eigenvectors are LAPACK's, made by rank 0, so results are the same to the bit for any blocks and number of
    processes as long as LAPACK runs the same way there. Memory: 5 d^2 words of 8 bytes, and 2,048 rows in float64, twice.

    Args:
        eps: share of the largest eigenvalue up to which one counts as 0.
        on_block: is told after every block how many rows were read, to twice this process's number; may raise to stop.

    Raises: LussError where a value is not finite (its row is named), where there are not more rows than `dim`, or fewer directions with variance.
    """
    if not 1 <= dim <= rows.dim:
        raise LussError(f"whitening to {dim} dimensions: the rows have {rows.dim}; expected 1 to {rows.dim}")
    if rows.total <= dim:
        raise LussError(f"whitening to {dim} dimensions: {rows.total} rows span at most {max(rows.total - 1, 0)}; give more rows or fewer dimensions")
    tell = on_block or (lambda done: None)
    middle, half, read = _ranges(rows, exchange, tell)
    bits = min(_MOST_BITS, (62 - math.ceil(math.log2(rows.total))) // 2)
    # Powers of two, so that scaling rounds nothing; frexp: half = m 2^e with m < 1
    scale = np.where(half > 0, np.ldexp(1.0, bits - np.frexp(half)[1]), 0.0)
    with exchange.together():
        sums, products = _exact_sums(rows, middle, scale, bits, lambda done: tell(read + done))
    sums, products = exchange.sum(sums), exchange.sum(products)
    mean, covariance = _moments(sums, products, rows.total, middle, scale)
    # eigh may round otherwise where it runs on another number of threads: all take rank 0's
    shared = np.zeros((1 + rows.dim, rows.dim))
    if exchange.rank == 0:
        values, vectors = np.linalg.eigh(covariance)
        shared[0], shared[1:] = values, vectors
    shared = exchange.sum(shared)
    values, vectors = shared[0, ::-1][:dim], shared[1:, ::-1][:, :dim]
    rank = int((shared[0] > eps * max(values[0], 0.0)).sum())
    if rank < dim:
        raise LussError(f"whitening to {dim} dimensions: the {rows.total} rows vary along {rank} directions only; expected at most that many")
    largest = np.argmax(np.abs(vectors), axis=0)
    vectors = vectors * np.sign(vectors[largest, np.arange(dim)])
    return Whitening(mean.astype(np.float32), (vectors / np.sqrt(values)).astype(np.float32), values.copy())


def _ranges(rows: RowBlocks, exchange: Exchange, tell: Callable[[int], None]) -> tuple[np.ndarray, np.ndarray, int]:
    """Middle and half of the range of each column over all processes, and how many rows this one has read."""
    low, high, bad, read = np.full(rows.dim, np.inf), np.full(rows.dim, -np.inf), -1, 0
    with exchange.together():
        for first, block in rows.blocks():
            if not len(block):
                continue
            least, most = block.min(0), block.max(0)
            if bad < 0 and not (np.isfinite(least).all() and np.isfinite(most).all()):
                bad = first + int(np.argmin(np.isfinite(block).all(1)))
            np.minimum(low, least, out=low)
            np.maximum(high, most, out=high)
            read += len(block)
            tell(read)
    # Everyone's findings in everyone's hands: each fills its own line of zeros
    found, bad_rows = np.zeros((exchange.size, 2, rows.dim)), np.zeros(exchange.size, np.int64)
    if read and bad < 0:
        found[exchange.rank] = low, high
    bad_rows[exchange.rank] = bad + 1
    counts = np.zeros(exchange.size, np.int64)
    counts[exchange.rank] = read
    found, bad_rows, counts = exchange.sum(found), exchange.sum(bad_rows), exchange.sum(counts)
    if bad_rows.any():
        raise LussError(f"whitening: row {int(bad_rows[bad_rows > 0].min()) - 1} is not finite; expected finite features")
    if counts.sum() != rows.total:
        raise LussError(f"whitening: {int(counts.sum())} rows were read, expected {rows.total}")
    low, high = found[counts > 0, 0].min(0), found[counts > 0, 1].max(0)
    middle = (low + high) / 2
    return middle, np.maximum(high - middle, middle - low), read


def _exact_sums(
    rows: RowBlocks, middle: np.ndarray, scale: np.ndarray, bits: int, tell: Callable[[int], None]
) -> tuple[np.ndarray, np.ndarray]:
    """(d,) and (d, d) int64 sums of this process's rounded numbers and of their products."""
    sums, products = np.zeros(rows.dim, np.int64), np.zeros((rows.dim, rows.dim), np.int64)
    step, read = min(_MOST_ROWS, 1 << (53 - 2 * bits)), 0
    for _, block in rows.blocks():
        for start in range(0, len(block), step):
            whole = block[start : start + step].astype(np.float64)
            np.subtract(whole, middle, out=whole)
            np.multiply(whole, scale, out=whole)
            np.rint(whole, out=whole)
            sums += whole.sum(0).astype(np.int64)
            products += (whole.T @ whole).astype(np.int64)
        read += len(block)
        tell(read)
    return sums, products


def _moments(sums: np.ndarray, products: np.ndarray, total: int, middle: np.ndarray, scale: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean (d,) and covariance (d, d) in float64; a column without range has neither place nor variance of its own."""
    unit = np.divide(1.0, scale, out=np.zeros_like(scale), where=scale > 0)
    off = sums / total
    covariance = products / total - np.outer(off, off)
    return middle + off * unit, covariance * np.outer(unit, unit)
