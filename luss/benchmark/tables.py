"""Tables of results: runs, means over seeds, differences with bootstrap intervals, and published figures, side by side."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from engine.runtime.errors import LussError
from luss.benchmark.baselines import Baseline
from luss.benchmark.bootstrap import METRICS as RESAMPLED
from luss.benchmark.bootstrap import interval, require_same_images, resample
from luss.benchmark.results import AGREE, RunResult

COLUMNS = ("mIoU", "mBIoU", "Acc", "FMeasure", "S", "MS", "ML", "L", "BS", "BMS", "BML", "BL")
PROVENANCE = ("split", "images", "matching", "seeds", "source")
VALIDATION_IMAGES = {50: 752, 300: 4097, 919: 12419}  # of ImageNet-S
TEST_IMAGES = {50: 1682, 300: 9088, 919: 27423}


@dataclass(frozen=True)
class Value:
    """One cell in percent: a figure, its standard deviation over seeds, its interval; digits to show."""

    mean: float
    std: float | None = None
    low: float | None = None
    high: float | None = None
    digits: int = 2


@dataclass(frozen=True)
class Row:
    """One line of a table.

    Attributes:
        labels: one for each of the table's `head`.
        values: one for each of its `columns`, None = no value.
        kind: "run", "group", "difference", "published" or "class".
        provenance: names of PROVENANCE -> text or number, "" = unknown.
    """

    labels: tuple[str, ...]
    values: tuple[Value | None, ...]
    kind: str
    provenance: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Table:
    """What `luss.benchmark.table_formats` writes.

    Attributes:
        caption: what the figures are, in sentences.
        notes: what a reader has to know besides, a sentence each.
        shown: names of PROVENANCE in which the rows differ; formats for people show these alone, the caption says the rest.
    """

    caption: str
    head: tuple[str, ...]
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    shown: tuple[str, ...] = ()


@dataclass(frozen=True)
class Entry:
    """A run, or several seeds of one under a name."""

    name: str
    runs: tuple[RunResult, ...]
    is_group: bool = False

    def value(self, metric: str) -> Value | None:
        """Mean over the runs and sample standard deviation (n - 1) where there are two or more; None unless every run has a value."""
        values = [run.metrics.get(metric) for run in self.runs]
        if any(value is None for value in values):
            return None
        return Value(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None)

    def provenance(self) -> dict[str, object]:
        """Where the figures come from, by the names of PROVENANCE."""
        first, seeds = self.runs[0], ""
        if any(run.seed is not None for run in self.runs):
            seeds = ", ".join("?" if run.seed is None else str(run.seed) for run in self.runs)
        images = "" if first.images is None else first.images
        return {"split": first.split, "images": images, "matching": first.matching, "seeds": seeds, "source": ""}


def check_entries(entries: Sequence[Entry]) -> list[str]:
    """Notes on what limits the comparison; LussError for runs that cannot stand in one table or one mean."""
    names = [entry.name for entry in entries]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"entries: expected at least one, with distinct names, found {names}")
    runs = [run for entry in entries for run in entry.runs]
    for run in runs[1:]:
        if run.num_classes != runs[0].num_classes:
            raise LussError(
                f"{run.path}: {run.num_classes} categories, but {runs[0].path} has {runs[0].num_classes}; expected runs on one set: "
                "make a table for each"
            )
    notes = []
    for entry in entries:
        first = entry.runs[0]
        notes += dict.fromkeys(f"{entry.name}: {note}." for run in entry.runs for note in run.notes)
        for run in entry.runs[1:]:
            if _disagree(first, run) or first.matching != run.matching:
                raise LussError(
                    f"group {entry.name}: {run.path} was scored on {_on(run)}, but {first.path} on {_on(first)}; expected seeds of one run: "
                    "evaluate them alike"
                )
        seeds = [run.seed for run in entry.runs if run.seed is not None]
        if len(set(seeds)) < len(seeds):
            notes.append(f"{entry.name}: some of its runs have the same seed ({', '.join(map(str, seeds))}): its spread is not one over seeds.")
    if any(_disagree(run, other) for run in runs for other in runs):
        notes.append("The rows are of different images: they cannot be compared with each other.")
    return notes


def comparison_table(
    entries: Sequence[Entry],
    *,
    columns: Sequence[str] = COLUMNS,
    published: Sequence[Baseline] = (),
    resamples: int = 0,
    against: Entry | None = None,
    seed: int = 0,
) -> Table:
    """Runs and groups in rows, metrics in columns.

    Args:
        published: figures to put below, of the same set.
        resamples: of the paired bootstrap, 0 = none. Runs without counts stay without intervals, with a note.
        against: adds the difference of every other entry to this one; it becomes a row too if it is none.
        seed: of the bootstrap.

    Raises:
        LussError: runs of different sets; with intervals of a difference also runs of different images.
    """
    everyone = list(entries)
    if against is not None and against not in everyone:
        everyone.append(against)
    notes = check_entries(everyone)
    samples = _resampled(everyone, resamples, seed, against is not None, notes) if resamples else {}
    rows = [_entry_row(entry, columns, samples.get(entry.name), notes) for entry in everyone]
    if against is not None:
        if len(everyone) < 2:
            raise LussError(f"{against.name}: nothing to compare it with; name a second run")
        rows += [_difference_row(entry, against, columns, samples) for entry in everyone if entry is not against and entry != against]
    if published:
        rows += [_published_row(one, columns) for one in published]
        notes += _limits(everyone)
    shown = tuple(name for name in PROVENANCE if _differ(name, rows))
    caption = _caption(everyone, rows, shown, resamples if samples else 0, seed)
    return Table(caption, ("run",), tuple(columns), tuple(rows), tuple(notes), shown)


def per_class_table(entries: Sequence[Entry], names: Sequence[str] = ()) -> Table:
    """IoU of every class in rows, runs and groups in columns.

    Args:
        names: of the categories 1, 2, ... as far as they are known.
    """
    notes = check_entries(entries)
    rows = []
    for number in range(entries[0].runs[0].num_classes + 1):
        name = "other" if number == 0 else names[number - 1] if number <= len(names) else f"category {number}"
        cells = []
        for entry in entries:
            values = [run.ious[number] for run in entry.runs]
            cells.append(Value(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None))
        rows.append(Row((str(number), name), tuple(cells), "class"))
    provenance = [Row((), (), "run", entry.provenance()) for entry in entries]
    caption = "IoU of every class in percent; class 0 is background. " + _facts(provenance, ()) + _spread(entries)
    return Table(caption.strip(), ("id", "category"), tuple(entry.name for entry in entries), tuple(rows), tuple(notes))


def _resampled(entries: list[Entry], resamples: int, seed: int, together: bool, notes: list[str]) -> dict[str, dict[str, np.ndarray]]:
    """{entry: {metric: values as of `resample`, mean over its runs}} for entries whose runs all have counts."""
    found, first = {}, None
    for entry in entries:
        without = [run.path for run in entry.runs if not run.counts]
        if without:
            notes.append(f"{entry.name}: no intervals, {', '.join(without)} has no counts.npz (luss evaluate --save-counts makes it).")
            continue
        sums = [run.sums() for run in entry.runs]
        if together and first is not None:
            require_same_images(first[1], sums[0], (first[0], entry.runs[0].path))
        first = first or (entry.runs[0].path, sums[0])
        values = resample(sums, resamples, seed)  # equal numbers of images get equal draws, so that one entry at a time is as paired as all at once
        found[entry.name] = {metric: np.mean([one[metric] for one in values], axis=0) for metric in RESAMPLED}
    return found


def _entry_row(entry: Entry, columns: Sequence[str], samples: dict[str, np.ndarray] | None, notes: list[str]) -> Row:
    values = []
    for metric in columns:
        value = entry.value(metric)
        if value is not None and samples and metric in samples:
            found = interval(samples[metric])
            if abs(found.value - value.mean) > AGREE:  # several ids of one class: boundaries between them are in the counts, not in the metric
                notes.append(f"{entry.name}: no interval of {metric}, its counts before matching give {found.value:.2f}.")
            else:
                value = Value(value.mean, value.std, found.low, found.high)
        values.append(value)
    return Row((entry.name,), tuple(values), "group" if entry.is_group else "run", entry.provenance())


def _difference_row(entry: Entry, against: Entry, columns: Sequence[str], samples: dict[str, dict[str, np.ndarray]]) -> Row:
    values = []
    for metric in columns:
        one, other = entry.value(metric), against.value(metric)
        if one is None or other is None:
            values.append(None)
            continue
        value = Value(one.mean - other.mean)
        if entry.name in samples and against.name in samples and metric in RESAMPLED:
            found = interval(samples[entry.name][metric] - samples[against.name][metric])
            if abs(found.value - value.mean) <= 2 * AGREE:
                value = Value(value.mean, None, found.low, found.high)
        values.append(value)
    return Row((f"{entry.name} minus {against.name}",), tuple(values), "difference", dict.fromkeys(PROVENANCE, ""))


def _published_row(one: Baseline, columns: Sequence[str]) -> Row:
    values = tuple(Value(one.metrics[name], digits=1) if name in one.metrics else None for name in columns)
    images = {"validation": VALIDATION_IMAGES, "test": TEST_IMAGES}.get(one.split, {}).get(one.classes, "")
    source = f"{one.source} ({one.remark})" if one.remark else one.source
    provenance = {"split": one.split or "not stated", "images": images, "matching": "", "seeds": "", "source": source}
    return Row((one.name,), values, "published", provenance)


def _differ(name: str, rows: Sequence[Row]) -> bool:
    """Whether a provenance needs a column: what a published row does not know makes no difference."""
    own = {row.provenance[name] for row in rows if row.kind in ("run", "group")}
    others = {row.provenance[name] for row in rows if row.kind == "published"} - {""}
    return len(own | others) > 1


def _limits(entries: Sequence[Entry]) -> list[str]:
    """Why the published figures may not be comparable, as far as the runs show it."""
    notes = ["Published figures are of ImageNet-S, as their sources give them; none of them was measured here."]
    classes = entries[0].runs[0].num_classes
    expected = {"validation": VALIDATION_IMAGES.get(classes), "test": TEST_IMAGES.get(classes)}
    for entry in entries:
        run = entry.runs[0]
        if run.split in expected and run.images is not None and run.images != expected[run.split]:
            notes.append(
                f"{entry.name} was scored on {run.images} images, but {run.split} of ImageNet-S-{classes} has {expected[run.split]}: "
                "it cannot be compared with the published figures."
            )
    return notes


def _caption(entries: Sequence[Entry], rows: Sequence[Row], shown: Sequence[str], resamples: int, seed: int) -> str:
    classes = entries[0].runs[0].num_classes
    parts = [f"Percent. {classes} categories; background (class 0) counts as one of the {classes + 1} classes of mIoU and mBIoU."]
    parts.append(_facts([row for row in rows if row.kind in ("run", "group")], shown) + _spread(entries))
    if resamples:
        parts.append(
            f"In brackets: 95 % percentile intervals of {resamples} paired bootstrap resamples of the images (seed {seed}); "
            "the match stays as it is, and they say nothing about the spread over seeds."
        )
    return " ".join(part.strip() for part in parts if part.strip())


def _facts(rows: Sequence[Row], shown: Sequence[str]) -> str:
    """Split, images, matching and seeds where the rows agree and no column says it."""
    said = []
    for name, form, unknown in (
        ("split", "split {}", "split not recorded"),
        ("images", "{} images", "number of images not recorded"),
        ("matching", "matching scheme '{}'", "matching scheme not recorded"),
        ("seeds", "seeds {}", "seeds not recorded"),
    ):
        values = {row.provenance[name] for row in rows}
        if name in shown or len(values) > 1:
            continue
        (value,) = values
        said.append(unknown if value == "" else form.format(value))
    text = "; ".join(said)
    return f"{text[0].upper()}{text[1:]}. " if text else ""


def _spread(entries: Sequence[Entry]) -> str:
    groups = [f"{entry.name}: {len(entry.runs)}" for entry in entries if len(entry.runs) > 1]
    return f"Mean \N{PLUS-MINUS SIGN} sample standard deviation over the runs of a group ({', '.join(groups)})." if groups else ""


def _disagree(first: RunResult, second: RunResult) -> bool:
    """Whether two runs are of different images, as far as it is known."""
    splits, images = {first.split, second.split} - {""}, {first.images, second.images} - {None}
    return len(splits) > 1 or len(images) > 1


def _on(run: RunResult) -> str:
    return f"{run.images} images of {run.split or 'a split that is not recorded'} (matching {run.matching or 'not recorded'})"
