"""fixed_sums against centroid_sums and torch's index_add_, and rows that moved against all rows anew.

    python bench/bench_fixed_sums.py [--rounds N] [--only TEXT] [--json FILE]

Ours adds 64-bit whole numbers, centroid_sums float64, index_add_ float32; all take the rows in order.
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
from engine.ops.fixed_sums import fixed_sums_host, move_rows_host
from engine.ops.fixed_sums_reference import fixed_sums as reference

N, BITS, SETS, MOVED = 16384, 40, 3, 0.05
SIZES = [(128, 50), (128, 300), (128, 919), (512, 919), (2048, 919)]


def unit_rows(d: int, k: int, shape) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((N, d), np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True), rng.integers(0, k, shape).astype(np.int32)


def all_rows(d: int, k: int) -> dict:
    x, label = unit_rows(d, k, N)
    sides = {
        "ours": lambda: fixed_sums_host(x, label, k, BITS, threads=THREADS),
        "centroid_sums": lambda: centroid_sums_host(x, label, k, threads=THREADS),
    }
    if not all(map(np.array_equal, sides["ours"](), reference(x, label, k, BITS))):
        raise SystemExit("the sums are not those of the reference")
    torch = torch_or_none()
    if torch is not None:
        rows, labels = torch.from_numpy(x), torch.from_numpy(label)
        sides["index_add_"] = lambda: torch.zeros(k, d).index_add_(0, labels, rows)
    return sides


def moves(d: int, k: int) -> dict:
    """Every call moves the same rows, there and back in turn."""
    x, label = unit_rows(d, k, (SETS, N))
    rng = np.random.default_rng(1)
    other = np.where(rng.random((SETS, N)) < MOVED, (label + rng.integers(1, k, (SETS, N))) % k, label).astype(np.int32)
    states = [label, other]
    sums, counts = fixed_sums_host(x, label, k, BITS)

    def ours():
        move_rows_host(x, *states, sums, counts, BITS, threads=THREADS)
        states.reverse()

    ours()
    if not all(map(np.array_equal, (sums, counts), reference(x, other, k, BITS))):
        raise SystemExit("the sums are not those of the labels moved to")
    nowhere, anew = np.full_like(label, -1), (np.empty_like(sums), np.empty_like(counts))

    def all_anew():  # into memory that is there: new pages would cost more than the sums
        anew[0][:], anew[1][:] = 0, 0
        move_rows_host(x, nowhere, label, *anew, BITS, threads=THREADS)

    return {"ours": ours, "all rows anew": all_anew}


def cases() -> list[Case]:
    found = []
    for d, k in SIZES:
        moved = 4.0 * N * (d + 1) + 8.0 * k * (d + 1)
        found.append(Case("fixed_sums", f"d={d} K={k}", partial(all_rows, d, k), N * d, moved))
    for d, k in SIZES:
        rows = SETS * N * MOVED
        moved = 8.0 * SETS * N + 4.0 * rows * d + 2 * 8.0 * min(2 * rows, SETS * k) * (d + 1)  # labels, rows, the sums that change
        found.append(Case("move_rows", f"d={d} K={k}, {SETS} sets, {100 * MOVED:g} % moved", partial(moves, d, k), 2 * rows * d, moved))
    return found


test_fixed_sums = benchmark_of(cases)

if __name__ == "__main__":
    main(cases)
