"""What was measured of one run: its metrics and, where they were stored, the counts of its images. Read from files; no model, no images."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engine.runtime.errors import LussError
from engine.storage.atomic import PathLike, read_json
from luss.benchmark.bootstrap import ImageSums, image_sums
from luss.benchmark.counts import PRED, CountTable, require_entries
from luss.benchmark.matching import match_from_json, match_table
from luss.benchmark.metrics import SCALARS, compute_metrics
from luss.benchmark.store import StoredCounts, load_counts

EVALUATION = "8-evaluate"
_EXPECTED = "expected the folder of a run, a metrics.json of luss evaluate, or a file of its counts (.npz)"


@dataclass(frozen=True)
class RunResult:
    """One evaluated run.

    Attributes:
        path: as given.
        metrics: percentages under the names of `compute_metrics`, None for an empty size.
        ious: IoU of classes 0..K in percent.
        images: how many were scored, None where unknown.
        split, matching: "" where unknown.
        seed: run.seed of the settings, None where unknown.
        counts: file of the counts, "" where there is none.
        workspace: folder of the run, "" for files that lie in none.
    """

    path: str
    metrics: dict[str, float | None]
    ious: tuple[float, ...]
    images: int | None
    split: str
    matching: str
    seed: int | None
    counts: str
    workspace: str

    @property
    def num_classes(self) -> int:
        """K."""
        return len(self.ious) - 1

    def sums(self) -> ImageSums:
        """The sums of the bootstrap.

        Raises:
            LussError: there are no counts, they are damaged, or they do not give this mIoU.
        """
        if not self.counts:
            raise LussError(f"{self.path}: no counts of single images; make them with luss evaluate --save-counts")
        stored = load_counts(self.counts)
        table = class_table(self.counts, stored, _stored_match(self.workspace))
        found = compute_metrics(table, self.num_classes)["mIoU"]
        if abs(found - (self.metrics["mIoU"] or 0.0)) > 1e-6:
            raise LussError(
                f"{self.counts}: gives mIoU {found:.4f}, but {self.path} says {self.metrics['mIoU']}: counts and metrics are not of the same "
                "predictions, match and number of categories; evaluate again to make both"
            )
        return image_sums(stored.names, table, stored.shapes, self.num_classes)


def load_result(path: PathLike) -> RunResult:
    """Read a run from its workspace, a metrics.json (of a run, or printed by `luss evaluate PRED_DIR`), or a file of counts.

    Raises:
        LussError: nothing of that kind there, or damaged; the message names the file.
    """
    given = Path(path)
    if given.is_dir():
        folder = given / EVALUATION if (given / EVALUATION).is_dir() else given
        if not any((folder / name).is_file() for name in ("metrics.json", "counts.npz")):
            raise LussError(f"{folder}: neither metrics.json nor counts.npz in it; {_EXPECTED}: run luss evaluate first")
        metrics, counts = folder / "metrics.json", folder / "counts.npz"
    elif not given.is_file():
        raise LussError(f"{given}: no such file or folder; {_EXPECTED}")
    elif given.suffix == ".npz":
        folder, metrics, counts = given.parent, None, given
    elif given.suffix == ".json":
        folder, metrics, counts = given.parent, given, given.parent / "counts.npz"
    else:
        raise LussError(f"{given}: neither .json nor .npz; {_EXPECTED}")
    workspace = str(folder.parent) if folder.name == EVALUATION else ""
    counts_file = str(counts) if counts.is_file() else ""
    if metrics is not None and metrics.is_file():
        return _from_metrics(os.fspath(path), metrics, counts_file, workspace)
    return _from_counts(os.fspath(path), counts_file, workspace)


def class_table(path: PathLike, stored: StoredCounts, match: Mapping[int, int] | None = None) -> CountTable:
    """Stored counts with predictions in class ids, through the match of their record; rows of one pair are not added up.

    Args:
        path: stands in errors.
        match: taken where the record holds none; None = the predictions carry class ids.

    Raises:
        LussError: an id without an entry in the match.
    """
    record = stored.record
    if record.get("scheme") == "identity":
        return stored.table
    if record.get("match") is not None:
        match = match_from_json(record["match"], name=f"{path}: match")
    if match is None:
        return stored.table
    table, rows = match_table(match), stored.table.rows.copy()
    try:
        require_entries(np.unique(rows[:, PRED]), table)
    except ValueError as error:
        raise LussError(f"{path}: {error}; is it the match of these predictions? Evaluate again") from error
    rows[:, PRED] = table[rows[:, PRED]]
    return CountTable(stored.table.image, rows, stored.table.images)


def _from_metrics(path: str, file: Path, counts: str, workspace: str) -> RunResult:
    content = read_json(file)
    if not isinstance(content, dict):
        raise LussError(f"{file}: found a {type(content).__name__}; expected the JSON object that luss evaluate writes")
    nested = content.get("metrics")
    found = {**content, **nested} if isinstance(nested, dict) else content  # what luss evaluate PRED_DIR prints
    if "mIoU" not in found:
        raise LussError(f"{file}: holds no mIoU ({found.get('note', 'nothing was scored')}); {_EXPECTED}")
    ious = found.get("IoUs", found.get("ious"))
    if not isinstance(ious, list) or len(ious) < 2:
        raise LussError(f"{file}: holds no list IoUs with the IoU of every class; evaluate again")
    metrics = {name: _number(found.get(name), file, name) for name in SCALARS}
    if metrics["mIoU"] is None:
        raise LussError(f"{file}: its mIoU is null; evaluate again")
    values = tuple(_number(value, file, f"IoUs[{number}]") or 0.0 for number, value in enumerate(ious))
    images = found.get("images")
    matching = found.get("scheme", found.get("matching"))
    if not isinstance(matching, str):
        matching = "image" if workspace and _stored_match(workspace) is not None else ""  # what stage predict writes
    return RunResult(
        path=path,
        metrics=metrics,
        ious=values,
        images=images if type(images) is int else None,
        split=str(found.get("split", "")),
        matching=matching,
        seed=_seed(workspace),
        counts=counts,
        workspace=workspace,
    )


def _from_counts(path: str, file: str, workspace: str) -> RunResult:
    stored = load_counts(file)
    record = stored.record
    num_classes = record.get("num_classes")
    if type(num_classes) is not int or num_classes < 1:
        raise LussError(f"{file}: its record holds no num_classes (found {num_classes!r}); make it again with luss evaluate --save-counts")
    metrics = compute_metrics(class_table(file, stored, _stored_match(workspace)), num_classes)
    return RunResult(
        path=path,
        metrics={name: metrics[name] for name in SCALARS},
        ious=tuple(metrics["IoUs"]),
        images=len(stored.names),
        split=str(record.get("split", "")),
        matching=str(record.get("scheme", "")),
        seed=_seed(workspace),
        counts=file,
        workspace=workspace,
    )


def _number(value: object, file: Path, name: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise LussError(f"{file}: {name} is {value!r}; expected a number or null: evaluate again")
    return float(value)


def _stored_match(workspace: str) -> dict[int, int] | None:
    """The match that stage predict stored, None where there is none."""
    file = Path(workspace) / "7-predict" / "match.json"
    return match_from_json(read_json(file), name=str(file)) if workspace and file.is_file() else None


def _seed(workspace: str) -> int | None:
    file = Path(workspace) / "settings.json"
    if not workspace or not file.is_file():
        return None
    content = read_json(file)
    run = content.get("run") if isinstance(content, dict) else None
    seed = run.get("seed") if isinstance(run, dict) else None
    return seed if type(seed) is int else None
