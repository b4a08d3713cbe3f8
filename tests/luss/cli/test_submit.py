"""`luss submit`: the three ways to call it, its exit codes and what it prints."""

from __future__ import annotations

import json
import zipfile

import pytest

from luss.cli.main import main
from luss.settings import load_settings
from tests.luss.benchmark.submission_samples import CLUSTERS, MATCH, K, make_data, match_text, valid_entries, valid_maps, write_maps, zip_bytes

METHOD = ["--method-name", "a", "--training-data", "b", "--training-scheme", "SSL", "--networks", "c", "--link", "none", "--description", "d"]


@pytest.fixture
def run(tmp_path):
    """A workspace with test predictions of generated ids."""
    data = make_data(tmp_path / "data")
    root = tmp_path / "run"
    write_maps(root / "7-predict" / "test", valid_maps(CLUSTERS))
    (root / "7-predict" / "match.json").write_bytes(match_text(MATCH))
    (root / "settings.json").write_text(json.dumps(load_settings("demo", None, [f"data.root={data}"]).as_dict()))
    (root / "7-predict" / "DONE.json").write_text(json.dumps({"settings": {}, "inputs": {}, "outputs": {}, "finished": "today"}))
    return root


def test_from_a_workspace(run, tmp_path, capsys):
    out = tmp_path / "s.zip"
    assert main(["submit", "--workspace", str(run), "--protocol", "unsupervised", "--out", str(out), "--method-name", "mine"]) == 0
    text = capsys.readouterr()
    assert text.out == f"{out}: valid, 0 problems, 0 warnings\n" and "competition 1317 (fully unsupervised)" in text.err
    with zipfile.ZipFile(out) as archive:
        assert archive.read("method.txt").decode().splitlines()[:4] == [
            "Method name: mine",
            f"Training data: training images of a set of {K} categories",
            "Training scheme: SSL",
            "Networks: ResNet-18",
        ]
        assert json.loads(archive.read("match.json")) == {**{str(key): value for key, value in MATCH.items()}, "0": 0}
    assert main(["submit", "--check", str(out), "--data", str(tmp_path / "data"), "--quiet"]) == 0


def test_rules_are_warned_of_and_never_stop(run, tmp_path, capsys):
    settings = load_settings("demo", None, [f"data.root={tmp_path / 'data'}", "model.weights=sup.pth", "data.evaluation_split=test"])
    (run / "settings.json").write_text(json.dumps(settings.as_dict()))
    assert main(["submit", "--workspace", str(run), "--protocol", "unsupervised", "--out", str(tmp_path / "s.zip"), "--quiet"]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and all(line.startswith("luss: warning: ") for line in lines)
    assert "model.weights = sup.pth" in lines[0] and "data.evaluation_split = test" in lines[1]


@pytest.mark.parametrize(
    ("protocol", "command"),
    [
        ("unsupervised", "luss predict --workspace {run} --set predict.splits=validation,test"),
        ("distance", "luss protocol distance --workspace {run} --set predict.splits=validation,test"),
    ],
)
def test_missing_predictions_say_what_makes_them(run, tmp_path, capsys, protocol, command):
    (run / "7-predict" / "DONE.json").unlink()
    assert main(["submit", "--workspace", str(run), "--protocol", protocol, "--out", str(tmp_path / "s.zip")]) == 2
    text = capsys.readouterr().err
    assert command.format(run=run) in text and ("half done" if protocol == "unsupervised" else "is not there") in text
    assert not (tmp_path / "s.zip").exists()


def test_anybodys_maps(tmp_path, capsys):
    data = make_data(tmp_path / "data")
    maps = write_maps(tmp_path / "pred" / "test", valid_maps(CLUSTERS)).parent
    (tmp_path / "match.json").write_bytes(match_text(MATCH))
    line = ["submit", str(maps), "--data", str(data), "--classes", str(K), "--protocol", "free", "--out", str(tmp_path / "s.zip"), "--quiet"]
    assert main([*line, "--match", str(tmp_path / "match.json"), *METHOD]) == 0
    assert main([*line, *METHOD]) == 2  # generated ids without their table
    assert "found the id" in capsys.readouterr().err
    assert main([*line, "--match", str(tmp_path / "match.json"), *METHOD[2:]]) == 2
    assert "--method-name missing" in capsys.readouterr().err
    with zipfile.ZipFile(tmp_path / "s.zip") as archive:
        (tmp_path / "method.txt").write_bytes(archive.read("method.txt"))
    again = [*line, "--match", str(tmp_path / "match.json"), "--method", str(tmp_path / "method.txt"), "--networks", "other"]
    assert main(again) == 0
    with zipfile.ZipFile(tmp_path / "s.zip") as archive:
        assert archive.read("method.txt").decode() == (tmp_path / "method.txt").read_text().replace("Networks: c", "Networks: other")


def test_check_prints_a_line_a_problem_and_fails(tmp_path, capsys):
    path = tmp_path / "a.zip"
    path.write_bytes(zip_bytes(valid_entries(True)[9:]))
    assert main(["submit", "--check", str(path), "--data", str(make_data(tmp_path / "data")), "--quiet"]) == 2
    text = capsys.readouterr()
    lines = text.out.splitlines()
    assert len(lines) == 10 and sum("no such label map" in line for line in lines) == 9
    assert f"{path}: 10 problems, 0 warnings; this is no valid submission" in text.err


@pytest.mark.parametrize(("options", "lines"), [([], 21), (["--all"], 31)])
def test_long_lists_are_shortened(tmp_path, capsys, options, lines):
    from tests.luss.benchmark.submission_samples import Entry

    path = tmp_path / "a.zip"
    path.write_bytes(zip_bytes([*valid_entries(False), *(Entry(f"x{number}.txt", b"") for number in range(31))]))
    assert main(["submit", "--check", str(path), "--classes", str(K), "--quiet", *options]) == 2
    assert len(capsys.readouterr().out.splitlines()) == lines


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("", "expected one of --workspace DIR, PRED_DIR and --check FILE.zip; found none"),
        ("P --workspace W", "found PRED_DIR and --workspace"),
        ("P", "--protocol is missing"),
        ("P --protocol fre", "no such protocol"),
        ("P --protocol free", "--data DIR is missing"),
        ("P --check a.zip", "found --check and PRED_DIR"),
        ("--check a.zip", "--classes K is missing"),
        ("--check none.zip --classes 3", "none.zip: no such file"),
        ("--check a.zip --classes 3 --networks r", "--networks belongs to building"),
        ("--check a.zip --classes 3 --match none", "--match belongs to building"),
        ("--workspace /nonexistent --protocol free", "no settings.json"),
        ("P --protocol free --workers -2", "--workers -2"),
    ],
)
def test_refusals(capsys, line, complaint):
    assert main(["submit", *line.split()]) == 2
    assert complaint in capsys.readouterr().err


def test_generated_ids_of_a_run_need_a_match(run, tmp_path, capsys):
    (run / "7-predict" / "match.json").unlink()
    line = ["submit", "--workspace", str(run), "--protocol", "unsupervised", "--out", str(tmp_path / "s.zip"), "--quiet"]
    assert main(line) == 2
    assert "give --match FILE.json, or --match none" in capsys.readouterr().err
    write_maps(run / "7-predict" / "test", valid_maps(K))
    assert main([*line, "--match", "none"]) == 0
