"""Rows less a mean in another basis, as PCA-whitening has it, against NumPy, torch and faiss.

    python bench/bench_project_rows.py [--rounds N] [--only TEXT] [--json FILE]
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

from engine.ops.project_rows import project_rows_host

N, WIDTH = 8192, 128
DEPTHS = (512, 2048)


def prepare(d: int) -> dict:
    rng = np.random.default_rng(0)
    x, mean = rng.standard_normal((N, d), np.float32), rng.standard_normal(d).astype(np.float32)
    basis, out = rng.standard_normal((d, WIDTH)).astype(np.float32), np.empty((N, WIDTH), np.float32)
    sides = {"ours": lambda: project_rows_host(x, mean, basis, out, threads=THREADS), "numpy": lambda: (x - mean) @ basis}
    if not np.allclose(sides["ours"](), sides["numpy"](), rtol=0, atol=1e-5 * d):
        raise SystemExit("the rows are not NumPy's")
    torch = torch_or_none()
    if torch is not None:
        rows, shift, factor = map(torch.from_numpy, (x, mean, basis))
        sides["torch"] = lambda: (rows - shift) @ factor
    try:
        import faiss
    except ImportError:
        return sides
    transform = faiss.LinearTransform(d, WIDTH, True)  # basis.T x + b
    faiss.copy_array_to_vector(np.ascontiguousarray(basis.T).ravel(), transform.A)
    faiss.copy_array_to_vector(-(mean @ basis), transform.b)
    transform.is_trained = True
    faiss.omp_set_num_threads(THREADS)
    sides["faiss"] = lambda: transform.apply(x)
    return sides


def cases() -> list[Case]:
    goals = {"numpy": 1.0, "torch": 1.0, "faiss": 1.0}
    return [
        Case("project_rows", f"N={N} d={d} p={WIDTH}", partial(prepare, d), 2.0 * N * d * WIDTH, 4.0 * (N * (d + WIDTH) + d * WIDTH), goals)
        for d in DEPTHS
    ]


test_project_rows = benchmark_of(cases)

if __name__ == "__main__":
    main(cases)
