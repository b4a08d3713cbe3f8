"""k-means|| (Bahmani et al., Scalable k-means++, VLDB 2012), all restarts together: k-means++ in a few passes."""

from __future__ import annotations

import numpy as np

from ..ops.nearest_centroid import nearest_centroid_host
from ..runtime.exchange import Exchange
from .chosen_distances import ChosenDistances, parts
from .counter_draws import PICK, RECLUSTER, uniforms
from .plus_plus import OnPass, Stop, ask, check_request, filled, gather_sets, race
from .starts import random_rows


def parallel_plus_plus(
    rows,
    clusters: int,
    restarts: int,
    seed: int,
    exchange: Exchange,
    *,
    oversampling: float = 2.0,
    rounds: int = 5,
    on_pass: OnPass | None = None,
    stop: Stop | None = None,
    threads: int | None = None,
) -> np.ndarray:
    """First centroids by k-means||: rounds + 1 passes over the rows.

    One row, then in each round every row with probability min(1, oversampling * K * d^2 / (sum of d^2 over all rows)), d its distance to the nearest
    candidate so far. The candidates, weighted by the rows nearest to them, are then reduced to K by k-means++ in memory, restarts
    divided among processes. Fewer than K distinct candidates: further rounds (few rows are left then), and where every row equals a candidate,
    `random_rows` not yet chosen fill up.

    Draws belong to (seed, restart, round, row), and sums are exact: same result for every block size, number of threads and number of processes.
    A pass has oversampling * K products for each row and restart. Memory in bytes: 8 for each row and restart; for the candidates of a round,
    as rows and packed, 8 oversampling R K d; for all those of one restart 4 rounds oversampling K d.

    Args: rows, clusters, restarts, seed, exchange, on_pass, stop: as for `plus_plus`.
        oversampling: expected candidates of a round, in units of K; above 0. rounds: at least 1.

    Returns: (R, K, d) float32: each restart's are distinct rows.
    Raises: ValueError names argument, expected and found; LussError for squared distances beyond float32; Interrupted when `stop` says so.
    """
    options = {"oversampling": oversampling, "rounds": rounds, "on_pass": on_pass, "stop": stop, "threads": threads}
    return gather_sets(rows, parallel_plus_plus_rows(rows, clusters, restarts, seed, exchange, **options))


def parallel_plus_plus_rows(
    rows, clusters, restarts, seed, exchange, *, oversampling=2.0, rounds=5, on_pass=None, stop=None, threads=None
) -> np.ndarray:
    """The row numbers of `parallel_plus_plus`, (R, K) int64."""
    check_request(rows, clusters, restarts)
    if not oversampling > 0 or rounds < 1:
        raise ValueError(f"oversampling, rounds: expected above 0 and at least 1, found {oversampling}, {rounds}")
    near = ChosenDistances(rows, restarts, labels=True, threads=threads)
    candidates = [np.empty(0, np.int64) for _ in range(restarts)]
    new = [random_rows(rows.total, 1, seed, restart) for restart in range(restarts)]
    passes = turn = 0
    while True:
        if any(len(found) for found in new):
            ask(stop)
            with exchange.together():
                near.add(gather_sets(rows, _even(new, candidates)), [len(found) for found in candidates])
            candidates = [np.concatenate(pair) for pair in zip(candidates, new)]
            passes += 1
            if on_pass is not None:
                on_pass(min(passes, rounds + 1), rounds + 1)
        totals = near.totals(exchange)
        wanted = totals > 0
        if turn >= rounds:
            wanted &= np.count_nonzero(_weights(near, candidates, exchange), axis=1) < clusters
        if not wanted.any():
            break
        expected = np.where(wanted, oversampling * clusters / np.where(wanted, totals, 1), 0)
        new = _joined([_picked(near.distance[r], expected[r], seed, r, turn, rows.first) for r in range(restarts)], exchange)
        turn += 1
    weights = _weights(near, candidates, exchange)
    return _reduced(rows, candidates, weights, clusters, seed, exchange, stop, threads)


def _picked(distance: np.ndarray, expected: float, seed: int, restart: int, turn: int, first: int) -> np.ndarray:
    """Numbers of the rows drawn, each with probability min(1, expected * distance)."""
    if expected == 0:
        return np.empty(0, np.int64)
    found = []
    for part in parts(len(distance)):
        chance = expected * distance[part].astype(np.float64)
        drawn = uniforms(seed, PICK, restart, turn, first + part.start, len(chance)) < chance
        found.append(np.flatnonzero(drawn) + first + part.start)
    return np.concatenate(found) if found else np.empty(0, np.int64)


def _joined(own: list[np.ndarray], exchange: Exchange) -> list[np.ndarray]:
    """Of each restart the numbers found by all processes, by rank, which is in ascending order."""
    counts = np.zeros((len(own), exchange.size), np.int64)
    counts[:, exchange.rank] = [len(found) for found in own]
    counts = exchange.sum(counts)
    ends = counts.cumsum(axis=1)
    everyone = np.zeros((len(own), max(1, int(ends[:, -1].max()))), np.int64)
    for line, end, found in zip(everyone, ends[:, exchange.rank], own):
        line[end - len(found) : end] = found
    return [line[:count] for line, count in zip(exchange.sum(everyone), ends[:, -1])]


def _even(new: list[np.ndarray], candidates: list[np.ndarray]) -> np.ndarray:
    """(R, C) row numbers; restarts with fewer than C repeat their last one, which changes no distance and, as ties go to the first, no label."""
    most = max(len(found) for found in new)
    last = [found[-1] if len(found) else before[-1] for found, before in zip(new, candidates)]
    return np.stack([np.concatenate([found, np.full(most - len(found), row, np.int64)]) for found, row in zip(new, last)])


def _weights(near: ChosenDistances, candidates: list[np.ndarray], exchange: Exchange) -> np.ndarray:
    """(R, C) int64: rows nearest to each candidate; 0 for a duplicate of an earlier one, and beyond a restart's candidates."""
    most = max(len(found) for found in candidates)
    return exchange.sum(np.stack([np.bincount(label, minlength=most) for label in near.label]).astype(np.int64))


def _reduced(rows, candidates, weights, clusters: int, seed: int, exchange, stop, threads) -> np.ndarray:
    """(R, K) rows: weighted k-means++ over each restart's candidates, restarts dealt out to the processes in turn."""
    restarts = len(candidates)
    chosen = np.zeros((restarts, clusters), np.int64)
    for start in range(0, restarts, exchange.size):
        ask(stop)
        restart = start + exchange.rank
        with exchange.together():
            if restart < restarts:
                found = candidates[restart]
                order = _weighted_plus_plus(rows.gather(found), weights[restart, : len(found)], clusters, seed, restart, threads)
                chosen[restart] = filled(found[order], rows.total, clusters, seed, restart)
    return exchange.sum(chosen)


def _weighted_plus_plus(vectors: np.ndarray, weights: np.ndarray, clusters: int, seed: int, restart: int, threads) -> list[int]:
    """Places of at most `clusters` candidates: fewer where all others have no weight or equal a chosen one."""
    distance, chosen = np.full(len(vectors), np.inf, np.float32), []
    for step in range(clusters):
        rates = weights * (distance.astype(np.float64) if step else 1.0)
        _, place = race(rates, seed, RECLUSTER, restart, step, 0)
        if place < 0:
            break
        chosen.append(place)
        np.minimum(distance, nearest_centroid_host(vectors, vectors[place : place + 1], threads=threads)[1], out=distance)
    return chosen
