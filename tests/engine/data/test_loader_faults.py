"""What goes wrong while loading: unreadable files, processes that die, hang or are told to stop, memory over a long run."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

from engine.data.datasets import MultiCropDataset
from engine.data.decode import UnreadableImage
from engine.data.folder import list_images
from engine.data.order import epoch_order
from engine.runtime.errors import LussError
from tests.engine.data.samples import NeedsJittor, Numbers, image_tree, loader, visited, without_privileges

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("workers", [0, 2])
def test_files_that_are_no_images_are_replaced_and_counted(tmp_path, workers):
    """A folder, an empty file, a pipe that nobody writes to, a header that claims 40,000 x 40,000 pixels, a file nobody may read."""
    root = image_tree(tmp_path, per_class=5)
    items = list_images(str(root), "train").items
    bomb = bytearray(Path(items[3].path).read_bytes())
    place = bomb.index(b"\xff\xc0") + 5
    bomb[place : place + 4] = (40_000).to_bytes(2, "big") * 2
    reasons = {0: "Is a directory", 1: "empty file", 2: "a named pipe, not a file", 3: "40000 x 40000 pixels", 4: "no such file"}
    for number in reasons:
        os.unlink(items[number].path)
    os.mkdir(items[0].path)
    Path(items[1].path).touch()
    os.mkfifo(items[2].path)
    Path(items[3].path).write_bytes(bomb)
    if os.geteuid() != 0:  # root reads whatever the permissions
        Path(items[4].path).write_bytes(b"x")
        os.chmod(items[4].path, 0)
        reasons[4] = "Permission denied"
    found = {}
    dataset = MultiCropDataset(items, 3, (2,), (24,), (0.14,), (1.0,))
    with loader(dataset, 10, workers=workers, on_bad=found.__setitem__) as train:
        (batch,) = train.epoch(0)
    assert sorted(set(batch["index"].tolist())) == [5, 6, 7, 8, 9] and len(batch["index"]) == 10
    assert found.keys() == {items[number].path for number in reasons}
    for number, reason in reasons.items():
        assert reason in found[items[number].path]


def test_a_file_that_may_not_be_read_is_replaced_and_counted():
    with tempfile.TemporaryDirectory() as folder:  # pytest's own folders are closed to others as a whole
        os.chmod(folder, 0o755)
        items = list_images(str(image_tree(Path(folder) / "data", per_class=2)), "train").items
        os.chmod(items[1].path, 0)
        found = {}
        dataset = MultiCropDataset(items, 3, (2,), (24,), (0.14,), (1.0,))
        with without_privileges(), loader(dataset, 4, on_bad=found.__setitem__) as train:
            (batch,) = train.epoch(0)
        assert sorted(batch["index"].tolist()) == [0, 2, 2, 3] and found == {items[1].path: "Permission denied"}


@pytest.mark.parametrize("workers", [0, 2])
def test_unreadable_training_images_are_replaced_by_the_next_readable(workers):
    reported = []
    bad = {0, 4, 5, 9}
    with loader(Numbers(10, bad=bad), 5, workers=workers, on_bad=lambda path, reason: reported.append((path, reason))) as train:
        order = epoch_order(10, 1, 0, True).tolist()
        replacement = {4: 6, 5: 6, 9: 1, 0: 1}
        assert np.concatenate(visited(train.epoch(0))).tolist() == [replacement.get(i, i) for i in order]
    assert {path for path, _ in reported} == {f"/images/{i}.jpg" for i in bad} and {reason for _, reason in reported} == {"truncated"}


@pytest.mark.parametrize("workers", [0, 1])
def test_unreadable_evaluation_images_are_left_out(workers):
    reported = []
    dataset = Numbers(9, bad={1, 3, 4, 5})
    with loader(dataset, 3, workers=workers, shuffle=False, drop_last=False, on_bad=lambda *bad: reported.append(bad[0])) as evaluate:
        assert visited(evaluate.epoch(0)) == [[0, 2], [6, 7, 8]]  # the second batch is empty and left out
    assert reported == [f"/images/{i}.jpg" for i in (1, 3, 4, 5)]


def test_without_a_listener_the_first_unreadable_image_raises():
    with pytest.raises(UnreadableImage, match="/images/2.jpg"):
        list(loader(Numbers(4, bad={2}), 4).epoch(0))


def test_twenty_unreadable_in_a_row_stop(tmp_path):
    with pytest.raises(LussError, match=r"20 images in a row cannot be read, the last is /images/\d+.jpg \(truncated\)"):
        list(loader(Numbers(40, bad=range(40)), on_bad=lambda *_: None).epoch(0))


def test_errors_of_the_listener_reach_the_consumer():
    def refuse(path, reason):
        raise LussError(f"enough: {path}")

    with loader(Numbers(8, bad={3}), workers=1, on_bad=refuse) as train, pytest.raises(LussError, match=r"enough: /images/3.jpg"):
        list(train.epoch(0))


def test_a_dead_worker_is_one_clear_error_and_the_loader_can_start_again():
    with loader(Numbers(12, deadly={5}), 3, workers=1, shuffle=False) as train:
        with pytest.raises(LussError, match=r"a loading process died \(of 1: exit status 7\).*lack of memory.*data.workers=0"):
            list(train.epoch(0))
        train.dataset = Numbers(12)
        assert len(list(train.epoch(0))) == 4


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_killed_worker_is_one_clear_error_and_resuming_gives_the_same_batches(number):
    expected = visited(loader(Numbers(60), 3).epoch(0))
    with loader(Numbers(60, seconds=0.01), 3, workers=3) as train:
        got = []
        with pytest.raises(LussError, match=rf"a loading process died \(of 3: killed by {number.name}"):
            for batch in train.epoch(0):
                got += visited([batch])
                if len(got) == 4:
                    os.kill(train._pool._processes[1].pid, number)
        assert 4 <= len(got) < 20
        assert got + visited(train.epoch(0, len(got))) == expected


def test_a_hanging_worker_does_not_keep_the_loader_from_closing():
    train = loader(Numbers(12, hanging={3}), 3, workers=2, shuffle=False)
    batches = train.epoch(0)
    assert next(batches)["index"].tolist() == [0, 1, 2]
    pids = [process.pid for process in train._pool._processes]
    train.close()
    assert not [pid for pid in pids if alive(pid)]
    with pytest.raises(RuntimeError, match="ended by a later one, or by close"):
        next(batches)


def test_other_exceptions_come_through():
    with loader(Numbers(4, failing={1}), 2, workers=1, shuffle=False) as train, pytest.raises(KeyError, match="sample 1"):
        list(train.epoch(0))


GROUP = """
import os, signal, sys, time
from engine.data.loader import Loader
from engine.runtime import interrupt
from tests.engine.data.samples import Numbers
if __name__ == "__main__":
    interrupt.install()
    with Loader(Numbers(4000, seconds=0.002), 4, seed=0, workers=2, shuffle=False, drop_last=False) as loader:
        for step, batch in enumerate(loader.epoch(0)):
            if step == 2:
                print("ready", flush=True)
            if interrupt.stop_requested():
                print(f"stopped after {step}, {[p.exitcode for p in loader._pool._processes]}", flush=True)
                break
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_a_request_to_stop_that_reaches_the_whole_group_is_the_main_process_to_answer(tmp_path, number):
    script = tmp_path / "run.py"
    script.write_text(GROUP)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    child = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True, env=environment, start_new_session=True)
    try:
        assert child.stdout.readline() == "ready\n"
        os.killpg(child.pid, number)
        said = child.communicate(timeout=60)[0]
    finally:
        child.kill()
    assert child.returncode == 0 and said.startswith("stopped after") and "[None, None]" in said


