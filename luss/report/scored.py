"""How every image of a run was predicted: from the stored counts, else by counting label maps again."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engine.data.folder import mask_path
from engine.runtime.errors import LussError
from luss.benchmark.counts import GT, PRED, CountTable, count_image, stack_counts
from luss.benchmark.label_map import read_label_map
from luss.benchmark.matching import apply_match, match_table
from luss.benchmark.results import class_table, load_complete_counts

from .gallery import choose
from .sources import Absent, Run

AGAIN = 1000  # images counted again at most: some seconds at 500 x 375 pixels


@dataclass(frozen=True)
class Scored:
    """Scored images of a run.

    Attributes:
        stems: "<class>/<stem>" of each image of the table.
        table: counts with predictions in category ids.
        num_classes: K.
        note: which images these are, a sentence.
    """

    stems: tuple[str, ...]
    table: CountTable
    num_classes: int
    note: str


def scored_images(run: Run) -> Scored:
    """Counts of the run's evaluation split; raises Absent where neither counts nor label maps with masks are there."""
    path = run.root / "8-evaluate" / "counts.npz"
    return _stored(run, path) if path.is_file() else _counted_again(run)


def _stored(run: Run, path: Path) -> Scored:
    try:
        stored = load_complete_counts(path)
        table = class_table(stored)
    except LussError as error:
        raise Absent(str(error)) from error
    note = f"From the counts of all {len(stored.names)} images of {stored.record.get('split', run.split)}."
    return Scored(tuple(os.path.splitext(name)[0] for name in stored.names), table, stored.record["num_classes"], note)


def _counted_again(run: Run) -> Scored:
    if run.folder is None:
        raise Absent(run.folder_note)
    if run.match is None:
        raise Absent(run.match_note)
    items = run.folder.items
    chosen = [items[position] for position in choose([item.class_index for item in items], AGAIN)]
    match, stems, counts, reasons = match_table(run.match), [], [], []
    for item in chosen:
        stem = os.path.splitext(item.key)[0]
        prediction = run.root / "7-predict" / run.split / (stem + ".png")
        try:
            gt = read_label_map(mask_path(run.data_root, run.split, item.key))
            counts.append(count_image(apply_match(read_label_map(prediction), match), gt))
            stems.append(stem)
        except (LussError, ValueError) as error:
            reasons.append(f"{item.key}: {error}")
    if not counts:
        raise Absent(f"No image of {run.split} could be scored; the first: {reasons[0]}." if reasons else f"There is no image of {run.split}.")
    spread = f", spread evenly over the class folders (at most {AGAIN} are counted without a counts.npz)" if len(chosen) < len(items) else ""
    note = f"Counted from the label maps of {len(counts)} of the {len(items)} images of {run.split}{spread}."
    if reasons:
        note += f" {len(reasons)} could not be scored; the first: {reasons[0]}."
    table = stack_counts(counts)
    return Scored(tuple(stems), table, len(run.folder.classes) or _largest(run, table), note)


def _largest(run: Run, table: CountTable) -> int:
    """K where nothing names it: the largest id that has a name or occurs."""
    return max(1, len(run.names), int(np.max(table.rows[:, [PRED, GT]], initial=0)))
