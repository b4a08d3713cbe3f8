import os
import signal
import subprocess
import sys
import time

import pytest

from engine.data.parallel import run_tasks
from engine.runtime import interrupt
from engine.runtime.errors import LussError

ORPHANS = """
import sys, time
sys.path.insert(0, sys.argv[1])
from engine.data.parallel import run_tasks
from tests.engine.data.test_parallel import announce
if __name__ == "__main__":
    run_tasks(announce, sys.argv[2], [0, 1], 2)
"""


def square(payload, task, control):
    for _ in range(task):
        control.report(1)
    return payload + task * task


def fail(payload, task, control):
    if task == 3:
        raise LussError("task 3: no room")
    while not control.stopped():
        time.sleep(0.005)


def die(payload, task, control):
    os.kill(os.getpid(), signal.SIGKILL)


def until_stopped(payload, task, control):
    while not control.stopped():
        time.sleep(0.005)


def announce(folder, task, control):
    with open(os.path.join(folder, str(os.getpid())), "w"):
        time.sleep(120)


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_results_and_progress(workers):
    results, pieces = [], []
    run_tasks(square, 100, [5, 1, 4], workers, results.append, pieces.append)
    assert sorted(results) == [101, 116, 125] and sum(pieces) == 10


def test_nothing_to_do():
    results = []
    run_tasks(square, 100, [], 2, results.append)
    assert results == []
    with pytest.raises(ValueError, match="workers=-1"):
        run_tasks(square, 100, [], -1)


def test_an_error_stops_the_others():
    with pytest.raises(LussError, match="task 3: no room"):
        run_tasks(fail, None, [1, 3, 2, 4], 2)


def test_a_killed_worker():
    with pytest.raises(LussError, match=r"a worker process died \(of 2\).*what is complete is kept"):
        run_tasks(die, None, [1, 2], 2)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_stop_reaches_the_tasks(monkeypatch, workers):
    monkeypatch.setattr(interrupt, "_requested", True)
    with pytest.raises(interrupt.Interrupted):
        run_tasks(until_stopped, None, [1, 2, 3], workers)


def test_workers_do_not_outlive_a_killed_parent(tmp_path):
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
    script = tmp_path / "script.py"
    script.write_text(ORPHANS)
    folder = tmp_path / "pids"
    folder.mkdir()
    parent = subprocess.Popen([sys.executable, str(script), root, str(folder)])
    while parent.poll() is None and len(os.listdir(folder)) < 2:
        time.sleep(0.01)
    parent.send_signal(signal.SIGKILL)
    assert parent.wait() == -signal.SIGKILL
    workers = {int(name) for name in os.listdir(folder)}
    assert len(workers) == 2
    deadline = time.monotonic() + 60
    while workers and time.monotonic() < deadline:
        workers = {pid for pid in workers if os.path.exists(f"/proc/{pid}") and _running(pid)}
        time.sleep(0.01)
    assert not workers


def _running(pid: int) -> bool:
    """Whether it is more than an entry that nobody has collected yet."""
    try:
        with open(f"/proc/{pid}/stat") as stream:
            return stream.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
