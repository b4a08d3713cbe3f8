"""k-means against the laws of Lloyd's algorithm, and against itself: in other blocks, threads, processes, and after interruptions."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.clustering.assign import assign
from engine.clustering.kmeans import kmeans
from engine.clustering.records import KMeansSettings
from engine.features import DamagedShard
from engine.runtime import interrupt
from engine.runtime.errors import LussError
from engine.runtime.interrupt import Interrupted
from tests.engine.clustering.samples import cached, clustered, with_duplicates
from tests.engine.clustering.thread_exchange import run_ranks

ROOT = Path(__file__).resolve().parents[3]


def same(a, b) -> bool:
    """The same centroids to the bit, and the same way there, but for times and for what a resumed run cannot know."""
    records = [[(r.restart, r.iteration, r.objective, r.splits, r.imbalance) for r in c.records] for c in (a, b)]
    return a.centroids.tobytes() == b.centroids.tobytes() and a.objective == b.objective and a.restart == b.restart and records[0] == records[1]


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_the_objective_never_rises_but_by_a_split(data):
    n, d = data.draw(st.integers(20, 400)), data.draw(st.integers(1, 40))
    kind = data.draw(st.sampled_from(["float32", "float16"]))
    x = clustered(n, d, classes=data.draw(st.integers(1, 30)), seed=data.draw(st.integers(0, 99)), dtype=kind)
    if data.draw(st.booleans()):
        x = x[np.random.default_rng(1).integers(max(1, n // 5), size=n)]
    spherical, normalise = data.draw(st.booleans()), data.draw(st.booleans())
    clusters, seed = data.draw(st.integers(1, 20)), data.draw(st.integers(0, 9))
    chosen = KMeansSettings(clusters, 12, 3, seed=seed, spherical=spherical, normalise=normalise or spherical)
    found = kmeans(x, chosen, block_rows=data.draw(st.sampled_from([None, 7, 64])))
    energy = n * (1.0 if chosen.normalise else float((x.astype(np.float64) ** 2).sum(1).max()))
    for restart in range(3):
        way = [r for r in found.records if r.restart == restart]
        for before, after in zip(way, way[1:]):
            # centroids are rounded to float32, which shifts each by 2^-24 of its length: the objective by the square of it, and by
            # the rounding of float64 in |x|^2 - 2 x.c + |c|^2
            rise = (before.objective - after.objective) if spherical else (after.objective - before.objective)
            assert before.splits or rise <= 1e-12 * energy
            assert after.moved is not None and 0 <= after.moved <= n
        if way[-1].iteration < 11:
            assert way[-1].moved in (0, None) or way[-1].objective == way[-2].objective
    last = {r.restart: r.objective for r in found.records}
    assert found.objective == (max if spherical else min)(last.values()) and last[found.restart] == found.objective


def test_the_objective_is_the_sum_of_squared_distances():
    x = clustered(500, 9, seed=2)
    found = kmeans(x, KMeansSettings(7, 1, 1, normalise=False))
    from engine.clustering.starts import random_rows

    start = x[random_rows(500, 7, 0, 0)].astype(np.float64)
    distances = ((x.astype(np.float64)[:, None] - start) ** 2).sum(2)
    # |x|^2 is rounded to 2^-energy_bits, about 2^-40; the rest is float64
    assert found.objective == pytest.approx(distances.min(1).sum(), rel=1e-10)
    label = distances.argmin(1)
    expected = np.stack([x.astype(np.float64)[label == j].mean(0) for j in range(7)])
    assert np.abs(found.centroids - expected).max() <= 2**-24 * np.abs(expected).max() + 1e-12
    assert found.records[0].imbalance == pytest.approx(7 * (np.bincount(label, minlength=7) ** 2).sum() / 500**2)


CASES = [
    ("clusters", clustered(2500, 24, seed=1), KMeansSettings(19, 8, 3, seed=4)),
    ("half precision", clustered(2500, 33, seed=2, dtype="float16"), KMeansSettings(23, 8, 2, seed=5)),
    ("as they are", clustered(2500, 7, seed=3) * 30, KMeansSettings(11, 8, 2, seed=6, normalise=False)),
    ("empty clusters", with_duplicates(2500, 12, 30), KMeansSettings(45, 8, 2, seed=7)),
    ("spherical", clustered(2500, 16, seed=5), KMeansSettings(17, 8, 2, seed=8, spherical=True)),
    ("whitened", clustered(2500, 16, seed=6), KMeansSettings(9, 8, 2, seed=9, whiten=6)),
    ("k-means++", clustered(2500, 16, seed=7), KMeansSettings(9, 6, 2, seed=9, start="k-means++")),
    ("k-means||", clustered(2500, 16, seed=8), KMeansSettings(9, 6, 2, seed=9, start="k-means||")),
    ("mini-batch", clustered(2500, 16, seed=9), KMeansSettings(9, 6, 2, seed=9, minibatch=256)),
    ("more restarts than are left", clustered(2500, 5, classes=3, spread=0.1, seed=9), KMeansSettings(3, 30, 6, seed=2)),
]


@pytest.mark.parametrize("name, x, chosen", CASES, ids=[case[0] for case in CASES])
def test_blocks_threads_processes_and_files_do_not_show(tmp_path, name, x, chosen):
    whole = kmeans(x, chosen)
    assert np.isfinite(whole.centroids).all() and whole.records
    assert same(whole, kmeans(x, chosen, block_rows=97, threads=1))
    assert same(whole, kmeans(cached(tmp_path / "one", x), chosen, block_rows=256))
    assert same(whole, kmeans(cached(tmp_path / "three", x, processes=3), chosen, threads=3))
    for processes in (2, 3, 5):  # of five two have no rows
        for part in run_ranks(processes, lambda exchange: kmeans(x, chosen, exchange=exchange, block_rows=300, threads=1)):
            assert same(whole, part)
    labels, sizes = assign(x, whole, chosen)
    for part in run_ranks(2, lambda exchange: assign(x, whole, chosen, exchange=exchange, block_rows=111)):
        assert (part[0] == labels).all() and (part[1] == sizes).all()
    assert sizes.sum() == len(x) and (np.bincount(labels, minlength=chosen.clusters) == sizes).all()


class Killed(Exception):
    pass


@pytest.mark.parametrize("name, x, chosen", [CASES[i] for i in (0, 3, 4, 5, 9)], ids=[CASES[i][0] for i in (0, 3, 4, 5, 9)])
def test_killed_in_any_iteration_and_resumed_gives_the_same(tmp_path, name, x, chosen):
    whole = kmeans(x, chosen)
    for iteration in range(1, min(chosen.iterations, max(r.iteration for r in whole.records) + 1) + 1):
        folder = tmp_path / str(iteration)
        folder.mkdir()

        def die(done, total, what, iteration=iteration):
            if what == "k-means" and done * chosen.iterations > (iteration - 0.5) * total:
                raise Killed

        with pytest.raises(Killed):
            kmeans(x, chosen, state=folder, save_seconds=0, on_progress=die, block_rows=500)
        resumed = run_ranks(1 + iteration % 3, lambda exchange, folder=folder: kmeans(x, chosen, exchange=exchange, state=folder, save_seconds=0))
        assert all(same(whole, part) for part in resumed)


def test_a_request_to_stop_saves_the_iteration(tmp_path, monkeypatch):
    _, x, chosen = CASES[0]

    def stop_in_the_third(rows, total, what):
        if what == "k-means" and rows > 2 * total / 8:
            monkeypatch.setattr(interrupt, "_requested", True)

    with pytest.raises(Interrupted, match="after iteration 3 of 8"):
        kmeans(x, chosen, state=tmp_path, save_seconds=1e9, on_progress=stop_in_the_third)
    monkeypatch.setattr(interrupt, "_requested", False)
    begun = []
    resumed = kmeans(x, chosen, state=tmp_path, on_progress=lambda rows, total, what: begun.append(rows / total))
    assert 3 / 8 < begun[0] <= 4 / 8 and same(kmeans(x, chosen), resumed)
    assert [r.moved is None for r in resumed.records if r.restart == 0] == [True, False, False, True] + [False] * 4


def test_a_request_to_one_of_several_processes_stops_all_after_the_same_iteration(tmp_path, monkeypatch):
    _, x, chosen = CASES[0]
    asked = threading.local()
    monkeypatch.setattr("engine.clustering.kmeans.stop_requested", lambda: getattr(asked, "now", False))

    def run(exchange):
        def ask_one(rows, total, what):
            asked.now = exchange.rank == 1 and what == "k-means" and rows > 2 * total / 8

        with pytest.raises(Interrupted, match="after iteration 3 of 8"):
            kmeans(x, chosen, state=tmp_path, save_seconds=1e9, on_progress=ask_one, exchange=exchange, block_rows=100)

    run_ranks(2, run)
    begun = []
    assert same(kmeans(x, chosen), kmeans(x, chosen, state=tmp_path, on_progress=lambda rows, total, what: begun.append(rows / total)))
    assert begun[0] > 3 / 8


def test_a_run_that_was_complete_but_for_its_end_says_the_same_again(tmp_path):
    _, x, chosen = CASES[9]
    whole = kmeans(x, chosen, state=tmp_path, save_seconds=0)
    passes = []
    assert same(whole, kmeans(x, chosen, state=tmp_path, on_progress=lambda *told: passes.append(told))) and not passes


@pytest.mark.parametrize("more", [{}, {"start": "k-means++"}, {"start": "k-means||"}, {"whiten": 3}, {"normalise": False}, {"minibatch": 64}])
def test_what_one_process_finds_wrong_all_say(more):
    x = clustered(3 * 1024, 6)
    x[2 * 1024 + 7] = np.nan  # of the last process
    said = []

    def run(exchange):
        with pytest.raises(LussError) as found:
            kmeans(x, KMeansSettings(3, 3, 2, **more), exchange=exchange, block_rows=512)
        said.append(str(found.value))

    run_ranks(3, run)
    assert len(said) == 3 and len(set(said)) == 1 and "row 2055" in said[0] and "not finite" in said[0]
    whole = kmeans(x[:2000], KMeansSettings(3, 3, 2))
    said.clear()

    def label(exchange):
        with pytest.raises(LussError) as found:
            assign(x, whole, KMeansSettings(3, 3, 2), exchange=exchange)
        said.append(str(found.value))

    run_ranks(3, label)
    assert len(said) == 3 and len(set(said)) == 1 and "row 2055" in said[0]


def test_state_that_not_all_processes_see_is_refused(tmp_path):
    _, x, chosen = CASES[0]
    with pytest.raises(Killed):
        kmeans(x, chosen, state=tmp_path / "0", save_seconds=0, on_progress=lambda done, total, what: _die_in(what, done > total / 2))

    def run(exchange):
        with pytest.raises(LussError, match="file system that all of them share"):
            kmeans(x, chosen, state=tmp_path / str(exchange.rank), exchange=exchange)

    run_ranks(3, run)


def test_sigterm_and_sigkill_of_a_process(tmp_path):
    """A real process: SIGTERM ends it after its iteration, a kill at any moment leaves a state to go on from."""
    _, x, chosen = CASES[0]
    np.save(tmp_path / "x.npy", x)
    text = """
        import sys, time
        import numpy as np
        from engine.clustering.kmeans import kmeans
        from engine.clustering.records import KMeansSettings
        from engine.runtime import interrupt
        interrupt.install()
        def slowly(done, total, what):
            print(what, 8 * done // (total + 1), flush=True)
            time.sleep(0.02)
        x, chosen = np.load(sys.argv[1] + "/x.npy"), KMeansSettings(19, 8, 3, seed=4)
        found = kmeans(x, chosen, state=sys.argv[1], save_seconds=0, on_progress=slowly, block_rows=500)
        np.save(sys.argv[1] + "/c.npy", found.centroids)
    """
    command, environment = [sys.executable, "-c", textwrap.dedent(text), str(tmp_path)], {**os.environ, "PYTHONPATH": str(ROOT)}
    for number, last in ((signal.SIGTERM, "k-means 1"), (signal.SIGKILL, "k-means 4")):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=environment)
        for line in process.stdout:
            if line.startswith(last):
                process.send_signal(number)
                break
        rest, errors = process.communicate(timeout=120)
        assert process.returncode != 0 and (number == signal.SIGKILL or "stopped after iteration 2 of 8" in errors)
        assert not (tmp_path / "c.npy").exists()
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, check=True, timeout=120)
    assert done.stdout.startswith("k-means 4") and (np.load(tmp_path / "c.npy") == kmeans(x, chosen).centroids).all()


def test_state_of_something_else_is_refused(tmp_path):
    _, x, chosen = CASES[0]
    with pytest.raises(Killed):
        kmeans(x, chosen, state=tmp_path, save_seconds=0, on_progress=lambda done, total, what: _die_in(what, done > total / 2))
    with pytest.raises(LussError, match=r"kmeans.npz: belongs to a clustering with seed = 4, expected 5: delete it"):
        kmeans(x, KMeansSettings(19, 8, 3, seed=5), state=tmp_path)
    with pytest.raises(LussError, match=r"kmeans.npz: belongs to a clustering of other features"):
        kmeans(x + 1, chosen, state=tmp_path)
    swapped = x.copy()
    swapped[[5, 6]] = x[[6, 5]]
    with pytest.raises(LussError, match=r"kmeans.npz: belongs to a clustering of other features"):
        kmeans(swapped, chosen, state=tmp_path)
    with pytest.raises(LussError, match=r"kmeans.npz: belongs to a clustering of other features, or other starts"):
        kmeans(x, chosen, state=tmp_path, starts=np.zeros((3, 19, 24), np.float32))
    content = bytearray((tmp_path / "kmeans.npz").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "kmeans.npz").write_bytes(content)
    with pytest.raises(LussError, match="kmeans.npz.*damaged.*delete it"):
        kmeans(x, chosen, state=tmp_path)


def _die_in(what: str, far: bool) -> None:
    if what == "k-means" and far:
        raise Killed


def test_bad_input_is_named(tmp_path):
    x = clustered(50, 4)
    with pytest.raises(LussError, match="50 rows for 51 clusters"):
        kmeans(x, KMeansSettings(51))
    broken = x.copy()
    broken[31, 2] = np.nan
    broken[33, 0] = np.inf
    with pytest.raises(LussError, match="row 31 are not finite.*2 such rows"):
        kmeans(broken, KMeansSettings(3, restarts=1, seed=0))
    with pytest.raises(LussError, match="row 33 are not finite"):
        kmeans(broken, KMeansSettings(3))  # a restart begins from it
    with pytest.raises(LussError, match="row 31 are not finite"):
        kmeans(broken, KMeansSettings(50))  # as many rows as clusters
    with pytest.raises(LussError, match="as large as 1e.20.*normalise them"):
        kmeans(np.full((50, 4), 1e20, np.float32), KMeansSettings(3, normalise=False))
    for more in ({}, {"minibatch": 20}):
        with pytest.raises(LussError, match="as large as [0-9.]+e.20.*normalise them"):
            kmeans(x * np.float32(1e-20), KMeansSettings(3, normalise=False, **more))
    with pytest.raises(ValueError, match=r"source: expected .* found \(50,\) float32"):
        kmeans(x[:, 0].copy(), KMeansSettings(3))
    for wrong in ({"clusters": 0}, {"clusters": 3, "iterations": 0}, {"clusters": 3, "start": "best"}, {"clusters": 3, "seed": -1}):
        with pytest.raises(LussError, match="expected"):
            KMeansSettings(**wrong)
    cache = cached(tmp_path / "cache", x)
    data = sorted((tmp_path / "cache").glob("r000-s*[0-9].npy"))[0]
    content = bytearray(data.read_bytes())
    content[4096 + 100] ^= 1
    data.write_bytes(content)
    with pytest.raises(DamagedShard, match="fails its checksum"):
        kmeans(cache, KMeansSettings(3))


@pytest.mark.parametrize("power", [-30, -10, 10, 40])
def test_the_size_of_rows_changes_nothing_but_their_size(power):
    """Powers of two: 2^-30 and 2^40 have squared lengths whose sums leave 62 bits beside the point, or before it."""
    x, chosen = clustered(700, 9, seed=3), KMeansSettings(5, 6, 3, seed=1, normalise=False)
    one, other = kmeans(x, chosen), kmeans(np.ldexp(x, power), chosen)
    # sums of float32 numbers keep 62 - 10 bits at least 20 below the largest's last: what is cut off differs with the size
    assert np.ldexp(other.centroids, -power) == pytest.approx(one.centroids, rel=1e-4, abs=1e-6) and other.restart == one.restart
    assert np.ldexp(other.objective, -2 * power) == pytest.approx(one.objective, rel=1e-6)


def test_the_ends_of_the_range():
    x = clustered(60, 4)
    one = kmeans(x, KMeansSettings(1, 5, 2, normalise=False))
    assert one.centroids[0] == pytest.approx(x.astype(np.float64).mean(0), rel=1e-6) and one.restart == 0
    every = kmeans(x, KMeansSettings(60, 5, 2, normalise=False))
    assert (every.centroids == x).all() and every.objective == 0
    point = kmeans(np.tile(x[:1], (60, 1)), KMeansSettings(4, 5, 2))
    # all rows are one point: one cluster has it, the others are splits of it, 1/1024 off each time
    assert np.isfinite(point.centroids).all() and point.objective <= 60 * 1e-12 and point.records[-1].splits == 3
    zeros = kmeans(np.zeros((60, 4), np.float16), KMeansSettings(3, 5, 1))
    assert (zeros.centroids == 0).all() and zeros.objective == 0


def test_through_the_ops_of_jittor_it_is_the_same(tmp_path):
    """The passes that CUDA takes, here with the ops' CPU paths: labels and sums are the same, so the centroids are."""
    for _, x, chosen in (CASES[0], CASES[3], CASES[4], CASES[9]):
        host = kmeans(cached(tmp_path / str(chosen.seed), x), chosen)
        device = kmeans(x, chosen, device="cuda", block_rows=600)
        assert host.centroids.tobytes() == device.centroids.tobytes()
        assert [(r.objective, r.moved) for r in device.records] == [(r.objective, r.moved) for r in host.records]
