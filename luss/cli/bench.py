"""`luss bench`: the benchmarks of the hot paths, which lie in the repository."""

from __future__ import annotations

import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import luss
from engine.runtime.errors import LussError


def add_bench(commands, add, add_debug) -> None:
    """The command's part of the parser; `add` and `add_debug` are those of `luss.cli.parser`."""
    bench = add(
        commands,
        "bench",
        "time every hot path against what one would take instead, in the same run; needs a checkout and pip install '.[bench]'",
        ["luss bench", "luss bench upsample_argmax vote_masks --only 920 --rounds 20 --out runs/bench"],
    )
    bench.add_argument("paths", metavar="PATH", nargs="*", help="hot paths, bench/bench_<path>.py (default: all)")
    bench.add_argument("--only", metavar="TEXT", default="", help="sizes whose name contains it (default: all)")
    bench.add_argument("--rounds", metavar="N", type=int, default=9, help="turns of each side; the least time counts (default: %(default)s)")
    out = "folder of bench.json, bench.md and roofline.png (default: %(default)s)"
    bench.add_argument("--out", metavar="DIR", default="runs/bench", help=out)
    add_debug(bench)


def bench(args: Namespace) -> None:
    """Run bench/hot_paths.py; where a GPU is at hand, also the checks and timings of the CUDA kernels."""
    root = Path(luss.__file__).resolve().parent.parent
    script = root / "bench" / "hot_paths.py"
    if not script.is_file():
        where = "the benchmarks are in the repository, not in the installed package"
        raise LussError(f"{script} is missing: {where}; clone it and pip install -e '.[bench]'")
    command = [sys.executable, str(script), *args.paths, "--only", args.only, "--rounds", str(args.rounds), "--out", args.out]
    status = subprocess.run(command).returncode
    if status:
        raise LussError(f"luss bench: a benchmark failed (status {status}); what it said stands above")
