"""Check and time every kernel on the GPU at hand, without Jittor; everything found goes into one folder.

    python -m bench.gpu_check --out FOLDER [--budget 460] [--only TEXT] [--skip-times] [--small] [--no-sanitizer]

FOLDER gets results.json (written after every step) and table.md. Exit code: 0, all that ran is right; 1, a check, a timing or another step
failed; 2, no GPU or no library.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from engine.capi import library

from . import attention, centroids, crops, labels, loss, machine
from .gpu import ROUNDS, open_gpu
from .sanitizer import sanitized
from .steps import FAILED, PASSED, Record
from .supervise import GPU_LOST, supervised
from .table import markdown
from .timing import measured

OPS = (centroids, labels, loss, attention, crops)
SECONDS_EACH = 5.0  # of one row of the table, all sides together
STEP_LIMIT = 90.0  # a step that takes longer hangs
TOOLS = ("memcheck", "racecheck", "synccheck", "initcheck")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.gpu_check", description=__doc__.partition("\n")[0])
    parser.add_argument("--out", required=True, metavar="FOLDER")
    parser.add_argument("--budget", type=float, default=460.0, metavar="SECONDS", help="no step begins after it (default %(default)s)")
    parser.add_argument("--only", default="", metavar="TEXT", help="steps whose names contain it")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--skip-times", action="store_true", help="checks only")
    parser.add_argument("--small", action="store_true", help="a few blocks of each kernel, as for compute-sanitizer")
    parser.add_argument("--no-sanitizer", action="store_true")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    words = sys.argv[1:] if arguments is None else arguments
    options = parser.parse_args(words)
    folder = Path(options.out)
    if options.worker:
        return examine(Record(folder, options.budget), options)
    for name in ("results.json", "current.json", "table.md"):  # of a run before
        (folder / name).unlink(missing_ok=True)
    worker = [sys.executable, "-m", "bench.gpu_check", *words, "--worker"]
    code = supervised(lambda left: [*worker, "--budget", str(left)], folder, options.budget, STEP_LIMIT)
    record = Record(folder, options.budget)
    (folder / "table.md").write_text(markdown(record.steps, f"python -m bench.gpu_check {' '.join(words)}"))
    print(f"{len(record.steps)} steps, {len(record.failed)} failed; {folder / 'table.md'}")
    return code


def examine(record: Record, options: argparse.Namespace) -> int:
    """All steps that the record lacks. Returns the exit code of the process."""
    record.step("machine", "card", machine.card)
    record.step("machine", "software", machine.software)
    opened = []
    if record.step("machine", "gpu", lambda: opened.append(open_gpu()) or {"arrays": opened[0].name}).outcome != PASSED:
        return 2
    if record.step("machine", "library", lambda: {"library": Path(library.library()._name).name}).outcome != PASSED:
        return 2
    gpu = opened[0] if opened else open_gpu()  # the step was done by an earlier process
    for op in OPS:
        for name, work in listed(record, "check", op.checks, gpu, options):
            if record.step("check", name, work, expected=1.0).outcome == FAILED and lost(gpu):
                return GPU_LOST
    if not options.skip_times:
        limits = record.step("machine", "limits", lambda: machine.limits(gpu), expected=10.0).facts
        for op in OPS:
            for name, prepare in listed(record, "time", op.timings, gpu, options):
                work = lambda prepare=prepare: measured(gpu, prepare(), limits, options.rounds, SECONDS_EACH)  # noqa: E731
                if record.step("time", name, work, expected=SECONDS_EACH).outcome == FAILED and lost(gpu):
                    return GPU_LOST
        record.step("machine", "afterwards", lambda: {f"{key} afterwards": value for key, value in machine.card().items() if "clocks" in key})
    if not options.no_sanitizer:
        for tool in TOOLS:
            record.step("sanitizer", tool, lambda tool=tool: sanitized(tool, min(record.left, STEP_LIMIT - 5)), expected=20.0)
    return 1 if record.failed else 0


def listed(record: Record, group: str, make, gpu, options: argparse.Namespace) -> list:
    """The named works of an op; where making them fails already, that is a failed step."""
    found: list = []
    record_name = f"{make.__module__.rpartition('.')[2]}: the list of {group}s"
    try:
        found.extend(make(gpu, options.small))
    except Exception as error:
        reason = error  # the name of an except clause is gone at its end

        def again():
            raise reason

        record.step(group, record_name, again)
    return [(name, work) for name, work in found if options.only in name]


def lost(gpu) -> bool:
    """Whether the context is beyond use, as after a fault of a kernel."""
    try:
        gpu.synchronize()
        return not np.array_equal(gpu.download(gpu.upload(np.arange(5))), np.arange(5))
    except Exception:  # it says so in many ways
        return True


if __name__ == "__main__":
    raise SystemExit(main())
