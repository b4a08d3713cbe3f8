"""k-means over a feature cache, by either engine, and the files it leaves; for stage cluster and for `luss cluster --cache`. No model, no Jittor.

    centroids.npy            (K, d) float32; with whitening, (K, whiten) as whitened_centroids.npy instead
    whitening.npz            mean (d,), basis (d, whiten), eigenvalues (whiten,); with whitening only
    report.json              how it was made, its figures, and a record for each iteration of each restart
    state/                   of an unfinished clustering: what the same command goes on from
"""

from __future__ import annotations

import dataclasses
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

import numpy as np

from engine.clustering.agreement import imbalance
from engine.clustering.assign import assign
from engine.clustering.kmeans import kmeans
from engine.clustering.records import Clustering, IterationRecord, KMeansSettings
from engine.clustering.whitening import Whitening
from engine.features import FeatureCache
from engine.runtime import interrupt
from engine.runtime.errors import LussError
from engine.runtime.exchange import Exchange
from engine.runtime.progress import Progress
from engine.storage.arrays import load_arrays, save_arrays
from engine.storage.atomic import atomic_file, read_json, write_json
from engine.storage.fingerprint import file_digest
from luss.cluster_settings import CENTROIDS, RESULT_NAMES, WHITENED, ClusterSettings

WHITENING, REPORT, STATE = "whitening.npz", "report.json", "state"
_WHITENING = ("mean", "basis", "eigenvalues")


@dataclass(frozen=True)
class Work:
    """What a clustering depends on, besides its rows. seed: of the starts, 0 to 2^31 - 1; quiet: no progress on stderr."""

    settings: ClusterSettings
    seed: int
    normalise: bool = True
    quiet: bool = False

    def for_engine(self) -> KMeansSettings:
        c = self.settings
        return KMeansSettings(
            clusters=c.clusters,
            iterations=c.iterations,
            restarts=c.restarts,
            seed=self.seed,
            start=c.start,
            spherical=c.spherical,
            normalise=self.normalise,
            whiten=c.whiten,
            minibatch=c.minibatch,
        )

    def as_dict(self) -> dict:
        return {**{name: getattr(self.settings, name) for name in RESULT_NAMES}, "seed": self.seed, "normalise": self.normalise}


def cluster(source: FeatureCache, work: Work, folder: Path, exchange: Exchange) -> Clustering:
    """The clustering that `folder` holds already, else a new one, saved there by the first process. All processes call this.

    Raises:
        Interrupted: stopped on request; what was done is in folder/state.
    """
    first, state = exchange.rank == 0, folder / STATE
    if not told(exchange, (folder / REPORT).exists()):
        clustering = None
        if work.settings.engine == "luss":
            if first:
                state.mkdir(exist_ok=True)
            with _Shown(work.quiet or not first) as shown:
                clustering = kmeans(source, work.for_engine(), exchange=exchange, state=state, on_progress=shown, block_rows=_block_rows(work))
            done = 1 + max(record.iteration for record in clustering.records)
            if first and not work.quiet and len(source) > work.settings.clusters and done < work.settings.iterations:
                print(f"k-means: ended after {done} of {work.settings.iterations} iterations: no row changes its cluster any more", file=sys.stderr)
        elif first:
            with _Shown(work.quiet) as shown:
                clustering = _by_faiss(source, work, shown, exchange.size == 1)
        if first:
            _save(folder, work, clustering)
            shutil.rmtree(state, ignore_errors=True)
        exchange.barrier()
    return load(folder)


def labels_of(source: FeatureCache, clustering: Clustering, work: Work, title: str, exchange: Exchange) -> tuple[np.ndarray, np.ndarray]:
    """(n,) int32 clusters of all rows, and how many rows each of the K clusters has, (K,) int64. All processes call this.

    Raises:
        Interrupted: stopped on request; not with several processes, of which others would wait for this one.
    """
    with _Shown(work.quiet or exchange.rank != 0) as shown:

        def on_progress(done: int, total: int, what: str) -> None:
            shown(done, total, title)
            if exchange.size == 1 and interrupt.stop_requested() and done < total:
                raise interrupt.Interrupted("the clusters are kept, their labels were not finished")

        options = {"exchange": exchange, "block_rows": _block_rows(work), "on_progress": on_progress}
        return assign(source, clustering, work.for_engine(), **options)


