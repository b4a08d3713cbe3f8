"""`luss cluster` over any feature cache: files, labels, resuming, refusals; and its options as settings of the stage."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from engine.features import FeatureWriter
from engine.runtime import interrupt
from engine.runtime.errors import LussError
from luss.cli.commands import HANDLERS, resolve
from luss.cli.main import DONE, INTERRUPTED, USER_ERROR, main
from luss.cli.parser import parse
from luss.clustering import load
from tests.engine.features.samples import contents, flip

ROOT = Path(__file__).resolve().parents[3]
DIM = 6
SHORT = "--clusters 4 --restarts 2 --iterations 3"


def write_cache(folder: Path, rows: int, first_id: int = 0, dim: int = DIM, dtype: str = "float32", seed: int = 0) -> np.ndarray:
    values = np.random.default_rng(seed).normal(size=(rows, dim)).astype(dtype)
    with FeatureWriter(folder, dim, dtype) as writer:
        writer.append(np.arange(first_id, first_id + rows), values)
    return values


def unit(rows: np.ndarray) -> np.ndarray:
    x = rows.astype(np.float64)
    return x / (np.sqrt((x * x).sum(1, keepdims=True)) + 1e-8)


def nearest(rows: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    return ((rows[:, None] - centroids[None].astype(np.float64)) ** 2).sum(2).argmin(1)


@pytest.fixture
def caches(tmp_path, monkeypatch):
    """Caches "train" of 300 rows and "val" of 40 rows, whose ids begin at 7, in the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(interrupt, "install", lambda: None)  # pytest keeps its own handlers
    monkeypatch.setattr(interrupt, "_requested", False)
    return write_cache(Path("train"), 300), write_cache(Path("val"), 40, first_id=7, seed=1)


def cluster(line: str) -> int:
    return main(["cluster", "--quiet", *line.split()])


@pytest.mark.parametrize("engine", ["luss", "faiss"])
@pytest.mark.parametrize("normalise", [True, False])
def test_centroids_labels_ids_and_report(caches, capsys, engine, normalise):
    train, val = caches
    line = f"--cache train --assign val --out out --engine {engine} {SHORT}" + ("" if normalise else " --no-normalise")
    assert cluster(line) == DONE
    assert "4 clusters of 300 rows" in capsys.readouterr().out
    centroids = np.load("out/centroids.npy")
    assert centroids.shape == (4, DIM) and centroids.dtype == np.float32
    report = json.loads(Path("out/report.json").read_text())
    for name, rows in (("train", train), ("val", val)):
        labels = np.load(f"out/{name}.labels.npy")
        expected = nearest(unit(rows) if normalise else rows.astype(np.float64), centroids)
        assert labels.dtype == np.int32
        np.testing.assert_array_equal(labels, expected)
        assert report["labels"][name]["rows"] == len(rows) and report["labels"][name]["sizes"] == np.bincount(labels, minlength=4).tolist()
    assert not Path("out/train.ids.npy").exists()
    np.testing.assert_array_equal(np.load("out/val.ids.npy"), np.arange(7, 47))
    sizes = np.array(report["sizes"])
    assert sizes.sum() == 300 and report["imbalance"] == pytest.approx(4 * (sizes**2).sum() / 300**2)
    assert report["engine"] == engine and report["seed"] == 0 and report["settings"]["normalise"] is normalise
    last = {record["restart"]: record["objective"] for record in report["iterations"]}
    assert report["best_restart"] == min(last, key=last.get) and report["objective"] == min(last.values())
    assert all(record["seconds"] >= 0 for record in report["iterations"])
    assert not Path("out/state").exists()


def test_a_finished_result_stays_and_more_caches_can_be_labelled(caches):
    assert cluster(f"--cache train --out out {SHORT}") == DONE
    before = contents(Path("out"))
    assert cluster(f"--cache train --out out {SHORT}") == DONE
    assert contents(Path("out")) == before
    assert cluster(f"--cache train --out out {SHORT} --assign val --block-rows 7") == DONE  # block-rows changes no result, so it is no other work
    after = contents(Path("out"))
    assert set(after) - set(before) == {"val.labels.npy", "val.ids.npy"}
    assert [name for name in before if after[name] != before[name]] == ["report.json"]


def test_labels_of_a_cache_that_was_made_again_are_made_again(caches, tmp_path):
    assert cluster(f"--cache train --out out {SHORT} --assign val") == DONE
    (tmp_path / "val").rename(tmp_path / "old")
    rows = write_cache(Path("val"), 25, seed=3)
    assert cluster(f"--cache train --out out {SHORT} --assign val") == DONE
    np.testing.assert_array_equal(np.load("out/val.labels.npy"), nearest(unit(rows), np.load("out/centroids.npy")))
    assert not Path("out/val.ids.npy").exists()


