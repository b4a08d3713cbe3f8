"""The whole pipeline on the generated set at its smallest setting: skipping, re-running with the reason, resuming after a kill."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest

from engine.training.checkpoint import read_checkpoint, section
from luss.cli.commands import DEMO_IMAGES
from luss.pipeline import PLAN
from luss.workspace import STAGES

ROOT = Path(__file__).resolve().parents[2]
SMALLEST = [word for name in ("pretrain.epochs=1", "attend.epochs=1", "finetune.epochs=1", "cluster.restarts=1") for word in ("--set", name)]
NAMES = [stage.name for stage in PLAN]
METHOD = "Method name: m\nTraining data: d\nTraining scheme: SSL\nNetworks: n\nPaper/Project link: none\nMethod description: t"


def start(*words, **options):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen([sys.executable, "-m", "luss.cli", *map(str, words)], stderr=subprocess.PIPE, text=True, env=environment, **options)


def luss(*words) -> str:
    """Run to the end; returns what it said."""
    child = start(*words)
    said = child.communicate(timeout=800)[1]
    assert child.returncode == 0, said
    return said


def verdicts(said: str) -> dict[str, str]:
    """Stage -> "starts", "skipped, ...", "runs again: ..." or "resumes: ..."."""
    found = {}
    for line in said.splitlines():
        _, _, rest = line.partition("luss: ")
        name, _, verdict = rest.partition(": ")
        if name in NAMES and verdict.startswith(("starts", "skipped", "runs again", "resumes")):
            found[name] = verdict
    return found


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """A finished run, not to be changed."""
    folder = tmp_path_factory.mktemp("demo") / "run"
    said = luss("demo", "--workspace", folder, *SMALLEST)
    assert verdicts(said) == dict.fromkeys(NAMES, "starts")
    return folder


@pytest.fixture
def copy(demo, tmp_path):
    """A finished run of one's own; its data stay where they are."""
    shutil.copytree(demo, tmp_path / "run", ignore=lambda folder, names: ["data"] if Path(folder) == demo else [])
    return tmp_path / "run"


def test_a_run_leaves_figures_label_maps_and_a_report(demo):
    metrics = json.loads((demo / "8-evaluate" / "metrics.json").read_text())
    assert 0 < metrics["mIoU"] < 100
    photographs = {path.relative_to(demo / "data" / "validation").with_suffix("") for path in (demo / "data" / "validation").rglob("*.JPEG")}
    predicted = {path.relative_to(demo / "7-predict" / "validation").with_suffix("") for path in (demo / "7-predict" / "validation").rglob("*.png")}
    assert photographs == predicted and len(photographs) == DEMO_IMAGES["validation"]
    page = (demo / "report.html").read_text()
    assert "<svg" in page and page.count("<img") >= 12 * 4 and "http://" not in page.replace("http://www.w3.org", "")


def test_the_same_command_skips_everything(copy, demo):
    said = luss("run", "--workspace", copy, "--data", demo / "data")
    assert all(verdict.startswith("skipped") for verdict in verdicts(said).values()) and list(verdicts(said)) == NAMES


def test_a_changed_setting_runs_again_what_depends_on_it_and_says_why(copy, demo):
    before = (copy / "5-label" / "DONE.json").read_bytes()
    found = verdicts(luss("run", "--workspace", copy, "--data", demo / "data", "--set", "finetune.base_lr=0.5"))
    assert [name for name in NAMES if found[name].startswith("skipped")] == NAMES[:6]
    assert found["finetune"].startswith("runs again") and "finetune.base_lr" in found["finetune"] and "0.5" in found["finetune"]
    assert found["predict"].startswith("runs again") and "checkpoint" in found["predict"]
    assert (copy / "5-label" / "DONE.json").read_bytes() == before


def test_a_stage_alone_needs_the_ones_before_it(demo, tmp_path):
    child = start("cluster", "--preset", "demo", "--workspace", tmp_path / "new", "--data", demo / "data")
    said = child.communicate(timeout=800)[1]
    assert child.returncode == 2 and "luss features" in said and "Traceback" not in said


