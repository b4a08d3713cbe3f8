"""Rows for k-means: a feature cache or an array, in blocks, as the float32 vectors that are clustered."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import xxhash

from ..features import FeatureCache
from ..ops.project_rows import project_rows_host
from ..ops.unit_rows import row_squares_host, unit_rows_host
from ..runtime.errors import LussError
from ..runtime.exchange import SINGLE, Exchange
from ..storage.fingerprint import fingerprint
from .whitening import Whitening

ALIGNED = 1024  # processes' shares begin at multiples of it
_BLOCK_BYTES = 32 << 20  # of a block in float32
_GATHERED = 64 << 20  # bytes of raw rows that `gather` holds at a time
_NOT_FINITE, _REMEDY = "are not finite, or beyond float32's range", "make these features again"


class Rows:
    """One process's share of the rows of `source`: normalised to unit length and whitened, as asked for.

    Every row's vector is a function of the row alone: not of the block it comes in, of threads, or of processes.

    Args:
        source: a feature cache, or a (n, d) float16 or float32 array.
        normalise: rows are divided by (length + 1e-8), after whitening (spec/pass.md 5). A row of zeros stays one.
        whitening: applied first; None: none.
        exchange: the processes among which rows are divided.
        block_rows: rows a block; None: 32 MB of float32.
        threads: None for all cores. Nothing depends on it.

    Attributes:
        total, dim: rows of all processes, values of a vector.
        first, last: this process's rows are first to last - 1.

    Raises:
        ValueError: the source is of another shape or type.
        LussError (while reading): a row is not finite; the cache is damaged.
    """

    def __init__(
        self,
        source: FeatureCache | np.ndarray,
        *,
        normalise: bool = True,
        whitening: Whitening | None = None,
        exchange: Exchange = SINGLE,
        block_rows: int | None = None,
        threads: int | None = None,
    ):
        self.threads = threads
        self.source, self.normalise, self.whitening, self.exchange = source, normalise, whitening, exchange
        cached = isinstance(source, FeatureCache)
        if not cached and (not isinstance(source, np.ndarray) or source.ndim != 2 or str(source.dtype) not in ("float32", "float16")):
            found = f"{source.shape} {source.dtype}" if isinstance(source, np.ndarray) else type(source).__name__
            raise ValueError(f"source: expected a FeatureCache or a (n, d) float32 or float16 array, found {found}")
        self.total, width = source.shape
        self.dim = width if whitening is None else whitening.basis.shape[1]
        chunks = -(-self.total // ALIGNED)
        self.first, self.last = (min(self.total, chunks * share // exchange.size * ALIGNED) for share in (exchange.rank, exchange.rank + 1))
        if block_rows is not None and block_rows < 1:
            raise ValueError(f"block_rows: expected at least 1, found {block_rows}")
        self._given = block_rows
        self.size_blocks(_BLOCK_BYTES)

    def __len__(self) -> int:
        return self.last - self.first

    @property
    def name(self) -> str:
        """Of the source, in errors."""
        return str(self.source.folder) if isinstance(self.source, FeatureCache) else "clustering"

    def size_blocks(self, most: int) -> None:
        """Make blocks of at most `most` bytes of float32, unless their size was given."""
        widest = max(self.source.shape[1], self.dim)
        self.block_rows = self._given or max(1, most // (4 * widest))

    def raw_blocks(self, begin: int | None = None) -> Iterator[tuple[int, np.ndarray]]:
        """(number of the first row, (m, d) rows as they are stored) over this process's share, or from `begin` on; arrays are used again."""
        begin = self.first if begin is None else begin
        if isinstance(self.source, FeatureCache):
            yield from self.source.blocks(self.block_rows, first=begin, last=self.last)
            return
        for first in range(begin, self.last, self.block_rows):
            yield first, self.source[first : min(first + self.block_rows, self.last)]

    def measured_blocks(self) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """(number of the first row, (m, dim) vectors, their squared lengths (m,) float64); arrays are used again.

        Raises:
            LussError: a row is not finite, or so long that its squared length is not; the first one is named.
        """
        space = np.empty((min(self.block_rows, len(self)), self.dim), np.float32)
        for first, raw in self.raw_blocks():
            vectors, squares = self._vectors(raw, space[: len(raw)])
            check_finite(first, squares, self.name)
            yield first, vectors, squares

    def blocks(self) -> Iterator[tuple[int, np.ndarray]]:
        """`measured_blocks` without the lengths."""
        for first, vectors, _ in self.measured_blocks():
            yield first, vectors

    def gather(self, indices: np.ndarray) -> np.ndarray:
        """(m, dim) float32 vectors of rows of any process's share, in the given order.

        Raises:
            LussError: one of them is not finite; it is named.
        """
        out = np.empty((len(indices), self.dim), np.float32)
        step = max(1, _GATHERED // (4 * self.source.shape[1]))
        for start in range(0, len(indices), step):
            part = np.asarray(indices[start : start + step], np.int64)
            raw = self.source.gather(part) if isinstance(self.source, FeatureCache) else self.source[part]
            vectors, squares = self._vectors(raw, np.empty((len(raw), self.dim), np.float32))
            finite = np.isfinite(squares)
            if not finite.all():
                raise LussError(f"{self.name}: the features of row {part[np.argmin(finite)]} {_NOT_FINITE}: {_REMEDY}")
            out[start : start + step] = vectors
        return out

    def largest(self) -> float:
        """Largest absolute value of a vector, over all processes: 1 for normalised rows; else by one more pass."""
        if self.normalise:
            return 1.0
        found = np.zeros(self.exchange.size)
        with self.exchange.together():
            for _, vectors in self.blocks():
                found[self.exchange.rank] = max(found[self.exchange.rank], float(np.abs(vectors).max(initial=0)))
        return float(self.exchange.sum(found).max())

    def identity(self) -> str:
        """Changes with the content of the source: of a cache, by its checksums; of an array, by one pass over it."""
        if isinstance(self.source, FeatureCache):
            content = [self.source.header.digest, [[shard.name, shard.rows, shard.sums] for shard in self.source.shards]]
        else:
            digest = xxhash.xxh3_128()
            for first in range(0, self.total, self.block_rows):
                digest.update(np.ascontiguousarray(self.source[first : first + self.block_rows]))
            content = [str(self.source.dtype), list(self.source.shape), digest.hexdigest()]
        return fingerprint(content)

    def _vectors(self, raw: np.ndarray, space: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if self.whitening is not None:
            raw = project_rows_host(raw, self.whitening.mean, self.whitening.basis, out=space, threads=self.threads)
        if self.normalise:
            return unit_rows_host(raw, out=space, threads=self.threads)
        return raw, row_squares_host(raw, threads=self.threads)


def check_finite(first: int, squares: np.ndarray, name: str) -> None:
    """Refuse rows whose squared length is not finite; `first` is the number of the first of these rows, `name` that of their source.

    Raises:
        LussError: names the first one.
    """
    finite = np.isfinite(squares)
    if not finite.all():
        raise LussError(
            f"{name}: the features of row {first + int(np.argmin(finite))} {_NOT_FINITE} "
            f"({int((~finite).sum())} such rows from {first} to {first + len(squares) - 1}): {_REMEDY}"
        )
