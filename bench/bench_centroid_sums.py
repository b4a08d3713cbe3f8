"""centroid_sums against torch's index_add_ and NumPy's add.at.

    python bench/bench_centroid_sums.py [--rounds N] [--only TEXT] [--json FILE]

Ours adds in float64, index_add_ in float32 (its largest error is printed); both take the rows in order.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.harness import THREADS, Case, benchmark_of, main, torch_or_none

# NumPy comes after the harness, which sets the number of threads.
# isort: split
import numpy as np

from engine.ops.centroid_sums import centroid_sums_host
from engine.ops.centroid_sums_reference import centroid_sums as reference

SIZES = [(131072, 128, 50), (131072, 128, 500), (131072, 128, 919), (32768, 512, 919), (32768, 2048, 919)]


def prepare(n: int, d: int, k: int) -> dict:
    rng = np.random.default_rng(0)
    x, label = rng.standard_normal((n, d), np.float32), rng.integers(0, k, n).astype(np.int32)
    sides = {"ours": lambda: centroid_sums_host(x, label, k, threads=THREADS), "numpy add.at": lambda: reference(x, label, k)}
    if not all(map(np.array_equal, sides["ours"](), sides["numpy add.at"]())):
        raise SystemExit("the sums are not those of the reference")
    torch = torch_or_none()
    if torch is not None:
        rows, labels = torch.from_numpy(x), torch.from_numpy(label)
        sides["index_add_"] = lambda: torch.zeros(k, d).index_add_(0, labels, rows)
        print(f"  largest error of index_add_: {np.abs(sides['index_add_']().numpy() - sides['ours']()[0]).max():.2g}, of ours: that of float64")
    return sides


def cases() -> list[Case]:
    return [
        Case("centroid_sums", f"d={d} K={k}", partial(prepare, n, d, k), n * d, 4.0 * n * (d + 1) + 8.0 * k * (d + 1), {"index_add_": 3.0})
        for n, d, k in SIZES
    ]


test_centroid_sums = benchmark_of(cases)

if __name__ == "__main__":
    main(cases)
