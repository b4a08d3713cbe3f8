"""crop_labels against NumPy's look-up, per core, on the same maps in one run.

    python bench/bench_crop_labels.py [--crops 256] [--size 224] [--rounds 15] [--json FILE]

Maps of 375 x 500 uint16; the sides take turns; the figures are the least CPU time of the rounds in microseconds a crop, on one thread.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from engine.ops.crop_labels import crop_labels_host
from engine.ops.crop_labels_reference import crop_labels as reference
from tests.engine.ops.crop_samples import pack


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--crops", type=int, default=256)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json")
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    maps, records = pack([rng.integers(0, 920, (375, 500)).astype(np.uint16) for _ in range(32)])
    numbers = (np.arange(options.crops) % 32).astype(np.int32)
    starts, lengths = rng.random((2, options.crops, 1)), rng.uniform(0.3, 1, (2, options.crops, 1))
    steps = np.arange(options.size) / options.size
    rows, columns = (
        ((start * (1 - length) + length * steps) * extent).astype(np.int32) for start, length, extent in zip(starts, lengths, (375, 500))
    )
    sides = {
        "ours": lambda: crop_labels_host(maps, records, numbers, rows, columns, threads=1),
        "numpy": lambda: reference(maps, records, numbers, rows, columns),
    }
    if not np.array_equal(sides["ours"](), sides["numpy"]()):
        raise SystemExit("the sides differ")
    best = dict.fromkeys(sides, float("inf"))
    for _ in range(options.rounds):
        for name, side in sides.items():
            begin = time.process_time()
            side()
            best[name] = min(best[name], (time.process_time() - begin) / options.crops * 1e6)
    for name, microseconds in best.items():
        print(f"{name:6} {microseconds:7.1f} us a crop  {best['numpy'] / microseconds:5.1f} x numpy")
    if options.json:
        Path(options.json).write_text(json.dumps(best, indent=1) + "\n")


if __name__ == "__main__":
    main()
