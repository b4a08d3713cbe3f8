from __future__ import annotations

import csv
import io
import json
import os
import sys

import pytest

from engine.runtime.errors import LussError
from luss.cli.commands import HANDLERS
from luss.cli.main import main
from luss.cli.parser import parse
from tests.luss.benchmark.result_files import edit_json, evaluated_run


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """Three seeds and an untrained run in the working folder; the last has no counts."""
    monkeypatch.chdir(tmp_path)
    for seed in (1, 2, 3):
        evaluated_run(tmp_path / f"s{seed}", 0.2, seed=seed)
    evaluated_run(tmp_path / "untrained", 0.7)
    evaluated_run(tmp_path / "old", 0.5, counts=False)
    return tmp_path


def table(capsys, line: str):
    assert main(["table", *line.split()]) == 0
    return capsys.readouterr()


def records(text: str) -> list[dict]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_runs_groups_and_differences(runs, capsys):
    printed = table(capsys, "old --group ours=s1,s2,s3 --against untrained --format csv")
    rows = records(printed.out)
    assert [row["run"] for row in rows] == ["old", "untrained", "ours", "old minus untrained", "ours minus untrained"]
    assert rows[2]["seeds"] == "1, 2, 3" and rows[2]["mIoU std"] and rows[2]["mIoU low"] and rows[4]["mIoU high"]
    assert rows[0]["mIoU low"] == rows[3]["mIoU low"] == ""
    assert printed.err == "luss: note: old: no intervals, old has no counts.npz (luss evaluate --save-counts makes it).\n"
    values = [json.loads((runs / f"s{seed}" / "8-evaluate" / "metrics.json").read_text())["mIoU"] for seed in (1, 2, 3)]
    assert float(rows[2]["mIoU"]) == pytest.approx(sum(values) / 3)


def test_no_intervals_unless_asked(runs, capsys):
    assert "mIoU low" not in table(capsys, "s1 s2 --format csv").out
    assert "[" not in table(capsys, "s1 s2").out
    assert "200 paired bootstrap" in table(capsys, "s1 --bootstrap 200").out
    assert "1000 paired bootstrap" in table(capsys, "s1 --against s2").out


def test_the_run_to_compare_with_may_be_a_row_already(runs, capsys):
    rows = json.loads(table(capsys, "s1 ./s2 --against s2/ --format json").out)["rows"]
    assert [row["run"] for row in rows] == ["s1", "s2", "s1 minus s2"]


def test_files_instead_of_folders_and_equal_names(runs, capsys):
    os.makedirs("other")
    evaluated_run(runs / "other" / "s1", 0.5)
    rows = records(table(capsys, "s1/8-evaluate/counts.npz s2/8-evaluate/metrics.json s3/8-evaluate other/s1 --format csv").out)
    assert [row["run"] for row in rows] == ["s1/8-evaluate/counts.npz", "s2", "s3", "other/s1"]


def test_columns_and_output_file(runs, capsys):
    printed = table(capsys, "s1 --metrics Acc,mIoU --format latex --out t.tex")
    assert printed.out == "t.tex\n" and "run & Acc & mIoU \\\\" in (runs / "t.tex").read_text()


def test_per_class_with_names(runs, capsys):
    data = runs / "data"
    for name in ("n01", "n02", "n03"):
        (data / "validation" / name).mkdir(parents=True)
        (data / "validation" / name / "a.jpg").write_bytes(b"")
    edit_json(runs / "s1" / "settings.json", data={"root": str(data)})
    rows = records(table(capsys, "s1 --group g=s2,s3 --per-class --format csv").out)
    assert [(row["id"], row["category"]) for row in rows] == [("0", "other"), ("1", "n01"), ("2", "n02"), ("3", "n03")]
    assert rows[1]["g std"] and "s1 std" not in rows[1]


def test_published_figures(runs, capsys):
    for name, images in (("a", 12419), ("b", 8)):
        evaluated_run(runs / name, 0.3, counts=False)
        edit_json(runs / name / "8-evaluate" / "metrics.json", IoUs=[1.0] * 920, images=images)
    text = table(capsys, "a --baselines --protocol semi").out
    assert "SERE, ViT-B/16, SSL+FT" in text and "63.0" in text and "63.3" not in text and "Papers with Code" in text
    assert "11.5" in table(capsys, "a --baselines").out
    assert "cannot be compared with the published figures" in table(capsys, "b --baselines").out
    printed = table(capsys, "s1 --baselines")
    assert printed.err == "luss: note: no published figures of unsupervised on 3 categories, split validation\n" and "PASS" not in printed.out


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS refuses file names that are not UTF-8")
@pytest.mark.parametrize("kind", ["text", "csv", "json", "latex"])
def test_a_folder_name_that_is_not_utf8(runs, capsys, kind):
    os.rename("s1", b"s\xff_1")
    assert main(["table", os.fsdecode(b"s\xff_1"), "--format", kind, "--out", "out"]) == 0
    assert "s\N{REPLACEMENT CHARACTER}" in (runs / "out").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("", "name at least one RUN"),
        ("nothing", "nothing: no such file or folder"),
        ("s1 --format html", "--format html: expected one of text, csv, json, latex"),
        ("s1 --protocol free", "--protocol free: expected one of unsupervised"),
        ("s1 --metrics mIoU,IoU", "--metrics IoU: expected one of mIoU"),
        ("s1 --bootstrap 10", "--bootstrap 10: expected at least 100"),
        ("s1 --bootstrap 0", "--bootstrap 0: expected at least 100"),
        ("s1 --against s1", "nothing to compare it with"),
        ("--group s1,s2", "expected NAME=RUN,RUN,RUN"),
        ("--group g=", "expected NAME=RUN,RUN,RUN"),
        ("--group g=s1,./s1", "a run stands in it twice"),
        ("s1 --group s1=s2,s3", "s1: the name of two rows"),
        ("s1 --per-class --against s2", "--per-class: a table of the categories' IoUs alone"),
    ],
)
def test_refusals(runs, line, complaint):
    given = parse(["table", *line.split()])[0]
    with pytest.raises(LussError, match=complaint):
        HANDLERS["table"](given)
