from __future__ import annotations

import errno
import fcntl
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from engine.runtime.errors import LussError
from luss.workspace import STAGES, Status, Workspace
from tests.engine.storage.faults import failures, kills

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = {"optimizer": {"base_lr": 0.6, "kind": "larc"}, "pretrain": {"sizes": (224, 96)}, "run.seed": 1}
INPUTS = {"images of train": "ab12", "checkpoint of 1-pretrain": "cd34"}


@pytest.fixture
def space(tmp_path):
    return Workspace(tmp_path / "run")


@pytest.fixture
def stage(space):
    return space.stage("attend")


def complete(stage, settings=SETTINGS, inputs=INPUTS) -> None:
    stage.begin(settings, inputs)
    (stage.path / "checkpoint.npz").write_bytes(b"weights")
    (stage.path / "train" / "n01").mkdir(parents=True)
    (stage.path / "train" / "n01" / "x.png").write_bytes(b"label")
    stage.finish(settings, inputs, {"checkpoint": "ef56"})


def test_the_folders_of_the_contract(space):
    assert [space.stage(name).path.name for name in STAGES] == [
        "1-pretrain",
        "2-attend",
        "3-features",
        "3-cluster",
        "4-threshold",
        "5-label",
        "6-finetune",
        "7-predict",
        "8-evaluate",
    ]
    with pytest.raises(ValueError, match="name='labels': no such stage; expected one of pretrain, attend"):
        space.stage("labels")


def test_looking_creates_nothing(space, stage):
    assert stage.status(SETTINGS, INPUTS) == Status("missing", "not begun") and stage.done() is None
    assert not space.path.exists()


def test_from_missing_over_partial_to_complete(stage):
    assert stage.begin(SETTINGS, INPUTS).state == "missing"
    (stage.path / "checkpoint.npz").write_bytes(b"half")
    assert stage.status(SETTINGS, INPUTS).state == "partial"
    assert stage.begin(SETTINGS, INPUTS).state == "partial"
    assert (stage.path / "checkpoint.npz").read_bytes() == b"half"  # resumed, not removed
    stage.finish(SETTINGS, INPUTS, {"miou": np.float64(0.25)})
    status = stage.status(SETTINGS, INPUTS)
    assert status.state == "complete" and "same settings and inputs" in status.reason
    assert stage.done()["outputs"] == {"miou": 0.25} and stage.done()["settings"]["pretrain"]["sizes"] == [224, 96]


@pytest.mark.parametrize(
    ("settings", "inputs", "reason"),
    [
        ({**SETTINGS, "optimizer": {"base_lr": 0.3, "kind": "larc"}}, INPUTS, "optimizer.base_lr was 0.6, is now 0.3"),
        ({**SETTINGS, "optimizer": {"base_lr": 0.6, "kind": "sgd"}, "run.seed": 2}, INPUTS, 'optimizer.kind was "larc", is now "sgd"'),
        ({**SETTINGS, "pretrain": {"sizes": (160,)}}, INPUTS, "pretrain.sizes was [224,96], is now [160]"),
        ({**SETTINGS, "run.seed": 1.0}, INPUTS, "run.seed was 1, is now 1.0"),
        ({**SETTINGS, "swav": {"epsilon": 0.05}}, INPUTS, "setting swav.epsilon = 0.05 was not there before"),
        ({key: SETTINGS[key] for key in ("optimizer", "pretrain")}, INPUTS, "setting run.seed was 1, is no longer there"),
        (SETTINGS, {**INPUTS, "checkpoint of 1-pretrain": "9999"}, 'input checkpoint of 1-pretrain changed (was "cd34", is now "9999")'),
        (SETTINGS, {"images of train": "ab12"}, 'input checkpoint of 1-pretrain changed (was "cd34", is now not there)'),
        (SETTINGS, {**INPUTS, "centroids": "1"}, 'input centroids changed (was not there, is now "1")'),
    ],
)
@pytest.mark.parametrize("finished", [True, False])
def test_stale_says_what_differs(stage, settings, inputs, reason, finished):
    if finished:
        complete(stage)
    else:
        stage.begin(SETTINGS, INPUTS)
    assert stage.status(settings, inputs) == Status("stale", reason)


def test_nan_equals_itself_and_order_does_not_matter(stage):
    complete(stage, {"a": float("nan"), "b": 1, "c": {}}, {})
    assert stage.status({"c": {}, "b": 1, "a": float("nan")}, {}).state == "complete"