SCRIPT = """
import os, sys
from engine.data.loader import Loader
from tests.engine.data.samples import Environment, Numbers
if __name__ == "__main__":
    with Loader(Environment(), 1, seed=0, workers=2, shuffle=False, drop_last=False) as loader:
        for batch in loader.epoch(0):
            print(int(batch["pid"][0]), flush=True)
        print("loaded", flush=True)
        sys.stdin.read()
"""


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as stream:
            return stream.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
def test_workers_die_with_a_killed_parent(tmp_path):
    script = tmp_path / "run.py"
    script.write_text(SCRIPT)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    parent = subprocess.Popen([sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        lines = [line.strip() for line in iter(parent.stdout.readline, "loaded\n")]
        pids = {int(line) for line in lines}
        assert pids and all(alive(pid) for pid in pids)
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        deadline = time.time() + 10
        while any(alive(pid) for pid in pids) and time.time() < deadline:
            time.sleep(0.05)
        assert not [pid for pid in pids if alive(pid)]
    finally:
        parent.kill()
        parent.stdin.close()
        parent.stdout.close()


def resources():
    with open("/proc/self/status") as stream:
        resident = next(int(line.split()[1]) for line in stream if line.startswith("VmRSS"))
    return resident, len(os.listdir("/proc/self/fd"))


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
def test_no_leak_over_a_hundred_thousand_batches():
    with loader(Numbers(1000, ragged=True), 1, workers=2, borrow=True) as train:
        batches = iter(train.steps(0, 100_000))
        for _ in range(5000):
            next(batches)
        first = resources()
        count = 5000 + sum(1 for _ in batches)
        last = resources()
    assert count == 100_000
    assert last[1] == first[1] and last[0] - first[0] < 4096  # KiB; 43 bytes a batch would show


def test_a_data_set_that_brings_jittor_into_a_loading_process_is_refused():
    with loader(NeedsJittor(8), workers=1) as train, pytest.raises(RuntimeError, match="must not import Jittor"):
        next(train.epoch(0))
