"""NMI and one-to-one accuracy of a clustering against loops in Python, at the sizes of ImageNet-S.

    python bench/bench_agreement.py [--rounds N] [--only TEXT] [--json FILE]

The peer is one loop over the samples that fills the table of counts, the best that plain Python does, then the same assignment and logarithms.
The published code goes over all pairs of cluster and class instead, and over all samples for each: the time of a few pairs is printed, times K^2,
which is an extrapolation.
"""

from __future__ import annotations

import sys
import time
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.harness import Case, benchmark_of, main

# NumPy comes after the harness, which sets the number of threads.
# isort: split
import numpy as np
from scipy.optimize import linear_sum_assignment

from engine.clustering.agreement import agreement

SIZES = [(64_431, 50), (384_862, 300), (1_183_322, 919)]
PAIRS = 5


def by_loop(labels: np.ndarray, classes: np.ndarray, k: int) -> tuple[float, float]:
    table = [[0] * k for _ in range(k)]
    for label, kind in zip(labels.tolist(), classes.tolist()):
        table[label][kind] += 1
    share = np.array(table) / len(labels)
    p, q = share.sum(1), share.sum(0)
    outer, there = np.outer(p, q), share > 0
    mutual = (share[there] * np.log(share[there] / outer[there])).sum()
    mean = -(sum(x * np.log(x) for x in p if x > 0) + sum(x * np.log(x) for x in q if x > 0)) / 2
    rows, columns = linear_sum_assignment(-share)
    return mutual / mean, share[rows, columns].sum()


def prepare(n: int, k: int) -> dict:
    rng = np.random.default_rng(0)
    classes = rng.integers(0, k, n).astype(np.int32)
    labels = np.where(rng.random(n) < 0.4, classes, rng.integers(0, k, n)).astype(np.int32)  # published accuracies: 0.2 to 0.5
    sides = {"ours": lambda: agreement(labels, classes), "loop": lambda: by_loop(labels, classes, k)}
    if not np.allclose(sides["ours"](), sides["loop"](), rtol=0, atol=1e-10):
        raise SystemExit("the figures are not those of the loop")
    begin = time.perf_counter()
    for i in range(PAIRS):
        len(np.intersect1d(np.flatnonzero(labels == i), np.flatnonzero(classes == i)))
    pair = (time.perf_counter() - begin) / PAIRS
    print(f"  pair by pair: {1e3 * pair:.2f} ms each, {k * k * pair:.0f} s for {k * k} (extrapolated)")
    return sides


def cases() -> list[Case]:
    return [Case("agreement", f"N={n} K={k}", partial(prepare, n, k), n, 8.0 * n, {"loop": 5.0}) for n, k in SIZES]


test_agreement = benchmark_of(cases)

if __name__ == "__main__":
    main(cases)