def test_a_stale_stage_is_removed_as_a_whole(stage):
    complete(stage)
    settings = {**SETTINGS, "run.seed": 2}
    assert stage.begin(settings, INPUTS) == Status("stale", "run.seed was 1, is now 2")
    assert os.listdir(stage.path) == ["STARTED.json"] and os.listdir(stage.path.parent) == ["2-attend"]
    assert stage.status(settings, INPUTS).state == "partial" and stage.done() is None


def test_a_complete_stage_is_not_begun_by_accident(stage):
    complete(stage)
    with pytest.raises(ValueError, match="2-attend is complete"):
        stage.begin(SETTINGS, INPUTS)
    assert stage.done() is not None
    assert stage.begin(SETTINGS, INPUTS, anew=True).state == "complete"
    assert os.listdir(stage.path) == ["STARTED.json"]


def test_anew_also_removes_a_partial_result(stage):
    stage.begin(SETTINGS, INPUTS)
    (stage.path / "x").write_bytes(b"")
    stage.begin(SETTINGS, INPUTS, anew=True)
    assert os.listdir(stage.path) == ["STARTED.json"]


def test_foreign_files_are_not_removed(stage):
    stage.path.mkdir(parents=True)
    (stage.path / "my-thesis.tex").write_text("x")
    assert stage.status(SETTINGS, INPUTS).state == "stale"
    for anew in (False, True):
        with pytest.raises(LussError, match="2-attend: holds files, but neither .* move these files"):
            stage.begin(SETTINGS, INPUTS, anew=anew)
    assert (stage.path / "my-thesis.tex").exists()


def test_finish_with_other_settings_is_our_mistake(stage):
    with pytest.raises(ValueError, match="it was not begun"):
        stage.finish(SETTINGS, INPUTS, {})
    stage.begin(SETTINGS, INPUTS)
    with pytest.raises(ValueError, match="run.seed was 1, is now 5"):
        stage.finish({**SETTINGS, "run.seed": 5}, INPUTS, {})
    assert stage.done() is None


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"settings": {}}', "\x00"])
@pytest.mark.parametrize("marker", ["DONE.json", "STARTED.json"])
def test_a_damaged_marker_is_named(stage, content, marker):
    stage.begin(SETTINGS, INPUTS)
    (stage.path / marker).write_text(content)
    with pytest.raises(LussError, match=marker):
        stage.status(SETTINGS, INPUTS)


def test_temporaries_of_a_killed_run_go_at_the_next_begin(stage):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    stage.path.mkdir(parents=True)
    (stage.path / f"STARTED.json.tmp-{dead.pid}").write_text("{")
    assert stage.status(SETTINGS, INPUTS).state == "missing"
    assert stage.begin(SETTINGS, INPUTS).state == "missing"
    assert os.listdir(stage.path) == ["STARTED.json"]


NEW = {**SETTINGS, "run.seed": 2}


def consistent(stage) -> str:
    """The state after a kill; fails where files of the old and the new run lie together."""
    names = {name for name in os.listdir(stage.path)} if stage.path.exists() else set()
    old, new = stage.status(SETTINGS, INPUTS).state, stage.status(NEW, INPUTS).state
    if "checkpoint.npz" in names:
        assert (stage.path / "checkpoint.npz").read_bytes() == b"weights"
        assert (old, new) == ("complete", "stale") and (stage.path / "train" / "n01" / "x.png").exists()
        return "old"
    assert old in ("missing", "stale") and new in ("missing", "partial")
    return "none" if new == "missing" else "new"


def test_a_kill_while_a_stale_stage_is_replaced_leaves_no_mix(space, stage):
    complete(stage)
    seen = []
    for _ in kills(lambda: stage.begin(NEW, INPUTS)):
        seen.append(consistent(stage))
        with space.lock():  # the next start clears what is left of the removal
            assert not list(space.path.glob("*.old-*"))
        if seen[-1] == "new":
            break
        if seen[-1] == "none":
            complete(stage)
    assert set(seen) == {"old", "none", "new"} and seen[-1] == "new"


def test_failures_while_a_stale_stage_is_replaced_leave_no_mix(stage, monkeypatch):
    complete(stage)
    patch = lambda name, f: monkeypatch.setattr(os, name, f)  # noqa: E731
    seen = []
    for _ in failures(lambda: stage.begin(NEW, INPUTS), patch, calls=("rename", "fsync", "replace", "mkdir")):
        seen.append(consistent(stage))
    assert "old" in seen and seen[-1] == "new"