def test_stopped_after_every_iteration_it_ends_like_an_undisturbed_one(caches, monkeypatch, capsys):
    line = "--cache train --assign val --clusters 9 --restarts 3 --iterations 6 --out"
    assert cluster(f"{line} whole") == DONE
    monkeypatch.setattr(interrupt, "_requested", True)
    stops = 0
    while (code := cluster(f"{line} stopped")) == INTERRUPTED and stops < 20:
        stops += 1
    monkeypatch.setattr(interrupt, "_requested", False)
    assert stops >= 3 and "the same command goes on" in capsys.readouterr().err
    assert code == DONE or cluster(f"{line} stopped") == DONE
    for name in ("centroids.npy", "train.labels.npy", "val.labels.npy"):
        assert Path("stopped", name).read_bytes() == Path("whole", name).read_bytes(), name
    assert not Path("stopped/state").exists()


@pytest.mark.parametrize("number, expected", [(signal.SIGTERM, INTERRUPTED), (signal.SIGKILL, -signal.SIGKILL)])
def test_a_process_that_is_stopped_or_killed_ends_like_an_undisturbed_one(tmp_path, number, expected):
    write_cache(tmp_path / "train", 20000, dim=24, dtype="float16")
    words = [sys.executable, "-m", "luss.cli", "cluster", "--cache", "train", *"--clusters 60 --restarts 4 --iterations 40".split()]
    options = {"cwd": tmp_path, "stderr": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "env": {**os.environ, "PYTHONPATH": str(ROOT)}}
    whole = subprocess.run([*words, "--out", "whole"], **options)
    assert whole.returncode == DONE, whole.stderr
    child = subprocess.Popen([*words, "--out", "out"], **options)
    deadline = time.time() + 60
    while not (tmp_path / "out" / "STARTED.json").exists() and time.time() < deadline:
        time.sleep(0.005)
    child.send_signal(number)
    said = child.communicate(timeout=120)[1]
    assert child.returncode == expected, said
    again = subprocess.run([*words, "--out", "out"], **options)
    assert again.returncode == DONE, again.stderr
    for name in ("centroids.npy", "train.labels.npy"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_whitened_centroids_have_a_name_of_their_own(caches):
    train, _ = caches
    assert cluster(f"--cache train --out out {SHORT} --whiten 3") == DONE
    assert not Path("out/centroids.npy").exists()
    assert np.load("out/whitened_centroids.npy").shape == (4, 3)
    with np.load("out/whitening.npz") as w:
        vectors = (train - w["mean"]) @ w["basis"]
    np.testing.assert_allclose(np.cov(vectors.T), np.eye(3), atol=0.02)  # 1 / n or 1 / (n - 1), and float32
    found = nearest(unit(vectors), load(Path("out")).centroids)
    assert (found == np.load("out/train.labels.npy")).mean() > 0.99  # rows between two centroids may fall to either side in float32


@pytest.mark.parametrize(
    "line, complaint",
    [
        ("--cache train --clusters 4", "--cache needs --out"),
        ("--cache train --out out", "--cache needs --clusters"),
        ("--cache train --out out --clusters 0", "--clusters = 0: expected at least 1"),
        ("--cache train --out out --clusters 4 --iterations 0", "--iterations = 0: expected at least 1"),
        ("--cache train --out out --clusters 4 --block-rows -1", "--block-rows = -1"),
        ("--cache train --out out --clusters 4 --seed -1", "--seed -1: expected 0 to"),
        ("--cache train --out out --clusters 301", "--clusters 301: train has only 300 rows"),
        ("--cache train --out out --clusters 4 --whiten 7", "--whiten 7: train has rows of 6 values"),
        ("--cache train --out out --clusters 4 --engine faiss --whiten 3", "--whiten = 3: --engine = faiss cannot"),
        ("--cache train --out out --clusters 4 --engine faiss --minibatch 64", "--minibatch = 64: --engine = faiss cannot"),
        ("--cache train --out out --clusters 4 --engine faiss --start k-means++", "--start = k-means++: --engine = faiss cannot"),
        ("--cache train --out out --clusters 4 --engine faiss --spherical", "--spherical = True: --engine = faiss cannot"),
        ("--cache train --out out --clusters 4 --minibatch 9 --spherical", "--minibatch = 9: mini-batches go by squared distance alone"),
        ("--cache train --out out --clusters 4 --engine sklearn", "--engine: invalid choice"),
        ("--cache train --out out --clusters 4 --start first", "--start: invalid choice"),
        ("--cache train --out out --clusters 4 --assign other/train", "two caches have the same name out of train"),
        ("--cache train --out out --clusters 4 --assign wide", "--assign wide: rows of 9 values, those of train have 6"),
        ("--cache train --out out --clusters 4 --workspace w", "--workspace belongs to a run"),
        ("--cache train --out out -c 4", "--set belongs to a run"),
        ("--cache nowhere --out out --clusters 4", "--cache nowhere: no such folder"),
        ("--cache train --out out --clusters 4 --assign nowhere", "--assign nowhere: no such folder"),
        ("--cache taken --out out --clusters 4", "taken: no feature cache"),
        ("--cache train --out out --clusters 65537", "--clusters = 65537: expected at most 65536"),
        ("--cache train --out taken --clusters 4", "--out taken: holds files"),
        ("--out out --data D", "--out needs --cache"),
        ("--assign val --data D", "--assign needs --cache"),
        ("--no-normalise --data D", "--no-normalise needs --cache"),
    ],
)
def test_refusals(caches, capsys, line, complaint):
    write_cache(Path("other/train"), 10)
    write_cache(Path("wide"), 10, dim=9)
    Path("taken").mkdir()
    Path("taken/notes.txt").write_text("mine")
    assert cluster(line) == USER_ERROR
    said = capsys.readouterr()
    assert complaint in said.err and "Traceback" not in said.err and said.out == ""
    assert not Path("out").exists() and os.listdir("taken") == ["notes.txt"]


def test_other_work_in_the_same_folder_is_refused_and_nothing_is_lost(caches, capsys, tmp_path):
    assert cluster(f"--cache train --out out {SHORT}") == DONE
    before = contents(Path("out"))
    assert cluster("--cache train --out out --clusters 5 --restarts 2 --iterations 3") == USER_ERROR
    assert "--out out: clusters was 4, is now 5; name another folder" in capsys.readouterr().err
    (tmp_path / "train").rename(tmp_path / "old")
    write_cache(Path("train"), 300, seed=5)
    assert cluster(f"--cache train --out out {SHORT}") == USER_ERROR
    assert "input cache changed" in capsys.readouterr().err
    assert contents(Path("out")) == before


def test_a_damaged_cache_and_a_damaged_result_are_named(caches, capsys):
    assert cluster(f"--cache train --out out {SHORT}") == DONE
    flip(Path("val/r000-s00000.npy"), 4100)
    assert cluster(f"--cache train --out out {SHORT} --assign val") == USER_ERROR
    assert "r000-s00000.npy: block 0 of 1" in capsys.readouterr().err
    Path("out/centroids.npy").write_bytes(b"")
    assert cluster(f"--cache train --out out {SHORT}") == USER_ERROR
    assert "centroids.npy: not what report.json says" in capsys.readouterr().err


@pytest.mark.parametrize("role", ["cache", "assign"])
def test_a_row_that_is_not_finite_is_named_with_its_cache(caches, capsys, role):
    values = np.zeros((9, DIM), np.float32)
    values[6, 2] = np.inf
    with FeatureWriter(Path("broken"), DIM, "float32") as writer:
        writer.append(np.arange(9), values)
    line = "--cache broken" if role == "cache" else "--cache train --assign broken"
    assert cluster(f"{line} --out out {SHORT}") == USER_ERROR
    assert "error: broken: the features of row 6 are not finite" in capsys.readouterr().err


def test_two_at_once_in_one_folder_are_refused(caches, capsys):
    from engine.storage.lock import locked_folder

    with locked_folder("out", "clusters"):
        assert cluster(f"--cache train --out out {SHORT}") == USER_ERROR
    assert "another process clusters" in capsys.readouterr().err


def test_no_jittor_is_imported(caches):
    code = "import sys; from luss.cli.main import main; assert main(sys.argv[1:]) == 0; print('jittor' in sys.modules)"
    words = [sys.executable, "-c", code, *f"cluster --cache train --out out {SHORT}".split()]
    done = subprocess.run(words, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True)
    assert done.stdout.splitlines()[-1] == "False"


def test_options_are_settings_of_the_stage(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr("luss.cli.commands.run_stages", lambda args: seen.append(resolve(args)[1].cluster))
    line = "cluster --data D --engine luss --clusters 7 --restarts 3 --iterations 4 --start k-means|| --spherical --whiten 5 --block-rows 6"
    given = parse([*line.split(), "--workspace", str(tmp_path), "--set", "cluster.restarts=9"])[0]
    HANDLERS["cluster"](given)
    c = seen[0]
    assert (c.clusters, c.restarts, c.iterations, c.start, c.spherical, c.whiten, c.block_rows) == (7, 9, 4, "k-means||", True, 5, 6)
    given = parse(["cluster", "--data", "D", "--workspace", str(tmp_path), "--engine", "faiss", "--whiten", "3"])[0]
    with pytest.raises(LussError, match="cluster.whiten = 3: cluster.engine = faiss"):
        HANDLERS["cluster"](given)
