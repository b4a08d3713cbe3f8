"""Whole clusterings: luss's k-means against faiss.Clustering, with the same rows, starts, iterations, restarts and threads.

    python bench/bench_kmeans.py [--rows N] [--dims D ...] [--clusters K ...] [--restarts R] [--iterations I] [--data NAME ...] [--threads T]

faiss does its restarts one after another, in two halves, ours all of them between the two: so both sides see the same machine. The rows are
unit vectors around 919 class means; NAME says how the variance falls with the dimension, of means and noise alike:

    decaying   i^-0.5 (default): eigenvalues of features fall, those of networks between this and 1/i
    flat       all alike: the hardest case, no direction tells more than another
    steep      1/i

What is printed: seconds of both sides, their ratio, the best objectives, how the time of ours is spread over the iterations, and the share of
the machine's matrix rate (float32) that a clustering without shortcuts would need for that time.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

DECAY = {"flat": 0.0, "decaying": 0.25, "steep": 0.5}  # of standard deviations


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--dims", type=int, nargs="+", default=[128, 512])
    parser.add_argument("--clusters", type=int, nargs="+", default=[500, 919])
    parser.add_argument("--restarts", type=int, default=30)
    parser.add_argument("--iterations", type=int, default=20)
    parser.add_argument("--data", choices=list(DECAY), nargs="+", default=["decaying"])
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--peer-restarts", type=int, help="restarts that faiss does; its time is scaled to all of them, as it does one after another")
    parser.add_argument("--no-peer", action="store_true", help="ours alone")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="of ours (default: %(default)s)")
    options = parser.parse_args()
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(options.threads)
    rate = matrix_rate()
    print(f"{options.threads} threads; float32 matrix rate of one {rate / 1e9:.0f} GFLOP/s; load {os.getloadavg()[0]:.1f}", flush=True)
    warm_up(options.device)
    results = []
    for data in options.data:
        for d in options.dims:
            x = rows(options.rows, d, DECAY[data])
            for clusters in options.clusters:
                results.append(compare(x, data, clusters, options, rate))
    if options.json:
        Path(options.json).write_text(json.dumps(results, indent=1))
    return 0 if all(r["objective"] <= 1.001 * r.get("faiss_objective", float("inf")) for r in results) else 1


def matrix_rate() -> float:
    """Of one thread; in a process of its own, as the harness sets the number of threads of all libraries to one."""
    code = "from bench.harness import machine_limits; print(machine_limits()['matrix'])"
    root = Path(__file__).resolve().parent.parent
    return float(subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True).stdout.split()[-1])


def warm_up(device: str) -> None:
    """Compile what is compiled at its first use."""
    import numpy as np

    from engine.clustering.kmeans import kmeans
    from engine.clustering.records import KMeansSettings

    kmeans(np.random.default_rng(0).standard_normal((100, 8), np.float32), KMeansSettings(3, 2, 1), device=device)


def rows(n: int, d: int, decay: float):
    """(n, d) float32 unit vectors, the same for the same arguments."""
    import numpy as np

    from engine.ops.unit_rows import unit_rows_host

    rng = np.random.default_rng(0)
    deviation = (np.arange(1, d + 1) ** -decay).astype(np.float32)
    means = 0.6 * rng.standard_normal((919, d), np.float32)
    x = (means[rng.integers(919, size=n)] + rng.standard_normal((n, d), np.float32)) * deviation
    return unit_rows_host(x, out=x)[0]


def compare(x, data: str, clusters: int, options: argparse.Namespace, rate: float) -> dict:
    from engine.clustering.kmeans import kmeans
    from engine.clustering.records import KMeansSettings

    n, d = x.shape
    chosen = KMeansSettings(clusters, options.iterations, options.restarts, seed=options.seed, normalise=False)
    done = options.restarts if options.peer_restarts is None else min(options.peer_restarts, options.restarts)
    half = done // 2
    result = {"data": data, "rows": n, "d": d, "clusters": clusters, "restarts": options.restarts, "iterations": options.iterations}
    peers = [] if options.no_peer else [by_faiss(x, chosen, 0, half, options.threads)]
    begin = time.perf_counter()
    found = kmeans(x, chosen, threads=options.threads, device=options.device)
    ours = time.perf_counter() - begin
    peers += [] if options.no_peer else [by_faiss(x, chosen, half, done, options.threads)]
    products = 2.0 * n * d * clusters * options.iterations * options.restarts
    result.update(seconds=ours, objective=found.objective, of_matrix_rate=products / ours / rate / options.threads)
    spread = [sum(r.seconds for r in found.records if r.iteration == i) for i in range(options.iterations)]
    result["seconds_by_iteration"] = [round(s, 3) for s in spread]
    size = f"{data} d={d} K={clusters}, {options.restarts} x {options.iterations}"
    line = f"{size}: ours {ours:.1f} s ({100 * result['of_matrix_rate']:.0f} % of the matrix rate)"
    if peers:
        result["faiss_restarts"] = done
        result.update(faiss_seconds=sum(p[0] for p in peers) * options.restarts / done, faiss_objective=min(p[1] for p in peers))
        result["ratio"] = result["faiss_seconds"] / ours
        scaled = "" if done == options.restarts else f" (scaled from {done} restarts)"
        line += f", faiss {result['faiss_seconds']:.1f} s{scaled}: {result['ratio']:.2f} x"
        line += f"; objective {found.objective:.3f}, faiss {result['faiss_objective']:.3f}"
    print(f"{line}\n  seconds by iteration: {' '.join(f'{s:.2f}' for s in spread)}", flush=True)
    return result


def by_faiss(x, chosen, first: int, last: int, threads: int) -> tuple[float, float]:
    """Seconds and best objective of restarts first to last - 1; faiss numbers them from its seed in steps of 15486557."""
    import faiss

    if last == first:
        return 0.0, float("inf")
    faiss.omp_set_num_threads(threads)
    run = faiss.Clustering(x.shape[1], chosen.clusters)
    run.niter, run.nredo, run.seed = chosen.iterations, last - first, chosen.seed + first * 15486557
    run.max_points_per_centroid, run.min_points_per_centroid = 10**7, 1
    begin = time.perf_counter()
    run.train(x, faiss.IndexFlatL2(x.shape[1]))
    seconds = time.perf_counter() - begin
    stats = run.iteration_stats
    return seconds, stats.at(stats.size() - 1).obj  # faiss keeps what led to the best restart, which comes last


if __name__ == "__main__":
    raise SystemExit(main())