def test_a_kill_while_finishing_leaves_partial_or_complete(stage):
    stage.begin(SETTINGS, INPUTS)
    (stage.path / "x").write_bytes(b"result")
    seen = []
    for _ in kills(lambda: stage.finish(SETTINGS, INPUTS, {"x": 1})):
        seen.append(stage.status(SETTINGS, INPUTS).state)
        assert (stage.path / "x").read_bytes() == b"result"
    assert set(seen) == {"partial", "complete"} and seen == sorted(seen, reverse=True)


def test_bulk_files_are_made_durable_before_the_marker(stage, monkeypatch):
    events = []
    monkeypatch.setattr("luss.workspace.flush_file_system", lambda folder: events.append(("flush", folder)))
    monkeypatch.setattr("luss.workspace.write_json", lambda path, obj: events.append(("write", path)))
    stage.path.mkdir(parents=True)
    monkeypatch.setattr(stage.__class__, "_record", lambda self, name: {"settings": {}, "inputs": {}, "begun": ""})
    stage.finish({}, {}, {})
    assert events == [("flush", stage.path), ("write", stage.path / "DONE.json")]


# -- the lock


def test_a_second_run_is_refused_and_told_of_the_first(space):
    who = rf"in use by process {os.getpid()} on {socket.gethostname()} since .*: wait for it or end it"
    with space.lock():
        with pytest.raises(LussError, match=who), Workspace(space.path).lock():
            pass
        assert (space.path / "run.lock").read_text().startswith(f"process {os.getpid()}")
    with space.lock():  # released
        pass
    assert (space.path / "run.lock").read_text() == ""


def test_an_exception_releases_the_lock(space):
    with pytest.raises(KeyError), space.lock():
        raise KeyError
    with space.lock():
        pass


def test_a_kill_releases_the_lock_even_if_its_workers_live_on(space):
    script = (
        "import os, sys, time\nfrom luss.workspace import Workspace\n"
        "with Workspace(sys.argv[1]).lock():\n"
        "    child = os.fork()\n"
        "    if child == 0:\n        time.sleep(60)\n        os._exit(0)\n"
        "    print(os.getpid(), child, flush=True)\n    time.sleep(60)\n"
    )
    # A shell stands between: where another test has loaded Jittor, it ends this process when a child of it dies by a signal.
    command = ["sh", "-c", '"$0" -c "$1" "$2"; exit 0', sys.executable, script, str(space.path)]
    shell = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    holder, worker = map(int, shell.stdout.readline().split())
    try:
        with pytest.raises(LussError, match=f"in use by process {holder} on"), space.lock():
            pass
        os.kill(holder, signal.SIGKILL)
        shell.wait()
        os.kill(worker, 0)  # the worker lives
        with space.lock():
            pass
    finally:
        os.kill(worker, signal.SIGKILL)
        shell.stdout.close()


def test_left_overs_of_removals_are_cleared_on_entry(space):
    left = space.path / "5-label.old-123" / "train"
    left.mkdir(parents=True)
    (left / "x.png").write_bytes(b"")
    other = space.path / "my.old-notes"
    other.mkdir()
    with space.lock():
        assert not left.parent.exists() and other.exists()


def test_a_workspace_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(LussError, match=r"file/run: cannot be used as a workspace"), Workspace(tmp_path / "file" / "run").lock():
        pass


def test_a_file_system_without_locks(space, monkeypatch, capsys):
    def flock(handle, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    with space.lock():
        assert "has no locks (No locks available)" in capsys.readouterr().err
    sleeper = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, text=True)
    try:
        (space.path / "run.lock").write_text(f"process {sleeper.pid} on {socket.gethostname()} since today\n")
        with pytest.raises(LussError, match=f"in use by process {sleeper.pid} on"), space.lock():
            pass
    finally:
        sleeper.communicate("\n")
    with space.lock():  # its holder is gone
        pass


def test_other_errors_of_the_lock_pass_through(space, monkeypatch):
    def flock(handle, operation):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(fcntl, "flock", flock)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError, match="Input/output"), space.lock():
        pass
    assert len(os.listdir("/proc/self/fd")) == before


def test_settings_file(space):
    assert space.settings_file == space.path / "settings.json"
