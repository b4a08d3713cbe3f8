"""k-means of rows that need not fit in memory: all restarts advance together, one pass over the rows an iteration (spec/pass.md 5)."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import xxhash

from ..features import FeatureCache
from ..runtime.errors import LussError
from ..runtime.exchange import SINGLE, Exchange
from ..runtime.interrupt import Interrupted, stop_requested
from .agreement import imbalance
from .fixed_point import energy_bits, means, objective, sum_bits
from .minibatch import minibatch_kmeans
from .parallel_plus_plus import parallel_plus_plus
from .passes import open_pass
from .plus_plus import plus_plus
from .records import Clustering, IterationRecord, KMeansSettings
from .rows import Rows
from .splits import split_empty
from .starts import random_rows
from .state import Progress, load_state, save_state
from .whitening import Whitening, fit_whitening

OnProgress = Callable[[int, int, str], None]


def kmeans(
    source: FeatureCache | np.ndarray,
    settings: KMeansSettings,
    *,
    exchange: Exchange = SINGLE,
    starts: np.ndarray | None = None,
    state: Path | None = None,
    on_progress: OnProgress | None = None,
    block_rows: int | None = None,
    save_seconds: float = 30.0,
    threads: int | None = None,
    device: str = "auto",
) -> Clustering:
    """Cluster the rows of `source` by Lloyd's algorithm, with the meaning that faiss's `Clustering` gives to every part of it.

    Squared Euclidean distance (or product, spherical); all rows, no sub-sampling. Restarts begin with the rows that faiss takes for the same
    seed, empty clusters are split as it does, the restart whose last assignment has the best objective wins, and its centroids are those after
    the update that follows. Labels are those of exact distances (ties: the smallest number), sums are exact in fixed point: on the CPU the result
    is the same bit by bit for every block size, number of threads and number of processes, and after any number of interruptions. It differs
    from faiss's by float32's rounding, which there also decides near ties.

    Args:
        source: a feature cache, or a (n, d) float16 or float32 array; the same in all processes.
        exchange: the processes that share the work; each takes a range of rows, and one sum of sums and counts an iteration joins them.
        starts: (R, K, d) float32 centroids to begin with, in place of `settings.start`.
        state: a folder, the same for all processes, in which iterations are saved, every `save_seconds` and when a stop is requested; a run that
            finds one there goes on. Whitening, starts and mini-batches are not saved: stopped or killed in them, a run begins anew.
        on_progress: called with rows done, rows to do (those of this process, once for every pass over them; of mini-batches all), and what is
            being done. It ends early where all restarts have reached a fixed point.
        block_rows: rows read and labelled at a time. Nothing depends on it.
        threads: None for all cores. Nothing depends on it.
        device: "cpu", "cuda", or "auto": CUDA where Jittor can use it. There labels are those of float32 distances.

    Memory: see `memory_bytes`.

    Returns:
        Clustering: centroids (K, d) float32 and the records of all iterations.

    Raises:
        LussError: fewer rows than clusters, a row that is not finite, features too large or small to add up, state of another clustering. Of
            several processes all raise it, whichever found it.
        ValueError: `source` or `starts` is of another shape or type.
        DamagedShard: the cache was altered; named before any of its values count.
        Interrupted: a stop was requested in any process; with `state`, all iterations so far are saved.
    """
    run = _Run(source, settings, exchange, starts, state, on_progress or (lambda done, total, what: None), block_rows, save_seconds, threads, device)
    return run.clustering()


class _Run:
    def __init__(self, source, settings, exchange, starts, state, on_progress, block_rows, save_seconds, threads, device):
        self.settings, self.exchange, self.given, self.state, self.on_progress = settings, exchange, starts, state, on_progress
        self.save_seconds, self.threads, self.device = save_seconds, threads, device
        options = {"exchange": exchange, "block_rows": block_rows, "threads": threads}
        self.rows = raw = Rows(source, normalise=settings.normalise, **options)
        if raw.total < settings.clusters:
            raise LussError(f"clustering: {raw.total} rows for {settings.clusters} clusters: there must be at least as many rows as clusters")
        self.progress = self.whitening = None
        if state is not None:
            self._resume()
        if settings.whiten and self.whitening is None:
            self.whitening = self._fitted(Rows(source, normalise=False, **options))
        if self.whitening is not None:
            self.rows = Rows(source, normalise=settings.normalise, whitening=self.whitening, **options)

    def _resume(self) -> None:
        """Take up what `state` holds."""
        with self.exchange.together():
            self.identity = self.rows.identity()
            if self.given is not None:
                self.identity += f" from {xxhash.xxh3_128_hexdigest(np.ascontiguousarray(self.given))}"
            if self.exchange.rank == 0:
                Path(self.state).mkdir(parents=True, exist_ok=True)
            self.progress, self.whitening = load_state(self.state, self.settings, self.identity) or (None, None)
        seen = np.zeros(self.exchange.size, np.int64)
        seen[self.exchange.rank] = self.progress.iteration if self.progress is not None else -1
        seen = self.exchange.sum(seen)
        if (seen != seen[0]).any():
            raise LussError(f"{self.state}: does not hold the same for all processes: it must be on a file system that all of them share")

    def clustering(self) -> Clustering:
        s, rows = self.settings, self.rows
        if rows.total == s.clusters:  # as faiss does
            centroids = rows.gather(np.arange(rows.total))
            return Clustering(centroids, 0.0, 0, [IterationRecord(0, 0, 0.0, 0.0, None, 0, 1.0)], self.whitening)
        largest = rows.largest()
        self.bits = sum_bits(rows.total, largest)
        self.energy_bits = energy_bits(rows.total, 1.001 if s.normalise else rows.dim * largest**2)
        if self.progress is None:
            self.progress = Progress(0, np.arange(s.restarts), self._starts(), None, [])
        if s.minibatch:
            self._minibatches()
        else:
            self._iterate()
        value, restart, centroids = self.progress.best
        return Clustering(centroids, value, restart, self.progress.records, self.whitening)

    def _iterate(self) -> None:
        p, s, last = self.progress, self.settings, time.monotonic()
        before, lloyd = None, self._pass(len(p.active)) if len(p.active) else None
        while len(p.active):
            begin = time.monotonic()
            with self.exchange.together():
                moved, energy = lloyd.run(p.centroids, before, self._counter("k-means", p.iteration, s.iterations))
            energy, moved = self._join(energy, moved)
            after, ends = np.empty_like(p.centroids), np.zeros(len(p.active), bool)
            seconds = (time.monotonic() - begin) / len(p.active)
            for at, restart in enumerate(p.active):
                after[at], record = self._update(lloyd, at, p.centroids[at], energy)
                known = int(moved[at]) if before is not None else None
                record = IterationRecord(int(restart), p.iteration, *record[:1], seconds, known, *record[1:])
                p.records.append(record)
                fixed = np.array_equal(after[at], p.centroids[at])  # further iterations would repeat this one
                ends[at] = fixed or p.iteration + 1 == s.iterations
                if ends[at] and (p.best is None or self._better(record.objective, int(restart), p.best)):
                    p.best = record.objective, int(restart), after[at].copy()
            before, p.centroids, p.iteration = p.centroids, after, p.iteration + 1
            if ends.any() and not ends.all():
                lloyd.keep(~ends)
            p.active, p.centroids, before = p.active[~ends], p.centroids[~ends], before[~ends]
            stop = self._stop_requested() and len(p.active) > 0
            if self.state is not None and self.exchange.rank == 0 and (stop or time.monotonic() - last > self.save_seconds):
                save_state(self.state, s, self.identity, p, self.whitening)
                last = time.monotonic()
            if stop:
                self.exchange.barrier()  # the state is there when any process ends
                raise Interrupted(f"clustering stopped after iteration {p.iteration} of {s.iterations}")

    def _update(self, lloyd, at: int, centroids: np.ndarray, energy: float) -> tuple[np.ndarray, tuple[float, int, float]]:
        """Centroids of one restart after its update; objective, splits and imbalance of its labels."""
        sums, counts = map(self.exchange.sum, lloyd.totals(at))
        value = objective(sums, counts, self.bits, centroids, energy, self.settings.spherical)
        after = means(sums, counts, self.bits)
        splits, _ = split_empty(after, counts, self.rows.total)
        if self.settings.spherical:
            after = unit(after)
        return after, (value, splits, imbalance(counts))

    def _minibatches(self) -> None:
        """Mini-batch steps, then one pass that tells which restart is best."""
        p, s = self.progress, self.settings

        def report(done: int, total: int) -> None:
            self.on_progress(done * s.minibatch, total * s.minibatch, "mini-batches")

        shown = {"on_pass": report, "stop": self._stop_requested, "threads": self.threads}
        p.centroids, steps = minibatch_kmeans(self.rows, p.centroids, s.iterations, s.minibatch, s.seed, self.exchange, **shown)
        p.records = [IterationRecord(r.restart, r.iteration, r.objective, r.seconds, None, 0, r.imbalance, approximate=True) for r in steps]
        lloyd = self._pass(s.restarts)
        with self.exchange.together():
            moved, energy = lloyd.run(p.centroids, None, self._counter("comparing the restarts", 0, 1))
        energy, _ = self._join(energy, moved)
        for restart in range(s.restarts):
            _, (value, _, _) = self._update(lloyd, restart, p.centroids[restart], energy)
            if p.best is None or self._better(value, restart, p.best):
                p.best = value, restart, p.centroids[restart]

    def _starts(self) -> np.ndarray:
        """(R, K, d) float32."""
        s, rows = self.settings, self.rows

        def report(done: int, total: int) -> None:
            self.on_progress(done * len(rows), total * len(rows), f"starts by {s.start}")

        if self.given is not None:
            shape = (s.restarts, s.clusters, rows.dim)
            if self.given.shape != shape or self.given.dtype != np.float32:
                raise ValueError(f"starts: expected {shape} float32, found {self.given.shape} {self.given.dtype}")
            starts = self.given.copy()
        elif s.start == "random":
            with self.exchange.together():
                starts = np.stack([rows.gather(random_rows(rows.total, s.clusters, s.seed, restart)) for restart in range(s.restarts)])
        else:
            choose = plus_plus if s.start == "k-means++" else parallel_plus_plus
            starts = choose(rows, s.clusters, s.restarts, s.seed, self.exchange, on_pass=report, stop=self._stop_requested, threads=self.threads)
        return unit(starts) if s.spherical else starts

    def _fitted(self, plain: Rows) -> Whitening:
        def report(done: int) -> None:
            self.on_progress(done, 2 * len(plain), "whitening")

        return fit_whitening(plain, self.settings.whiten, self.exchange, on_block=report)

    def _pass(self, restarts: int):
        options = {"bits": self.bits, "energy_bits": self.energy_bits, "spherical": self.settings.spherical, "threads": self.threads}
        return open_pass(self.device, self.rows, restarts, self.settings.clusters, **options)

    def _counter(self, what: str, number: int, passes: int) -> Callable[[int], None]:
        """Counts the rows of pass `number` out of so many."""
        done = number * len(self.rows)

        def count(rows: int) -> None:
            nonlocal done
            done += rows
            self.on_progress(done, passes * len(self.rows), what)

        return count

    def _join(self, energy: int, moved: np.ndarray) -> tuple[float, np.ndarray]:
        joined = self.exchange.sum(np.array([energy, *moved], np.int64))
        return float(np.ldexp(float(joined[0]), -self.energy_bits)), joined[1:]

    def _better(self, value: float, restart: int, best: tuple[float, int, np.ndarray]) -> bool:
        """Ties go to the smaller number, as in faiss, though restarts end in another order here."""
        ahead = value > best[0] if self.settings.spherical else value < best[0]
        return ahead or (value == best[0] and restart < best[1])

    def _stop_requested(self) -> bool:
        """Whether any process was asked to stop: all of them ask at the same point."""
        return bool(self.exchange.sum(np.array([int(stop_requested())], np.int64))[0])


def unit(centroids: np.ndarray) -> np.ndarray:
    """Centroids (..., d) at unit length; zero ones stay, as in faiss."""
    length = np.sqrt((centroids.astype(np.float64) ** 2).sum(-1, keepdims=True))
    return np.where(length > 0, centroids / np.where(length > 0, length, 1), centroids).astype(np.float32)
