"""Counts of single images for the report: stored ones, or counted again."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from luss.benchmark.counts import count_image
from luss.benchmark.folders import list_masks
from luss.benchmark.label_map import read_label_map, write_label_map
from luss.benchmark.metrics import compute_metrics
from luss.benchmark.store import save_counts
from luss.report import scored
from luss.report.scored import scored_images
from luss.report.sources import Absent, Run
from tests.luss.benchmark.result_files import record
from tests.luss.report.samples import finished_run


def store_counts(root: Path, **changes) -> None:
    """<root>/run/8-evaluate/counts.npz, as an evaluation leaves it: ids of the label maps, and the match."""
    data, run = root / "data", root / "run"
    keys = list_masks(str(data), "validation")
    counts = [count_image(read_label_map(run / "7-predict/validation" / key), read_label_map(data / "validation-segmentation" / key)) for key in keys]
    match = json.loads((run / "7-predict" / "match.json").read_text())
    save_counts(run / "8-evaluate" / "counts.npz", keys, counts, record(**{"match": match, **changes}))


def test_stored_and_counted_again_are_the_same(tmp_path):
    run = Run(finished_run(tmp_path))
    again = scored_images(run)
    store_counts(tmp_path)
    stored = scored_images(run)
    assert sorted(stored.stems) == sorted(again.stems) and stored.num_classes == again.num_classes == 3
    assert compute_metrics(stored.table, 3) == compute_metrics(again.table, 3)
    assert again.note == "Counted from the label maps of 15 of the 15 images of validation."
    assert stored.note == "From the counts of all 15 images of validation."


def test_stored_counts_need_no_label_maps(tmp_path):
    root = finished_run(tmp_path)
    store_counts(tmp_path)
    shutil.rmtree(root / "7-predict" / "validation")
    shutil.rmtree(tmp_path / "data")
    assert len(scored_images(Run(root)).stems) == 15


def test_damaged_counts_are_named(tmp_path):
    root = finished_run(tmp_path)
    (root / "8-evaluate" / "counts.npz").write_bytes(b"PK")
    with pytest.raises(Absent, match="counts.npz"):
        scored_images(Run(root))
    store_counts(tmp_path, match={"1": 1, "0": 0})
    with pytest.raises(Absent, match="no entry for id 2, 3"):
        scored_images(Run(root))


def test_at_most_so_many_are_counted_again_and_it_is_said(tmp_path, monkeypatch):
    root = finished_run(tmp_path)
    monkeypatch.setattr(scored, "AGAIN", 6)
    found = scored_images(Run(root))
    assert len(found.stems) == 6 and len({os.path.dirname(stem) for stem in found.stems}) == 3
    assert "6 of the 15 images of validation, spread evenly over the class folders (at most 6 are counted" in found.note


def test_files_that_cannot_be_scored_are_left_out_and_named(tmp_path):
    root = finished_run(tmp_path)
    (root / "7-predict" / "validation" / "n02" / "a.0.png").unlink()
    write_label_map(root / "7-predict" / "validation" / "n02" / "a.1.png", np.full((200, 300), 9))
    write_label_map(root / "7-predict" / "validation" / "n02" / "a.2.png", np.zeros((20, 30), int))
    found = scored_images(Run(root))
    assert len(found.stems) == 12 and "3 could not be scored; the first: n02/a.0.jpg: " in found.note


@pytest.mark.parametrize(
    ("gone", "reason"),
    [
        ("run/settings.json", "holds no settings.json"),
        ("run/7-predict/match.json", "No assignment of clusters"),
        ("data/validation-segmentation", "No image of validation could be scored; the first: "),
    ],
)
def test_nothing_to_score(tmp_path, gone, reason):
    root = finished_run(tmp_path)
    path = tmp_path / gone
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(Absent, match=reason):
        scored_images(Run(root))
