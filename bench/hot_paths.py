"""All hot paths in one go: a line for every size and peer, and the same as JSON, as a Markdown table and as a roofline picture.

    luss bench [PATH ...] [--only TEXT] [--rounds N] [--out DIR]      or      python bench/hot_paths.py, likewise

Each file runs in a process of its own, so that no side finds another's threads or memory. A file that fails is named, and the others go on.
Where there is an NVIDIA driver, the kernels are then checked and timed on the card against PyTorch, CuPy and faiss, as far as they are
installed, by bench.gpu_check, into DIR/gpu.
"""

from __future__ import annotations

import argparse
import datetime
import importlib
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.harness import OURS, ROUNDS, THREADS, Result, machine_limits
from engine.runtime.cuda import driver_present

FOLDER = Path(__file__).resolve().parent
PREFIX = "bench_"


def paths() -> dict[str, Path]:
    """Files of hot paths by name: those that have `cases()`."""
    return {p.stem[len(PREFIX) :]: p for p in sorted(FOLDER.glob(PREFIX + "*.py")) if "\ndef cases(" in p.read_text(encoding="utf-8")}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    known = paths()
    parser.add_argument("paths", nargs="*", metavar="PATH", help=f"hot paths (default: all): {', '.join(known)}")
    parser.add_argument("--only", default="", metavar="TEXT", help="sizes whose name contains it")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="turns of each side (default: %(default)s)")
    parser.add_argument("--out", default="runs/bench", metavar="DIR", help="folder of bench.json, bench.md and roofline.png (default: %(default)s)")
    options = parser.parse_args()
    unknown = [name for name in options.paths if name not in known]
    if unknown or options.rounds < 1:
        parser.error(f"{unknown[0]}: no such path; there are {', '.join(known)}" if unknown else f"--rounds {options.rounds}: expected at least 1")
    limits = machine_limits()
    rates = f"copy {limits['copy'] / 1e9:.1f} GB/s, matrix {limits['matrix'] / 1e9:.0f} GFLOP/s"
    machine = f"{THREADS} thread{'s' * (THREADS > 1)} of {processor()}; {rates}"
    print(f"{machine}; load {os.getloadavg()[0]:.1f}", flush=True)
    results, failed = [], []
    for name in options.paths or known:
        found = run_file(known[name], options.rounds, options.only)
        results += found or []
        if found is None:
            failed.append(name)
    if results:
        write(Path(options.out), machine, limits, results)
    if driver_present() and not options.paths and not run_gpu_check(Path(options.out) / "gpu"):
        failed.append("gpu_check")
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def run_file(path: Path, rounds: int, only: str) -> list[Result] | None:
    """Results of one file, whose lines go to stdout as they come; None where it failed."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "results.json"
        command = [sys.executable, str(path), "--rounds", str(rounds), "--only", only, "--json", str(target)]
        if subprocess.run(command).returncode != 0 or not target.exists():
            return None
        return [Result(**record) for record in json.loads(target.read_text())["results"]]


def run_gpu_check(folder: Path) -> bool:
    """Whether all checks passed; its own lines and files say what did not."""
    command = [sys.executable, "-m", "bench.gpu_check", "--out", str(folder.absolute())]
    return subprocess.run(command, cwd=Path(__file__).resolve().parent.parent).returncode == 0


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in ("numpy", "torch", "faiss", "pycocotools"):
        try:
            found[name] = getattr(importlib.import_module(name), "__version__", "?")
        except ImportError:
            found[name] = "not installed"
    return found


def write(folder: Path, machine: str, limits: dict[str, float], results: list[Result]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    records = [{**vars(r), "ratios": {peer: r.ratio(peer) for peer in r.seconds if peer != OURS}} for r in results]
    date = datetime.date.today().isoformat()
    content = {"date": date, "machine": machine, "limits": limits, "versions": versions(), "results": records}
    (folder / "bench.json").write_text(json.dumps(content, indent=1) + "\n")
    (folder / "bench.md").write_text(f"{machine}, {date}\n\n{markdown(results)}")
    written = ["bench.json", "bench.md"]
    try:
        from bench.roofline import draw
    except ImportError as error:
        print(f"no roofline.png: {error.name} is not installed (pip install '.[bench]')", file=sys.stderr)
    else:
        draw(folder / "roofline.png", machine, limits, results)
        written.append("roofline.png")
    print(f"written: {', '.join(str(folder / name) for name in written)}")


def markdown(results: list[Result]) -> str:
    """One row for every size and peer."""
    head = ("path", "size", "ours, ms", "peer, ms", "ratio", "goal", "of the limit", "extra memory, MB: ours, peer")
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for r in results:
        for peer in (name for name in r.seconds if name != OURS):
            goal = f"{r.goals[peer]:g}" if peer in r.goals else ""
            memory = ", ".join("–" if size != size else f"{size / 1e6:.1f}" for size in (r.memory[OURS], r.memory[peer]))
            ours, theirs = (f"{1e3 * r.seconds[side]:.3g}" for side in (OURS, peer))
            limit = f"{100 * r.fraction:.0f} % ({r.bound})"
            lines.append(f"| {r.path} | {r.name} | {ours} | {peer}: {theirs} | {r.ratio(peer):.2f} | {goal} | {limit} | {memory} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
