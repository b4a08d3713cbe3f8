"""k-means++ over rows that need not fit in memory (Arthur & Vassilvitskii, SODA 2007), all restarts together."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..runtime.exchange import Exchange
from ..runtime.interrupt import Interrupted
from .chosen_distances import ChosenDistances, parts
from .counter_draws import RACE, uniforms
from .starts import random_rows

OnPass = Callable[[int, int], None]
Stop = Callable[[], bool]


def plus_plus(
    rows,
    clusters: int,
    restarts: int,
    seed: int,
    exchange: Exchange,
    *,
    on_pass: OnPass | None = None,
    stop: Stop | None = None,
    threads: int | None = None,
) -> np.ndarray:
    """First centroids by k-means++: each next one is a row drawn with probability in proportion to its squared distance to the nearest so far.

    It costs clusters - 1 passes over the rows, where a run of Lloyd's algorithm is some 20: `parallel_plus_plus` is the one for large data. Distances
    are those of the CPU's nearest_centroid. 4 bytes for each row and restart are kept.

    The draw is a race: row i arrives after an exponential time -log(u_i) / d_i^2, u_i a function of (seed, restart, step, i), and the first one
    wins (ties: the smallest row). A minimum needs no order, so the result is the same for every block size, number of threads and number of
    processes. The first row is faiss's first for this seed and restart. Where every row equals a chosen one, `random_rows` not yet chosen fill up.

    Args:
        rows: first, last, total, dim; blocks() of (number of the first row, (m, d) float32); gather(numbers) of any process's rows.
        clusters: 1 to rows.total. restarts: at least 1. seed: not negative.
        exchange: rank, size, sum(array) over processes; ranks hold ascending ranges of rows.
        on_pass: called after each pass with passes done and all. stop: asked before each pass, by all processes alike.

    Returns: (R, K, d) float32: each restart's are distinct rows.
    Raises: ValueError names argument, expected and found; LussError for squared distances beyond float32; Interrupted when `stop` says so.
    """
    chosen = plus_plus_rows(rows, clusters, restarts, seed, exchange, on_pass=on_pass, stop=stop, threads=threads)
    return gather_sets(rows, chosen)


def plus_plus_rows(rows, clusters, restarts, seed, exchange, *, on_pass=None, stop=None, threads=None) -> np.ndarray:
    """The row numbers of `plus_plus`, (R, K) int64, in the order in which they were drawn."""
    check_request(rows, clusters, restarts)
    chosen = np.full((restarts, clusters), -1, np.int64)
    chosen[:, 0] = [random_rows(rows.total, 1, seed, restart)[0] for restart in range(restarts)]
    near = ChosenDistances(rows, restarts, threads=threads)
    for step in range(1, clusters):
        ask(stop)
        last = np.where(chosen[:, step - 1] < 0, chosen[:, 0], chosen[:, step - 1])
        with exchange.together():
            near.add(rows.gather(last)[:, None], np.zeros(restarts, np.int64))
        arrivals = [race(near.distance[restart], seed, RACE, restart, step, rows.first) for restart in range(restarts)]
        chosen[:, step] = _winners(arrivals, exchange)
        if on_pass is not None:
            on_pass(step, clusters - 1)
        if (chosen[:, step] < 0).all():
            break
    return np.stack([filled(found[found >= 0], rows.total, clusters, seed, restart) for restart, found in enumerate(chosen)])


def race(rates: np.ndarray, seed: int, use: int, restart: int, step: int, first: int) -> tuple[float, int]:
    """Arrival time and number (from `first` on) of the row that comes first, each at its rate; infinity and -1 where all rates are 0."""
    best = np.inf, -1
    for part in parts(len(rates)):
        rate = rates[part].astype(np.float64)
        with np.errstate(divide="ignore"):
            arrival = -np.log(uniforms(seed, use, restart, step, first + part.start, len(rate))) / rate
        at = int(np.argmin(arrival))
        if arrival[at] < best[0]:
            best = float(arrival[at]), first + part.start + at
    return best


def filled(found: np.ndarray, total: int, clusters: int, seed: int, restart: int) -> np.ndarray:
    """The first `clusters` of the distinct rows `found`, with those of `random_rows` that are not among them after them if they are too few."""
    if len(found) < clusters:
        more = random_rows(total, clusters, seed, restart)
        found = np.concatenate([found, more[~np.isin(more, found)]])
    return found[:clusters]


def gather_sets(rows, chosen: np.ndarray) -> np.ndarray:
    """(R, C, d) float32 of row numbers (R, C)."""
    return np.ascontiguousarray(rows.gather(chosen.reshape(-1)), np.float32).reshape(*chosen.shape, rows.dim)


def ask(stop: Stop | None) -> None:
    if stop is not None and stop():
        raise Interrupted("clustering stopped while its first centroids were being chosen, of which none are kept")


def check_request(rows, clusters: int, restarts: int) -> None:
    if not 1 <= clusters <= rows.total:
        raise ValueError(f"clusters: expected 1 to the number of rows, {rows.total}, found {clusters}")
    if restarts < 1:
        raise ValueError(f"restarts: expected at least 1, found {restarts}")


def _winners(arrivals: list[tuple[float, int]], exchange: Exchange) -> np.ndarray:
    """(R,) rows that came first in any process. Times are not negative, so their bits are in order as integers, and add exactly with zeros."""
    found = np.zeros((exchange.size, 2, len(arrivals)), np.int64)
    found[exchange.rank, 0] = np.array([time for time, _ in arrivals], np.float64).view(np.int64)
    found[exchange.rank, 1] = [row for _, row in arrivals]
    times, numbers = exchange.sum(found).transpose(1, 0, 2)
    return numbers[np.argmin(times, axis=0), np.arange(len(arrivals))]
