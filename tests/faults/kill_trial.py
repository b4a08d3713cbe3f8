"""Kill a demo run again and again, and compare its label maps with those of an undisturbed one.

    python tests/faults/kill_trial.py --kills 10 --seed 1 --workspace runs/kill -- --set pretrain.epochs=6

Runs the demo once undisturbed, then once with SIGKILL of the whole process group at random moments spread over that
duration, starting the same command again after each; then compares all label maps (5-label, 7-predict) by content.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def command(workspace: Path, seed: int, rest: list[str]) -> list[str]:
    return [sys.executable, "-m", "luss.cli", "demo", "--workspace", str(workspace), "--seed", str(seed), *rest]


def maps(workspace: Path) -> dict[str, str]:
    """sha256 of every label map by its path in the workspace."""
    found = {}
    for stage in ("5-label", "7-predict"):
        for path in sorted((workspace / stage).rglob("*.png")):
            found[str(path.relative_to(workspace))] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workspace", default="runs/kill")
    parser.add_argument("rest", nargs="*", help="options of luss demo, after --")
    args = parser.parse_args()
    base = Path(args.workspace)
    environment = dict(os.environ, PYTHONPATH=str(ROOT))
    begin = time.time()
    subprocess.run(command(base / "undisturbed", args.seed, args.rest), check=True, env=environment)
    duration = time.time() - begin
    draw = random.Random(args.seed)
    disturbed = base / "disturbed"
    for kill in range(args.kills):
        child = subprocess.Popen(command(disturbed, args.seed, args.rest), env=environment, start_new_session=True)
        # each attempt gets a share of the whole duration, so that the kills spread over the stages
        moment = draw.uniform(0.3, 1.7) * duration / args.kills + 4
        try:
            child.wait(moment)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
            done = sorted(path.parent.name for path in disturbed.glob("*/DONE.json"))
            print(f"kill {kill + 1} after {moment:.1f} s; stages complete: {', '.join(done) or 'none'}", flush=True)
        else:
            print(f"the run ended before kill {kill + 1}", flush=True)
            break
    subprocess.run(command(disturbed, args.seed, args.rest), check=True, env=environment)
    expected, found = maps(base / "undisturbed"), maps(disturbed)
    differing = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
    print(f"{len(expected)} maps, {len(differing)} differ: {'identical' if not differing else ', '.join(differing[:5])}")
    return 1 if differing or not expected else 0


if __name__ == "__main__":
    sys.exit(main())
