"""What was measured of one run: its metrics and, where they were stored, the counts of its images. Read from files; no model, no images."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path

from engine.runtime.errors import LussError
from engine.storage.atomic import PathLike, read_json
from luss.benchmark.bootstrap import ImageSums, image_sums
from luss.benchmark.counts import CountTable
from luss.benchmark.evaluate import evaluate_counts
from luss.benchmark.matching import match_from_json
from luss.benchmark.metrics import SCALARS, compute_metrics
from luss.benchmark.schemes import match_by
from luss.benchmark.scoring import renamed_counts
from luss.benchmark.store import StoredCounts, load_counts

EVALUATION = "8-evaluate"
AGREE = 1e-4  # points: figures of one evaluation differ by less, in float32 too; those of two hardly ever
_RECORD = ("num_classes", "num_clusters", "scheme", "match", "boundary", "allow_unknown_ids", "bad")
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
        notes: what the evaluation said about its figures, e.g. that they are an upper bound.
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
    notes: tuple[str, ...] = ()

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
        stored = load_complete_counts(self.counts)
        table = class_table(stored)
        found = compute_metrics(table, self.num_classes)["mIoU"]
        if abs(found - (self.metrics["mIoU"] or 0.0)) > AGREE:
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


def load_complete_counts(path: PathLike) -> StoredCounts:
    """`load_counts`, and its record says all that is needed to score them.

    Raises:
        LussError: as `load_counts`, or the record lacks something; names it.
    """
    stored = load_counts(path)
    missing = [name for name in _RECORD if name not in stored.record]
    if missing:
        raise LussError(f"{path}: its record lacks {', '.join(missing)}; make it again with luss evaluate --save-counts")
    return stored


def class_table(stored: StoredCounts) -> CountTable:
    """Counts with class ids instead of generated ids, by the match of their record; where that is open, by its scheme.

    Rows of one pair are not added up; boundaries are those before renaming.

    Raises:
        LussError: an id without an entry in the match.
    """
    record = stored.record
    if record["scheme"] == "identity":
        return stored.table
    if record["match"] is None:
        match = match_by(record["scheme"], stored.table, record["num_clusters"], record["num_classes"]).match
    else:
        match = match_from_json(record["match"], record["num_classes"])
    return renamed_counts(stored, match)


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
    images, matching, notes = found.get("images"), found.get("matching"), found.get("notes")
    scheme = matching.get("scheme") if isinstance(matching, dict) else None
    return RunResult(
        path=path,
        metrics=metrics,
        ious=values,
        images=images if type(images) is int else None,
        split=str(found.get("split", "")),
        matching=_scheme(scheme, workspace),
        seed=_seed(workspace),
        counts=counts,
        workspace=workspace,
        notes=tuple(map(str, notes)) if isinstance(notes, list) else (),
    )


def _from_counts(path: str, file: str, workspace: str) -> RunResult:
    stored = load_complete_counts(file)
    result = evaluate_counts(stored)
    return RunResult(
        path=path,
        metrics={name: result["metrics"][name] for name in SCALARS},
        ious=tuple(result["ious"]),
        images=result["images"],
        split=str(stored.record.get("split", "")),
        matching=_scheme(stored.record["scheme"], workspace),
        seed=_seed(workspace),
        counts=file,
        workspace=workspace,
        notes=tuple(result["notes"]),
    )


def _number(value: object, file: Path, name: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise LussError(f"{file}: {name} is {value!r}; expected a number or null: evaluate again")
    return float(value)


def _scheme(scheme: object, workspace: str) -> str:
    """The matching scheme of a run; its own evaluation is given the match that stage predict made by the scheme "image"."""
    if scheme in (None, "given") and workspace and (Path(workspace) / "7-predict" / "match.json").is_file():
        return "image"
    return scheme if isinstance(scheme, str) else ""


def _seed(workspace: str) -> int | None:
    file = Path(workspace) / "settings.json"
    if not workspace or not file.is_file():
        return None
    content = read_json(file)
    run = content.get("run") if isinstance(content, dict) else None
    seed = run.get("seed") if isinstance(run, dict) else None
    return seed if type(seed) is int else None
