"""Rows scaled to unit length against NumPy and torch.nn.functional.normalize.

    python bench/bench_unit_rows.py [--rounds N] [--only TEXT] [--json FILE]

Ours adds squares in float64 and also returns the squared lengths of what comes out; torch adds in float32 and does not.
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

from engine.ops.unit_rows import unit_rows_host

BYTES = 32 << 20  # of a block in float32, as k-means reads it
SIZES = [(d, dtype) for d in (128, 512, 2048) for dtype in ("float32", "float16")]


def by_numpy(x: np.ndarray, out: np.ndarray) -> np.ndarray:
    np.copyto(out, x)
    out /= (np.sqrt(np.einsum("nd,nd->n", out, out, dtype=np.float64)) + 1e-8).astype(np.float32)[:, None]
    return out


def prepare(d: int, dtype: str) -> dict:
    x = np.random.default_rng(0).standard_normal((BYTES // (4 * d), d), np.float32).astype(dtype)
    out, other = np.empty(x.shape, np.float32), np.empty(x.shape, np.float32)
    sides = {"ours": lambda: unit_rows_host(x, out, threads=THREADS), "numpy": lambda: by_numpy(x, other)}
    if not np.allclose(sides["ours"]()[0], sides["numpy"](), rtol=1e-6, atol=0):
        raise SystemExit("the rows are not NumPy's")
    torch = torch_or_none()
    if torch is not None:
        rows, result = torch.from_numpy(x), torch.empty(x.shape)
        sides["torch"] = lambda: torch.nn.functional.normalize(rows.float(), dim=1, eps=1e-8, out=result)
    return sides


def cases() -> list[Case]:
    rows = {d: BYTES // (4 * d) for d, _ in SIZES}
    return [
        Case("unit_rows", f"d={d} {dtype}", partial(prepare, d, dtype), 5.0 * rows[d] * d,
             rows[d] * (d * (np.dtype(dtype).itemsize + 4.0) + 8), {"numpy": 2.0})
        for d, dtype in SIZES
    ]  # fmt: skip


test_unit_rows = benchmark_of(cases)

if __name__ == "__main__":
    main(cases)
