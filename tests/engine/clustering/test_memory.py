"""The formula of k-means's memory against what a process takes."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from engine.clustering.host_pass import HostPass
from engine.clustering.memory import memory_bytes
from engine.clustering.rows import Rows
from tests.engine.clustering.samples import cached, clustered

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("n, d, clusters, restarts", [(20000, 64, 600, 40), (60000, 32, 40, 60), (3000, 512, 300, 12)])
def test_a_process_stays_within_the_formula(tmp_path, n, d, clusters, restarts):
    cached(tmp_path / "cache", clustered(n, d, dtype="float16"))
    text = """
        import re, sys
        import numpy as np
        from engine.clustering.kmeans import kmeans
        from engine.clustering.records import KMeansSettings
        from engine.features import FeatureCache
        def peak():
            return int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read()).group(1)) << 10
        folder, n, d, clusters, restarts = sys.argv[1], *map(int, sys.argv[2:])
        cache = FeatureCache(folder)
        kmeans(np.random.default_rng(0).standard_normal((300, d), np.float32), KMeansSettings(5, 3, 2), threads=2, device="cpu")
        starts = np.random.default_rng(1).standard_normal((restarts, clusters, d), np.float32) / d ** 0.5
        begin = peak()
        kmeans(cache, KMeansSettings(clusters, 3, restarts), starts=starts, block_rows=2048, threads=2, device="cpu")
        print(peak() - begin)
    """
    command = [sys.executable, "-c", textwrap.dedent(text), str(tmp_path / "cache"), *map(str, (n, d, clusters, restarts))]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True, timeout=300)
    limit = memory_bytes(n, d, clusters, restarts, block_rows=2048, threads=2)
    # the allocator keeps some of what was given back: a tenth, and a few MB
    assert int(done.stdout) <= 1.1 * limit + (16 << 20)
    assert int(done.stdout) > limit / 4  # else the formula says nothing


def test_restarts_that_end_are_dropped_without_a_copy_of_all():
    """Labels and bounds of the rows are most of the memory where restarts are many."""
    n, restarts = 40000, 50
    tracemalloc.start()
    try:
        lloyd = HostPass(Rows(clustered(n, 2), block_rows=1000), restarts, 2, bits=40, energy_bits=40, spherical=False, threads=1)
        lloyd.run(np.random.default_rng(0).standard_normal((restarts, 2, 2), np.float32), None, lambda rows: None)
        counts = [lloyd.totals(at)[1].tolist() for at in range(restarts)]
        held, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        lloyd.keep(np.arange(restarts) != 3)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held > 8 * n * restarts and peak - held < 2 * 8 * 1000 * restarts
    assert [lloyd.totals(at)[1].tolist() for at in range(restarts - 1)] == counts[:3] + counts[4:]


def test_the_largest_job_fits_the_users_machines():
    """ImageNet-S 919 with ResNet-50 on one process, in the default blocks: beside 4.85 GB of features on disk."""
    assert memory_bytes(1_183_322, 2048, 919, 30, block_rows=4096, threads=16) < 2.1e9
    assert np.isclose(memory_bytes(1_183_322, 2048, 919, 30, block_rows=4096, processes=4, threads=4) / 1e9, 1.6, atol=0.1)