def told(exchange: Exchange, flag: bool) -> bool:
    """What the first process says: another might look at a file when it has changed already. All processes call this."""
    return bool(exchange.sum(np.array([int(flag and exchange.rank == 0)], np.int64))[0])


def size_figures(sizes: np.ndarray) -> dict:
    return {"sizes": sizes.tolist(), "imbalance": imbalance(sizes)}


def load(folder: Path) -> Clustering:
    """A clustering as `cluster` saved it.

    Raises:
        LussError: a file is absent or damaged; it is named.
    """
    remedy = "delete the folder; the same command then makes it again"
    report = read_json(folder / REPORT)
    try:
        records = [IterationRecord(**record) for record in report["iterations"]]
        whitened, digest = report["settings"]["whiten"] > 0, report["digest"]
        objective, restart = report["objective"], report["best_restart"]
    except (KeyError, TypeError) as error:
        raise LussError(f"{folder / REPORT}: not the report of a clustering ({error}): {remedy}") from error
    path = folder / (WHITENED if whitened else CENTROIDS)
    if file_digest(path) != digest:
        raise LussError(f"{path}: not what {REPORT} says it should be; it is damaged: {remedy}")
    whitening = Whitening(**load_arrays(folder / WHITENING, remedy=remedy)[0]) if whitened else None
    return Clustering(np.load(path), objective, restart, records, whitening)


def _save(folder: Path, work: Work, clustering: Clustering) -> None:
    """The report last: it says that the rest is there."""
    path = folder / CENTROIDS
    if clustering.whitening is not None:
        path = folder / WHITENED
        save_arrays(folder / WHITENING, {name: getattr(clustering.whitening, name) for name in _WHITENING}, {})
    with atomic_file(path) as stream:
        np.save(stream, clustering.centroids)
    records = [dataclasses.asdict(record) for record in clustering.records]
    made = {"engine": work.settings.engine, "seed": work.seed, "settings": work.as_dict(), "digest": file_digest(path)}
    figures = {"objective": clustering.objective, "best_restart": clustering.restart, "iterations": records}
    write_json(folder / REPORT, {**made, **figures})


def _by_faiss(source: FeatureCache, work: Work, shown: Callable[[int, int, str], None], alone: bool) -> Clustering:
    """All rows in memory. faiss does not tell how many rows moved."""
    from engine.clustering import faiss_kmeans

    c, rows = work.settings, source.load()
    rows = faiss_kmeans.unit_rows(rows) if work.normalise else rows.astype(np.float32, copy=False)

    def on_restart(done: int, restarts: int) -> None:
        shown(done * len(rows), restarts * len(rows), "restarts of faiss")
        if alone and interrupt.stop_requested() and done < restarts:
            raise interrupt.Interrupted("faiss's restarts are not kept: they begin anew")

    options = {"iterations": c.iterations, "restarts": c.restarts, "seed": work.seed, "on_restart": on_restart}
    centroids, found = faiss_kmeans.kmeans(rows, c.clusters, **options)
    records = [IterationRecord(**record, moved=None) for record in found]
    last = {record.restart: record.objective for record in records}
    best = min(last, key=last.get)
    return Clustering(centroids, last[best], best, records)


def _block_rows(work: Work) -> int | None:
    return work.settings.block_rows or None


class _Shown:
    """Progress of work whose parts are named as they come: a bar for each."""

    def __init__(self, quiet: bool):
        self._quiet, self._bar = quiet, None

    def __enter__(self) -> Callable[[int, int, str], None]:
        return self

    def __exit__(self, *_) -> None:
        if self._bar is not None:
            self._bar.close()

    def __call__(self, done: int, total: int, what: str) -> None:
        bar = self._bar
        if bar is None or (bar.title, bar.total) != (what, total) or done < bar.done:
            if bar is not None:
                bar.close()
            # begun where it stands: what an earlier process has done would give a wrong rate, and a part of one block needs no line
            self._bar = bar = Progress(what, total, unit="row", start=done, quiet=self._quiet)
        bar.update(done - bar.done)
