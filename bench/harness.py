"""What the benchmarks of the hot paths share: sides that take turns, the machine's limits, peak memory, one table.

A benchmark file has `cases()`, which gives a list of `Case`, one for each size, and ends with

    test_<path> = benchmark_of(cases)      # pytest bench/bench_<path>.py, by pytest-benchmark
    if __name__ == "__main__":
        main(cases)                        # python bench/bench_<path>.py [--rounds N] [--only TEXT] [--json FILE]

`luss bench` goes through all of them. Everything runs on one thread unless LUSS_BENCH_THREADS says otherwise; import this module before NumPy.
"""

from __future__ import annotations

import argparse
import ctypes
import functools
import gc
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), os.environ.get("LUSS_BENCH_THREADS", "1")))

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

THREADS = int(os.environ["OMP_NUM_THREADS"])
ROUNDS = 9
OURS = "ours"
Side = Callable[[], object]


@dataclass(frozen=True)
class Case:
    """One size of one hot path.

    Args:
        path: the op. name: the size in words, unique in its file.
        prepare: makes the inputs, checks that the sides agree (SystemExit where they do not), and returns the sides: "ours" and the peers that
            are installed, by name.
        operations: least floating-point operations of the task, not of any implementation. moved: least bytes read and written.
        goals: by peer, the least ratio (its seconds over ours) that the project has set itself.
        memory: whether to measure the peak of extra memory.
    """

    path: str
    name: str
    prepare: Callable[[], dict[str, Side]]
    operations: float
    moved: float
    goals: dict[str, float] = field(default_factory=dict)
    memory: bool = True


@dataclass
class Result:
    path: str
    name: str
    seconds: dict[str, float]  # least of the rounds, by side
    memory: dict[str, float]  # peak bytes beyond what was there before the call, by side
    operations: float
    moved: float
    goals: dict[str, float]
    fraction: float  # of the machine's limit: least possible seconds over ours
    bound: str  # which limit that is: "matrix" or "copy"

    def ratio(self, peer: str) -> float:
        return self.seconds[peer] / self.seconds[OURS]


def torch_or_none():
    """PyTorch on this number of threads; None where it is not installed."""
    try:
        import torch
    except ImportError:
        return None
    torch.set_num_threads(THREADS)
    return torch


def measure(case: Case, rounds: int = ROUNDS, least_seconds: float = 0.0) -> Result:
    """Time all sides in turn, `rounds` times each (more until every side had `least_seconds`), after one untimed call each."""
    sides = case.prepare()
    memory = {}
    for name, side in sides.items():
        memory[name] = peak_extra_bytes(side) if case.memory else _called(side)
    spent = dict.fromkeys(sides, 0.0)
    best = dict.fromkeys(sides, float("inf"))
    turn = 0
    while turn < rounds or min(spent.values()) < least_seconds:
        for name, side in sides.items():
            begin = time.perf_counter()
            side()
            took = time.perf_counter() - begin
            best[name] = min(best[name], took)
            spent[name] += took
        turn += 1
    limits = machine_limits()
    floors = {"matrix": case.operations / limits["matrix"], "copy": case.moved / limits["copy"]}
    bound = max(floors, key=floors.get)
    return Result(
        case.path, case.name, best, memory, case.operations, case.moved, dict(case.goals), floors[bound] / best[OURS], bound
    )


def _called(side: Side) -> float:
    side()
    return float("nan")


@functools.cache
def machine_limits() -> dict[str, float]:
    """Measured here, on THREADS threads: "copy", bytes read and written a second; "matrix", float32 operations a second."""
    source = np.ones(1 << 26, np.float32)  # 256 MB: beyond any cache
    target = np.empty_like(source)
    copy = min(_seconds(lambda: np.copyto(target, source)) for _ in range(ROUNDS))
    torch = torch_or_none()
    left = np.random.default_rng(0).standard_normal((2048, 1024), np.float32)
    right = np.ascontiguousarray(left.T)
    products: list[Side] = [lambda: left @ right]
    if torch is not None:
        a, b = torch.from_numpy(left), torch.from_numpy(right)
        products.append(lambda: torch.mm(a, b))
    matrix = min(min(_seconds(product) for product in products) for _ in range(ROUNDS))
    return {"copy": 2 * source.nbytes / copy, "matrix": 2 * 2048 * 2048 * 1024 / matrix}


def _seconds(function: Side) -> float:
    begin = time.perf_counter()
    function()
    return time.perf_counter() - begin


def peak_extra_bytes(side: Side) -> float:
    """Peak resident memory during one call beyond that before it; the result, if it is kept alive until the end, counts. NaN where Linux cannot say.

    Memory that an earlier call left in the allocator is handed back first; one untimed call has loaded code and filled caches before.
    """
    side()
    gc.collect()
    _malloc_trim()
    try:
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew from here
    except OSError:
        return float("nan")
    before = _status("VmRSS")
    kept = side()
    peak = _status("VmHWM")
    del kept
    return max(0.0, peak - before)


def _malloc_trim() -> None:
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _status(key: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return 1024.0 * int(line.split()[1])
    raise KeyError(key)


def row(result: Result) -> str:
    """One line a peer: size, milliseconds of both, ratio, goal, fraction of the limit, peak extra memory of both."""
    head = f"{result.path:24} {result.name:40} ours {1e3 * result.seconds[OURS]:9.3f} ms"
    tail = f"{100 * result.fraction:3.0f} % of {result.bound}"
    lines = []
    for peer, seconds in result.seconds.items():
        if peer != OURS:
            goal = result.goals.get(peer)
            met = "" if goal is None else f"  goal {goal:g} {'met' if result.ratio(peer) >= goal else 'MISSED'}"
            memory = f"memory {_mb(result.memory[OURS])} / {_mb(result.memory[peer])} MB"
            lines.append(f"{head}  {peer} {1e3 * seconds:9.3f} ms  ratio {result.ratio(peer):7.2f}{met}  {tail}  {memory}")
    return "\n".join(lines) or f"{head}  {tail}  (no peer is installed)"


def _mb(size: float) -> str:
    return "-" if size != size else f"{size / 1e6:.1f}"


def benchmark_of(cases: Callable[[], list[Case]]):
    """A test that pytest-benchmark runs for every case: its own figures are ours, `extra_info` holds the peers' of the same run."""
    import pytest

    @pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)
    def test(case, benchmark):
        result = measure(case)
        benchmark.group = case.path
        benchmark.extra_info.update(asdict(result), ratios={peer: result.ratio(peer) for peer in result.seconds if peer != OURS})
        benchmark.pedantic(case.prepare()[OURS], rounds=ROUNDS, warmup_rounds=1)

    return test


def main(cases: Callable[[], list[Case]]) -> None:
    """The command line of one benchmark file."""
    parser = argparse.ArgumentParser(description=sys.modules["__main__"].__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--only", default="", metavar="TEXT", help="cases whose name contains it")
    parser.add_argument("--json", metavar="FILE", help="also write the figures to this file")
    options = parser.parse_args()
    results = []
    for case in cases():
        if options.only in case.name:
            results.append(measure(case, options.rounds))
            print(row(results[-1]), flush=True)
    if options.json:
        Path(options.json).write_text(json.dumps({"limits": machine_limits(), "results": [asdict(r) for r in results]}, indent=1) + "\n")
