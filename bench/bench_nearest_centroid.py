"""nearest_centroid against faiss (IndexFlatL2, k = 1), torch (addmm and argmin) and the matrix product alone.

    python bench/bench_nearest_centroid.py [--rounds N] [--only TEXT] [--json FILE]

Rows of unit length around K directions, as the features of PASS are; centroids are rows drawn at random, as k-means starts, or what 8 iterations of
it made of them. "ours" is the default mode; "ours-fp32" leaves bfloat16 out. Before anything is timed, all labels are compared with those of float64
scores: another label must be within float64's own rounding of the best. faiss and torch may differ there: their count is printed.
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

from engine.clustering.faiss_kmeans import unit_rows
from engine.ops.centroid_sums import centroid_sums_host
from engine.ops.nearest_centroid import nearest_centroid_counted, nearest_centroid_host

SIZES = [(16384, 128, 50), (16384, 128, 500), (16384, 128, 919), (8192, 512, 919), (8192, 2048, 919)]
# Stated for a processor with one fp32 matrix rate and another bfloat16 one; "ours" is the certified mode wherever there is bfloat16.
GOALS = {128: {"faiss": 2.0, "torch": 2.5}, 512: {"faiss": 1.1}, 2048: {"faiss": 0.95}}


def sample(n: int, d: int, k: int, converged: bool) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    directions = rng.standard_normal((k, d), np.float32)
    x = unit_rows(0.7 * directions[rng.integers(0, k, n)] + rng.standard_normal((n, d), np.float32))
    centroids = x[rng.permutation(n)[:k]].copy()
    for _ in range(8 if converged else 0):
        sums, counts = centroid_sums_host(x, nearest_centroid_host(x, centroids)[0], k)
        centroids[counts > 0] = (sums / np.maximum(counts, 1)[:, None])[counts > 0]
    return x, centroids


def wrong(x: np.ndarray, centroids: np.ndarray, labels: np.ndarray) -> int:
    """Rows whose label is farther from the best score than float64's rounding."""
    c = centroids.astype(np.float64)
    half, count = 0.5 * (c**2).sum(1), 0
    for start in range(0, len(x), 1024):
        scores = x[start : start + 1024] @ c.T - half
        found = scores[np.arange(len(scores)), labels[start : start + 1024]]
        count += int((found < scores.max(1) - 4 * x.shape[1] * 2.0**-53).sum())  # |x| = 1, |c| <= 1: d products and sums, twice
    return count


def prepare(n: int, d: int, k: int, converged: bool) -> dict:
    x, centroids = sample(n, d, k, converged)
    sides = {
        "ours": lambda: nearest_centroid_host(x, centroids, threads=THREADS),
        "ours-fp32": lambda: nearest_centroid_host(x, centroids, mode="fp32", threads=THREADS),
    }
    labels = {name: side()[0] for name, side in sides.items()}
    for name, found in labels.items():
        if wrong(x, centroids, found):
            raise SystemExit(f"{name}: {wrong(x, centroids, found)} of {n} labels are not those of float64")
    try:
        import faiss
    except ImportError:
        pass
    else:
        faiss.omp_set_num_threads(THREADS)
        index = faiss.IndexFlatL2(d)
        index.add(centroids)
        sides["faiss"] = lambda: index.search(x, 1)
        labels["faiss"] = sides["faiss"]()[1][:, 0]
    torch = torch_or_none()
    if torch is not None:
        rows, columns = torch.from_numpy(x), torch.from_numpy(centroids).t()
        half = 0.5 * (columns**2).sum(0)
        sides["torch"] = lambda: torch.argmin(torch.addmm(half, rows, columns, alpha=-1), 1)
        sides["torch.mm alone"] = lambda: torch.mm(rows, columns)
        labels["torch"] = sides["torch"]().numpy()
    again = nearest_centroid_counted(x, centroids)[2]
    others = ", ".join(f"{name} {wrong(x, centroids, found)}" for name, found in labels.items() if not name.startswith("ours"))
    print(
        f"  {n} rows: half precision left open {again[0]} (of these through float32 {again[1]}), float32 {again[2]}; wrong labels: ours 0, {others}"
    )
    return sides


def cases() -> list[Case]:
    found = []
    for n, d, k in SIZES:
        for converged in (False, True):
            name = f"d={d} K={k} {'converged' if converged else 'random'}"
            operations, moved = 2.0 * n * d * k, 4.0 * (n * d + k * d + 2 * n)
            found.append(Case("nearest_centroid", name, partial(prepare, n, d, k, converged), operations, moved, GOALS[d]))
    return found


test_nearest_centroid = benchmark_of(cases)

if __name__ == "__main__":
    main(cases)
