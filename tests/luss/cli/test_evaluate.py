"""`luss evaluate` without a run: files, stored counts, shares and ranks, the curve; refusals."""

from __future__ import annotations

import json

import numpy as np
import pytest

from luss.benchmark.evaluate import curve_folder, evaluate_folder
from luss.benchmark.label_map import write_label_map
from luss.cli import evaluate as module
from luss.cli.main import DONE, USER_ERROR, main

CLASSES = 4


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("evaluate")
    rng = np.random.default_rng(0)
    for number in range(11):
        gt = np.kron(rng.choice([0, 0, 1, 2, 3, 4, 1000], (4, 5)), np.ones((8, 9), int))
        pred = np.where(rng.random((4, 5)).repeat(8, 0).repeat(9, 1) < 0.7, (gt % 1000) % 4 + 1, rng.integers(0, 5, (4, 5)).repeat(8, 0).repeat(9, 1))
        for part, ids in (("pred", pred), ("data/validation-segmentation", gt)):
            folder = root / part / f"n{number % 2}"
            folder.mkdir(parents=True, exist_ok=True)
            write_label_map(folder / f"{number}.png", ids)
        attention = np.where((gt > 0) & (gt < 1000), 0.5, 0.2) + rng.random(gt.shape) * 0.4
        np.save(root / "pred" / f"n{number % 2}" / f"{number}.npy", attention.astype(np.float32))
    return root


@pytest.fixture
def run(folders, tmp_path, monkeypatch, capsys):
    """Runs `luss evaluate` in an empty folder; exit code, parsed output, errors."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LUSS_QUIET", "1")

    def call(line):
        line = line.replace("FILES", f"{folders}/pred --data {folders}/data --classes {CLASSES}")
        code = main(["evaluate", *line.split()])
        out, err = capsys.readouterr()
        return code, json.loads(out) if code == DONE and out.startswith("{") else out, err

    return call


def _figures(result):
    return {name: result[name] for name in ("metrics", "ious", "match", "images", "sizes", "extra")}


def test_files_and_stored_counts(run, folders, tmp_path):
    code, direct, _ = run("FILES --workers 0 --save-counts counts.npz")
    assert code == DONE
    expected = evaluate_folder(f"{folders}/pred", f"{folders}/data", "validation", CLASSES)
    assert _figures(direct) == _figures(json.loads(json.dumps(expected)))
    assert _figures(run("--counts counts.npz")[1]) == _figures(direct)
    pixel = run("FILES --workers 2 --match pixel")[1]
    assert pixel["matching"]["scheme"] == "pixel"
    assert _figures(run("--counts counts.npz --match pixel")[1]) == _figures(pixel)
    (tmp_path / "match.json").write_text(json.dumps({**direct["match"], "0": 0}))
    assert _figures(run("--counts counts.npz --match match.json")[1]) == _figures(direct)
    assert run("--counts counts.npz --subset class=n1")[1]["images"] == 5
    toolbox = run("--counts counts.npz --compat toolbox")[1]
    assert toolbox["compat"] == "toolbox" and toolbox["metrics"]["mIoU"] == pytest.approx(direct["metrics"]["mIoU"], rel=1e-6)
    code, result, errors = run("--counts counts.npz --match majority")
    assert code == DONE and result["matching"]["upper_bound"] and "note: matching 'majority' is many to one" in errors


def test_shares_scored_together(run):
    whole = run("FILES --match iou")[1]
    for share in range(3):
        assert run(f"FILES --match iou --shard {share}/3 --save-counts part{share}.npz")[1].strip() == f"part{share}.npz"
    assert _figures(run("--counts part2.npz part0.npz part1.npz")[1]) == _figures(whole)
    code, _, errors = run("--counts part2.npz part0.npz part2.npz")
    assert code == USER_ERROR and "stands in part2.npz too" in errors


def test_ranks_score_together(run, monkeypatch, tmp_path):
    """Two ranks one after the other; the barrier, which needs real MPI, is met by running the last first."""
    met = []
    monkeypatch.setattr(module, "barrier", lambda: met.append(module.rank()))
    whole = run("FILES --save-counts whole.npz")[1]
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "2")
    for rank in (1, 0):
        monkeypatch.setenv("OMPI_COMM_WORLD_RANK", str(rank))
        code, result, _ = run("FILES --save-counts counts.npz --workers 0")
        assert code == DONE
        if rank == 1:
            assert result == ""
    assert met == [1, 0]
    assert _figures(result) == _figures(whole)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["counts.npz", "whole.npz"]


def test_the_curve_and_the_table_at_its_best(run, folders):
    code, result, _ = run("FILES --curve")
    expected = curve_folder(f"{folders}/pred", f"{folders}/data", "validation", CLASSES)
    assert code == DONE and len(result["curve"]["thresholds"]) == 81
    assert result["curve"]["miou"] == expected["miou"]
    assert 0.4 < result["curve"]["best_threshold"] < 0.7
    assert result["metrics"]["mIoU"] == pytest.approx(result["curve"]["best_miou"], rel=1e-12)
    at_best = run(f"FILES --threshold {result['curve']['best_threshold']}")[1]
    assert at_best["metrics"]["mIoU"] == pytest.approx(result["curve"]["best_miou"], rel=1e-12)
    together = run("FILES --threshold 0.4 --curve --workers 2")[1]  # one pass for both
    assert together["curve"] == result["curve"]
    assert _figures(together) == _figures(run("FILES --threshold 0.4")[1])


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("FILES --match best", "--match best: expected one of image, pixel, iou, majority, identity, or a file"),
        ("FILES --match none.json", "none.json: cannot be read"),
        ("FILES --shard 3/3 --save-counts a.npz", "--shard 3/3: expected I/N"),
        ("FILES --shard 0/3", "add --save-counts FILE"),
        ("FILES --shard 0/300 --save-counts a.npz", "no more shards than the 11 images"),
        ("FILES --subset class=n1", "--subset goes with --counts"),
        ("FILES --curve --shard 0/2 --save-counts a.npz", "--curve needs all images in one process"),
        ("FILES --workers -1", "--workers -1: expected 0 or more"),
        ("FILES --clusters 3", "found the predicted id 4; expected 0..3"),
        ("FILES --counts a.npz", "PRED does not go with --counts"),
        ("--counts a.npz --threshold 0.4", "--threshold does not go with --counts"),
        ("--counts a.npz", "a.npz: cannot be read"),
        ("--save-counts a.npz", "--save-counts needs PRED"),
        ("--curve", "--curve needs PRED"),
    ],
)
def test_refusals(run, line, complaint):
    code, _, errors = run(line)
    assert code == USER_ERROR and complaint in errors
