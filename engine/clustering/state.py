"""What k-means saves between iterations, so that a stopped or killed run goes on, also on another number of processes."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..runtime.errors import LussError
from ..storage.arrays import load_arrays, save_arrays
from .records import IterationRecord, KMeansSettings
from .whitening import Whitening

_FORMAT = "luss-kmeans 1"
_REMEDY = "delete it, and the clustering begins anew"


@dataclass
class Progress:
    """A clustering between two iterations.

    Attributes:
        iteration: number of the next one.
        active: (r,) numbers of the restarts that still move.
        centroids: (r, K, d) float32 of these.
        best: (objective, restart, centroids (K, d)) of the best one that has ended; None: none has.
        records: so far.
    """

    iteration: int
    active: np.ndarray
    centroids: np.ndarray
    best: tuple[float, int, np.ndarray] | None
    records: list[IterationRecord]


def state_file(folder: Path) -> Path:
    return Path(folder) / "kmeans.npz"


def save_state(folder: Path, settings: KMeansSettings, identity: str, progress: Progress, whitening: Whitening | None) -> None:
    """Atomically replace the state in `folder`, which exists."""
    arrays = {"active": np.asarray(progress.active, np.int64), "centroids": progress.centroids}
    meta = {"format": _FORMAT, "settings": dataclasses.asdict(settings), "rows": identity, "iteration": progress.iteration}
    meta["records"] = [list(dataclasses.astuple(record)) for record in progress.records]
    if progress.best is not None:
        meta["best"] = [progress.best[0], progress.best[1]]
        arrays["best"] = progress.best[2]
    if whitening is not None:
        arrays.update({f"whitening/{name}": value for name, value in vars(whitening).items()})
    save_arrays(state_file(folder), arrays, meta)


def load_state(folder: Path, settings: KMeansSettings, identity: str) -> tuple[Progress, Whitening | None] | None:
    """What was saved in `folder`; None: nothing.

    Raises:
        LussError: the file is damaged, or of another clustering: of other rows or other settings, the first of which is named.
    """
    path = state_file(folder)
    if not path.exists():
        return None
    arrays, meta = load_arrays(path, remedy=_REMEDY)
    if not isinstance(meta, dict) or meta.get("format") != _FORMAT:
        found = meta.get("format") if isinstance(meta, dict) else None
        raise LussError(f"{path}: no state of k-means of this version (format {found!r}, expected {_FORMAT!r}): {_REMEDY}")
    wanted = dataclasses.asdict(settings)
    for name, value in wanted.items():
        if meta["settings"].get(name) != value:
            raise LussError(f"{path}: belongs to a clustering with {name} = {meta['settings'].get(name)!r}, expected {value!r}: {_REMEDY}")
    if meta["rows"] != identity:
        raise LussError(f"{path}: belongs to a clustering of other features, or other starts (or they were made again since): {_REMEDY}")
    best = (*meta["best"], arrays["best"]) if "best" in meta else None
    records = [IterationRecord(*values) for values in meta["records"]]
    kept = {name.split("/")[1]: value for name, value in arrays.items() if name.startswith("whitening/")}
    progress = Progress(meta["iteration"], arrays["active"], arrays["centroids"], best, records)
    return progress, Whitening(**kept) if kept else None
