from __future__ import annotations

import os

import pytest

from luss.cli.main import DONE, USER_ERROR, main
from luss.workspace import Workspace
from tests.engine.features.samples import contents, flip, vectors, write


@pytest.fixture
def workspace(tmp_path):
    """A features stage begun and not finished, with one cache that is whole."""
    stage = Workspace(tmp_path / "run").stage("features")
    stage.begin({}, {})
    write(stage.path / "train", vectors(100), 2)
    return tmp_path / "run"


def test_check_of_a_whole_cache(workspace, capsys):
    before = contents(workspace / "3-features" / "train")
    assert main(["features", "--check", "--workspace", str(workspace)]) == DONE
    said = capsys.readouterr()
    assert said.out == f"{workspace / '3-features'}: 100 rows, all checksums match\n" and "checking train" in said.err
    assert contents(workspace / "3-features" / "train") == before


def test_check_names_each_damaged_shard_with_exit_code_2(workspace, capsys):
    folder = workspace / "3-features" / "train"
    flip(folder / "r000-s00001.npy", 4100)
    flip(folder / "r001-s00000.ids.npy", 4100)
    assert main(["features", "--check", "--quiet", "--workspace", str(workspace)]) == USER_ERROR
    said = capsys.readouterr()
    assert said.out == "" and "2 damaged" in said.err and "checking" not in said.err
    assert "r000-s00001.npy: block 0 of 3 (rows 0 to 6) fails its checksum" in said.err and "r001-s00000.ids.npy: the ids" in said.err
    assert f"run `luss features --workspace {workspace} --repair`" in said.err


@pytest.mark.parametrize(
    "words, complaint",
    [
        ("--check --repair", "--check changes nothing"),
        ("--check --dry-run", "--check changes nothing"),
        ("--repair --dry-run", "give --check to see"),
        ("--check --workspace nowhere", "nowhere: no such folder"),
        ("--check --workspace .", "no feature cache; it is made by `luss features"),
    ],
)
def test_refusals(tmp_path, monkeypatch, capsys, words, complaint):
    monkeypatch.chdir(tmp_path)
    assert main(["features", *words.split()]) == USER_ERROR
    assert complaint in capsys.readouterr().err


def test_a_running_stage_is_not_disturbed(workspace, capsys):
    with Workspace(workspace).lock():
        assert main(["features", "--check", "--workspace", str(workspace)]) == USER_ERROR
    assert f"in use by process {os.getpid()}" in capsys.readouterr().err


def test_only_one_of_several_processes_looks(workspace, capsys, monkeypatch):
    monkeypatch.setenv("OMPI_COMM_WORLD_RANK", "1")
    flip(workspace / "3-features" / "train" / "r000-s00001.npy", 4100)
    assert main(["features", "--check", "--workspace", str(workspace)]) == DONE
    assert capsys.readouterr().out == ""