@pytest.mark.parametrize("stage", ["pretrain", "attend", "finetune"])
def test_a_stage_killed_in_an_epoch_ends_like_an_undisturbed_one(copy, demo, stage):
    folder = copy / STAGES[stage]
    undisturbed, _ = read_checkpoint(str(folder / "checkpoint.npz"))
    shutil.rmtree(folder)
    words = (stage, "--workspace", copy, "--data", demo / "data", "--set", "run.checkpoint_steps=3")
    child = start(*words, start_new_session=True)
    deadline = time.time() + 600
    while not (folder / "checkpoint.npz").exists() and time.time() < deadline:
        time.sleep(0.02)
    os.killpg(child.pid, signal.SIGKILL)
    child.communicate()
    assert not (folder / "DONE.json").exists(), "it ended before it was killed"
    assert verdicts(luss(*words))[stage].startswith("resumes")
    resumed, _ = read_checkpoint(str(folder / "checkpoint.npz"))
    assert resumed.keys() == undisturbed.keys()
    for name, array in undisturbed.items():
        assert np.array_equal(resumed[name], array), name


def test_damaged_features_are_named_repaired_and_give_the_same_centroids(copy, demo):
    rows = copy / "3-features" / "train" / "r000-s00000.npy"
    whole, damaged = rows.read_bytes(), bytearray(rows.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    rows.write_bytes(damaged)
    child = start("features", "--check", "--workspace", copy)
    said = child.communicate(timeout=800)[1]
    assert child.returncode == 2 and "r000-s00000.npy: block 0 of 1 (rows 0 to 799) fails its checksum" in said and "--repair" in said
    child = start("cluster", "--workspace", copy, "--data", demo / "data", "--set", "cluster.restarts=2")
    said = child.communicate(timeout=800)[1]
    assert child.returncode == 2 and "r000-s00000.npy" in said and "Traceback" not in said
    said = luss("features", "--repair", "--workspace", copy, "--data", demo / "data")
    assert verdicts(said)["features"].startswith("resumes")
    assert rows.read_bytes() == whole
    luss("features", "--check", "--workspace", copy)
    said = luss("cluster", "--workspace", copy, "--data", demo / "data", "--set", "cluster.restarts=1")  # as at first
    assert verdicts(said)["cluster"].startswith("runs again")
    assert (copy / "3-cluster" / "centroids.npy").read_bytes() == (demo / "3-cluster" / "centroids.npy").read_bytes()


def test_an_exported_checkpoint_can_start_another_run(demo, tmp_path):
    published = tmp_path / "published.pth.tar"
    luss("export", demo / "1-pretrain" / "checkpoint.npz", published)
    said = luss(
        *("pretrain", "--preset", "demo", "--workspace", tmp_path / "new", "--data", demo / "data"),
        *("--set", f"model.weights={published}", "--set", "pretrain.epochs=0"),
    )
    assert "matched" in said
    wanted, _ = read_checkpoint(str(demo / "1-pretrain" / "checkpoint.npz"), prefix="model/")
    found, _ = read_checkpoint(str(tmp_path / "new" / "1-pretrain" / "checkpoint.npz"), prefix="model/")
    assert section(found, "model/").keys() == section(wanted, "model/").keys()
    for name, array in section(wanted, "model/").items():
        assert np.array_equal(section(found, "model/")[name], array), name


@pytest.mark.parametrize(
    "protocol, folder", [("unsupervised", "8-evaluate"), ("distance", "distance-2-evaluate"), ("semi", "semi-3-evaluate"), ("free", "8-evaluate")]
)
def test_a_protocol_goes_from_a_checkpoint_to_metrics_and_a_checked_submission(copy, demo, tmp_path, protocol, folder):
    zip_file = tmp_path / "submission.zip"
    words = ["protocol", protocol, "--data", demo / "data", "--submission", zip_file]
    if protocol == "free":
        luss("predict", "--workspace", copy, "--data", demo / "data", "--set", "predict.splits=validation,test")
        (tmp_path / "method.txt").write_text(METHOD)
        words += ["--predictions", copy / "7-predict", "--match", copy / "7-predict" / "match.json", "--method", tmp_path / "method.txt"]
    else:
        words += ["--workspace", copy, "--set", "semi.epochs=2", "--set", "semi.micro_batch=5"]
    said = luss(*words)
    if protocol != "free":
        assert "pretrain: skipped" in said
        metrics = json.loads((copy / folder / "metrics.json").read_text())
        assert 0 < metrics["mIoU"] < 100 and metrics["images"] == DEMO_IMAGES["validation"]
        assert (protocol == "unsupervised") != ("rematched" in metrics)
    with zipfile.ZipFile(zip_file) as archive:
        names = set(archive.namelist())
    photographs = {f"{path.parent.name}/{path.stem}.png" for path in (demo / "data" / "test").glob("*/*.JPEG")}
    texts = {"method.txt", "match.json"} if protocol in ("unsupervised", "free") else {"method.txt"}
    assert names == photographs | texts and len(photographs) == DEMO_IMAGES["test"]
    luss("submit", "--check", zip_file, "--data", demo / "data")  # exits with 0: valid
