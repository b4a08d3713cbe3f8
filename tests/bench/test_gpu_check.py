"""bench.gpu_check without a GPU: its checks on the emulated library, its record, budget, supervision and table. Times and cards it cannot show."""

from __future__ import annotations

import argparse
import json
import sys
import time

import numpy as np
import pytest

from bench.gpu_check import __main__ as program
from bench.gpu_check.compare import Disagreement, close, same_bits, same_labels
from bench.gpu_check.gpu import seconds_of
from bench.gpu_check.sanitizer import judged
from bench.gpu_check.steps import FAILED, PASSED, SKIPPED, Record, Skip, Step
from bench.gpu_check.supervise import supervised
from bench.gpu_check.table import markdown
from bench.gpu_check.timing import Timing, measured
from tests.engine.capi.emulated import Claiming, use_emulation


class EmulatedGpu:
    """What gpu.py gives, on host memory; events hold the host's clock."""

    name = card = "emulated"
    clock = staticmethod(time.perf_counter)

    def upload(self, values):
        return Claiming(None).upload(np.asarray(values))

    def download(self, array):
        return array.values

    def unit_rows(self, n, d, dtype, around):
        rows = np.random.default_rng(0).standard_normal((n, d))
        return self.upload((rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(dtype))

    def synchronize(self):
        pass

    def flush(self):
        pass

    def events(self):
        return Event(self.clock), Event(self.clock)

    def milliseconds(self, begin, end):
        return 1e3 * (end.at - begin.at)

    def peak_bytes(self, function):
        function()
        return 0


class Event:
    def __init__(self, clock):
        self.clock, self.at = clock, None

    def record(self):
        self.at = self.clock()


@pytest.fixture
def gpu(monkeypatch):
    use_emulation(monkeypatch)
    return EmulatedGpu()


@pytest.mark.parametrize("op", program.OPS, ids=lambda op: op.__name__.rpartition(".")[2])
def test_every_check_runs_and_passes_on_the_emulated_library(gpu, op):
    names = set()
    for name, work in op.checks(gpu, small=True):
        assert work(), name
        names.add(name)
    assert names and len(names) == len(list(op.checks(gpu, small=True)))


@pytest.mark.parametrize("op", program.OPS, ids=lambda op: op.__name__.rpartition(".")[2])
def test_every_timing_runs_on_the_emulated_library(gpu, op):
    names = set()
    for name, prepare in op.timings(gpu, small=True):
        facts = measured(gpu, prepare(), {"copy": 1e9, "fp32": 1e9, "fp16": 1e9}, rounds=1, most=0)
        assert facts["seconds"]["ours"] > 0 and facts["fraction"] > 0, name
        names.add(name)
    assert names


def test_a_wrong_kernel_is_noticed(gpu, monkeypatch):
    """The check compares with the CPU path: change what comes back, and it fails."""
    name, work = next(program.crops.checks(gpu, small=True))
    right = gpu.download
    monkeypatch.setattr(gpu, "download", lambda array: right(array) + np.float32(1e-3))
    with pytest.raises(Disagreement, match="of .* values differ; first at"):
        work()


def options(**changed):
    given = {"small": True, "only": "crop_labels", "skip_times": False, "no_sanitizer": True, "rounds": 1}
    return argparse.Namespace(**{**given, **changed})


def test_a_run_records_all_steps_and_its_table_reads_them(gpu, monkeypatch, tmp_path):
    monkeypatch.setattr(program, "open_gpu", lambda: gpu)
    monkeypatch.setattr(program.machine, "limits", lambda gpu: {"copy": 1e9, "fp32": 1e9, "fp16": 1e9})
    record = Record(tmp_path, 100)
    code = program.examine(record, options())
    outcomes = {(step.group, step.name): step.outcome for step in record.steps}
    assert outcomes["check", "crop_labels 11 x 13"] == outcomes["time", "crop_labels"] == PASSED
    assert code == (1 if record.failed else 0) and not (tmp_path / "current.json").exists()
    assert [step["name"] for step in json.loads((tmp_path / "results.json").read_text())] == [step.name for step in record.steps]
    table = markdown(record.steps, "a command")
    assert "| crop_labels | 2 crops of 8 |" in table and "| crop_labels 11 x 13 | passed | values" in table
    count = len(record.steps)
    program.examine(Record(tmp_path, 100), options())  # all is there: nothing is done again
    assert len(Record(tmp_path, 100).steps) == count


def test_without_a_gpu_the_exit_code_is_2(monkeypatch, tmp_path):
    def nothing():
        raise Skip("torch: no GPU")

    use_emulation(monkeypatch)
    monkeypatch.setattr(program, "open_gpu", nothing)
    record = Record(tmp_path, 100)
    assert program.examine(record, options()) == 2
    assert record.find("machine", "gpu").reason == "torch: no GPU"


def test_a_failing_step_keeps_its_traceback_and_the_next_one_runs(tmp_path):
    record = Record(tmp_path, 100)

    def broken():
        raise RuntimeError("the launch failed")

    assert record.step("check", "a", broken).outcome == FAILED
    assert record.step("check", "b", lambda: {"x": 1}).outcome == PASSED
    saved = json.loads((tmp_path / "results.json").read_text())
    assert "in broken" in saved[0]["reason"] and "the launch failed" in saved[0]["reason"] and saved[1]["facts"] == {"x": 1}
    assert [step.name for step in record.failed] == ["a"]
    assert "### Failed: check, a" in markdown(record.steps, "c")


def test_the_budget_skips_what_no_longer_fits(tmp_path):
    now = [0.0]
    record = Record(tmp_path, 10, clock=lambda: now[0])
    assert record.step("check", "a", lambda: now.__setitem__(0, 7.0)).outcome == PASSED
    skipped = record.step("time", "b", lambda: 1 / 0, expected=5)
    assert (skipped.outcome, skipped.reason) == (SKIPPED, "3 s of 10 s left, 5 s wanted")
    assert record.step("time", "c", lambda: None, expected=2).outcome == PASSED
    now[0] = 11
    assert record.step("time", "d", lambda: 1 / 0).outcome == SKIPPED and not record.failed


CHILD = """
import os, sys, time
sys.path.insert(0, {root!r})
from bench.gpu_check.steps import Record
record = Record({folder!r}, 60)
record.step("check", "first", lambda: {{"pid": os.getpid()}})
record.step("check", "bad", lambda: {bad})
record.step("check", "last", lambda: {{"pid": os.getpid()}})
sys.exit(1 if record.failed else 0)
"""


@pytest.mark.parametrize(
    ("bad", "told"), [("os.kill(os.getpid(), 11)", "the process ended with -11"), ("time.sleep(60)", "killed: it did not end within 1 s")]
)
def test_a_process_that_dies_or_hangs_is_followed_by_one_that_goes_on(tmp_path, bad, told):
    script = tmp_path / "child.py"
    script.write_text(CHILD.format(root=str(program.machine.ROOT), folder=str(tmp_path), bad=bad))
    assert supervised(lambda left: [sys.executable, str(script)], tmp_path, budget=60, step_limit=1, pause=0.05) == 1
    first, failed, last = Record(tmp_path, 60).steps
    assert (first.name, failed.name, last.name) == ("first", "bad", "last")
    assert failed.outcome == FAILED and failed.reason == told and last.outcome == PASSED
    assert first.facts["pid"] != last.facts["pid"]


def test_a_lost_gpu_starts_a_new_process_without_blaming_a_second_step(tmp_path):
    script = tmp_path / "child.py"
    text = CHILD.format(root=str(program.machine.ROOT), folder=str(tmp_path), bad="1 / 0")
    starts = tmp_path / "starts"
    note = f"starts = open({str(starts)!r}, 'a+'); starts.write('x'); starts.seek(0)\nif len(starts.read()) == 1: sys.exit(77)\n"
    script.write_text(text.replace('record.step("check", "last"', note + 'record.step("check", "last"'))
    assert supervised(lambda left: [sys.executable, str(script)], tmp_path, 60, 30, 0.05) == 1
    assert [(step.name, step.outcome) for step in Record(tmp_path, 60).steps] == [("first", PASSED), ("bad", FAILED), ("last", PASSED)]
    assert (tmp_path / "starts").read_text() == "xx"


def test_goals_are_judged_by_ratio_limit_and_seconds(gpu):
    now = [0.0]
    gpu.clock = lambda: now[0]
    sides = {"ours": lambda: now.__setitem__(0, now[0] + 0.5), "slow": lambda: now.__setitem__(0, now[0] + 5)}
    goals = {"slow": 2, "absent": 3, "limit": 0.9, "seconds": 1.0}
    facts = measured(gpu, Timing("op", "case", sides, 1e6, 4e6, "fp32", goals), {"copy": 1e12, "fp32": 1e12}, 3, 10)
    assert facts["bound"] == "copy" and facts["rounds"] == 3 and facts["ratio"] == {"slow": 10} and facts["fraction"] == 4e6 / 1e12 / 0.5
    assert {name: goal["met"] for name, goal in facts["goals"].items()} == {"slow": True, "absent": None, "limit": False, "seconds": True}
    row = markdown([Step("time", "op", PASSED, 1.0, facts)], "c").splitlines()[5]
    assert "slow >= 2: met; absent >= 3: not measured; limit >= 0.9: MISSED; seconds <= 1: met" in row


def test_a_peer_that_runs_out_of_memory_is_a_result(gpu):
    def greedy():
        raise RuntimeError("CUDA out of memory. Tried to allocate 20 GiB")

    sides = {"ours": lambda: None, "torch": greedy}
    facts = measured(gpu, Timing("op", "case", sides, 0, 1, goals={"torch": 5}), {"copy": 1e9}, 2, 10)
    assert facts["out_of_memory"] == ["torch"] and facts["goals"]["torch"]["met"] and "torch out of memory" in markdown(
        [Step("time", "op", PASSED, 1.0, facts)], "c"
    )
    with pytest.raises(RuntimeError, match="out of memory"):
        seconds_of(gpu, {"ours": greedy})
    with pytest.raises(ValueError, match="another"):
        seconds_of(gpu, {"ours": lambda: None, "torch": lambda: (_ for _ in ()).throw(ValueError("another"))})


def test_comparisons_find_what_differs():
    a = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert same_bits(a, a.copy()) == {"values": 6}
    b = a.copy()
    b[1, 2] = -0.0
    with pytest.raises(Disagreement, match=r"1 of 6 values differ; first at \(1, 2\)"):
        same_bits(b, a)
    with pytest.raises(Disagreement, match="float64"):
        same_bits(a.astype(float), a)
    nan = np.array([1.0, np.nan, np.inf])
    assert close(nan, nan, 0, "equal")["worst_share_of_bound"] == 0
    assert close(nan + [1e-7, 0, 0], nan, 2e-7, "rounding")["worst_share_of_bound"] == pytest.approx(0.5)
    for wrong in ([1.1, np.nan, np.inf], [np.nan, np.nan, np.inf], [1, 2, np.inf], [1, np.nan, -np.inf]):
        with pytest.raises(Disagreement):
            close(np.array(wrong), nan, 1e-3, "rounding")
    labels, margin = np.array([1, 2, 3]), np.array([1.0, 1e-9, 1.0])
    assert same_labels(np.array([1, 7, 3]), labels, margin, 1e-6, "rounding") == {"labels": 3, "within_rounding": 1, "differing_there": 1}
    with pytest.raises(Disagreement, match="1 labels differ beyond rounding"):
        same_labels(np.array([1, 2, 4]), labels, margin, 1e-6, "rounding")


def test_sanitizer_reports_are_judged():
    assert judged("memcheck", 0, "ok\n========= ERROR SUMMARY: 0 errors\n") == {"summary": "0 errors"}
    with pytest.raises(Skip, match="does not support"):
        judged("memcheck", 1, "Device not supported")
    with pytest.raises(RuntimeError, match="ended with 86"):
        judged("racecheck", 86, "a hazard")
    with pytest.raises(RuntimeError, match="gave no summary"):
        judged("racecheck", 0, "")
