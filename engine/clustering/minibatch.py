"""Mini-batch k-means (Sculley, Web-scale k-means clustering, WWW 2010): approximate, for quick looks."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from ..ops.fixed_sums import MOST_BITS, fixed_sums_host
from ..ops.nearest_centroid import nearest_centroid_host
from ..runtime.errors import LussError
from ..runtime.exchange import Exchange
from ..runtime.interrupt import Interrupted
from .chosen_distances import exact_totals, fixed_bits, largest_of
from .counter_draws import BATCH, words
from .plus_plus import OnPass, Stop


@dataclass(frozen=True)
class BatchRecord:
    """One step of one restart; every figure is of the batch alone.

    Attributes:
        restart, iteration: numbers from 0.
        objective: estimate of the sum of squared distances of all rows before the step: that of the batch times rows / batch.
        seconds: the restart's share of the step.
        imbalance: K * sum of squared sizes / batch^2.
    """

    restart: int
    iteration: int
    objective: float
    seconds: float
    imbalance: float


def minibatch_kmeans(
    rows,
    centroids: np.ndarray,
    iterations: int,
    batch: int,
    seed: int,
    exchange: Exchange,
    *,
    on_pass: OnPass | None = None,
    stop: Stop | None = None,
    threads: int | None = None,
) -> tuple[np.ndarray, list[BatchRecord]]:
    """Approximate k-means: each step moves centroids by a few rows drawn with replacement, the same ones for all restarts.

    A row moves the centroid nearest to it (as it was at the beginning of the step) by 1 / (rows this centroid has had so far) of the way; the
    rows of a step together move it to the mean of what it has had, which is how it is computed. The first row of a centroid replaces it. Centroids
    that no row is nearest to stay; nothing is split. The objective may rise from step to step.

    Rows belong to (seed, iteration, place in the batch), and sums are exact in fixed point: the same result for any number of threads and
    processes, which share the batch. Random access: `batch` rows are read from all over the data in each step.

    Args:
        rows: total, dim; gather(numbers) of any process's rows.
        centroids: (R, K, d) float32, left alone.
        iterations: at least 0. batch: at least 1.
        exchange: rank, size, sum(array) over processes.
        on_pass: called after each step with steps done and all. stop: asked before each step, by all processes alike.

    Returns: centroids (R, K, d) float32, and a record for each step and restart.
    Raises: ValueError names argument, expected and found; LussError for rows that are not finite or too large to add up; Interrupted when `stop`
        says so: nothing is kept then.
    """
    _check(rows, centroids, iterations, batch)
    centroids, records = centroids.copy(), []
    restarts, clusters, _ = centroids.shape
    seen = np.zeros((restarts, clusters), np.int64)
    for iteration in range(iterations):
        if stop is not None and stop():
            raise Interrupted(f"mini-batches stopped at step {iteration} of {iterations}, of which nothing is kept; the same command begins anew")
        begin = time.monotonic()
        first, last = (batch * share // exchange.size for share in (exchange.rank, exchange.rank + 1))
        drawn = words(seed, BATCH, 0, iteration, first, last - first) % np.uint64(rows.total)
        with exchange.together():
            x = rows.gather(drawn.astype(np.int64))
        bits = _bits(x, batch, exchange)
        label, distance = nearest_centroid_host(x, centroids, threads=threads)
        sums, counts = (exchange.sum(part) for part in fixed_sums_host(x, label, clusters, bits, threads=threads))
        objectives = exact_totals(distance, batch, exchange) * (rows.total / batch)
        seen += counts
        for c, total, count, so_far in zip(centroids, sums, counts, seen):
            _move(c, np.ldexp(total.astype(np.float64), -bits), count, so_far)
        seconds = (time.monotonic() - begin) / restarts
        sizes = (counts.astype(np.float64) ** 2).sum(axis=1)
        records += [BatchRecord(r, iteration, float(objectives[r]), seconds, float(clusters * sizes[r] / batch**2)) for r in range(restarts)]
        if on_pass is not None:
            on_pass(iteration + 1, iterations)
    return centroids, records


def _move(centroids: np.ndarray, sums: np.ndarray, counts: np.ndarray, seen: np.ndarray) -> None:
    """Bring (K, d) float32 centroids, means of `seen` less `counts` rows, to the means of `seen` rows, in float64."""
    hit = counts > 0
    before = centroids[hit].astype(np.float64)
    centroids[hit] = before + (sums[hit] - counts[hit, None] * before) / seen[hit, None]


def _bits(x: np.ndarray, batch: int, exchange: Exchange) -> int:
    """Fixed-point bits for sums of a batch, the same in all processes."""
    largest = float(largest_of(np.abs(x).reshape(1, -1), exchange)[0])
    bits = min(MOST_BITS, fixed_bits(batch, largest)) if np.isfinite(largest) else -1
    if bits < 0 or (largest > 0 and bits + np.log2(largest) < 20):
        raise LussError(f"clustering: {batch} rows of features as large as {largest:g}: sums in 62 bits cannot hold them; normalise them")
    return bits


def _check(rows, centroids: np.ndarray, iterations: int, batch: int) -> None:
    if centroids.ndim != 3 or centroids.dtype != np.float32 or 0 in centroids.shape or centroids.shape[2] != rows.dim:
        raise ValueError(f"centroids: expected (R, K, {rows.dim}) float32, found {centroids.shape} {centroids.dtype}")
    if iterations < 0 or batch < 1 or rows.total < 1:
        raise ValueError(f"iterations, batch, rows: expected at least 0, 1 and 1, found {iterations}, {batch}, {rows.total}")
