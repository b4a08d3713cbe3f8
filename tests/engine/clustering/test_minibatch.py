"""Mini-batch k-means against its definition, a row at a time; one result for any number of processes."""

from __future__ import annotations

import numpy as np
import pytest

from engine.clustering.counter_draws import BATCH, words
from engine.clustering.minibatch import minibatch_kmeans
from engine.runtime.errors import LussError
from engine.runtime.interrupt import Interrupted
from tests.engine.clustering.fake_rows import ArrayRows, same_everywhere
from tests.engine.clustering.thread_exchange import run_ranks

RANDOM = np.random.default_rng(3)
X = (RANDOM.standard_normal((8, 5))[RANDOM.integers(0, 8, 900)] * 2 + 0.3 * RANDOM.standard_normal((900, 5))).astype(np.float32)
STARTS = X[RANDOM.permutation(900)[:18]].reshape(2, 9, 5)


def alone(*arguments, x=X, **options):
    return run_ranks(1, lambda exchange: minibatch_kmeans(ArrayRows(x, 100), *arguments, exchange, **options))[0]


def row_by_row(x: np.ndarray, centroids: np.ndarray, iterations: int, batch: int, seed: int) -> tuple[np.ndarray, list[float]]:
    """One restart by Sculley's algorithm 1, in float64."""
    c, seen, objectives = centroids.astype(np.float64), np.zeros(len(centroids)), []
    for iteration in range(iterations):
        rows = x[(words(seed, BATCH, 0, iteration, 0, batch) % np.uint64(len(x))).astype(np.int64)].astype(np.float64)
        distances = ((rows[:, None] - c) ** 2).sum(-1)
        objectives.append(distances.min(1).sum() * len(x) / batch)
        for row, nearest in zip(rows, distances.argmin(1)):
            seen[nearest] += 1
            c[nearest] += (row - c[nearest]) / seen[nearest]
    return c, objectives


@pytest.mark.parametrize("batch", [1, 7, 256])
def test_every_row_moves_its_centroid_by_one_over_what_it_has_had(batch):
    found, records = alone(STARTS, 12, batch, 5)
    for restart in range(2):
        expected, objectives = row_by_row(X, STARTS[restart], 12, batch, 5)
        # each of 12 steps rounds a centroid to float32, and passes on at most what earlier steps rounded
        assert (abs(found[restart] - expected) <= 12 * 2.0**-24 * abs(X).max()).all()
        mine = [record for record in records if record.restart == restart]
        assert [record.iteration for record in mine] == list(range(12))
        # distances are those to centroids that are off by that much; the largest possible one is 2 max |x| sqrt(d)
        off = 12 * 2.0**-24 * abs(X).max() * np.sqrt(5)
        slack = len(X) * (2 * off * 2 * abs(X).max() * np.sqrt(5) + off**2)
        assert all(abs(record.objective - value) <= slack + 8 * 2.0**-24 * value for record, value in zip(mine, objectives))
        assert all(1 - 1e-12 <= record.imbalance <= 9 and record.seconds >= 0 for record in mine)


@pytest.mark.parametrize("batch", [1, 2, 100])
def test_same_centroids_for_any_number_of_processes(batch):
    def work(rows, exchange) -> np.ndarray:
        found, records = minibatch_kmeans(rows, STARTS, 6, batch, 9, exchange)
        return np.concatenate([found.reshape(-1), np.array([record.objective for record in records])])

    same_everywhere(X, work)


def test_it_finds_groups_and_leaves_its_arguments_alone():
    before = STARTS.copy()
    found, records = alone(STARTS, 30, 200, 0)
    assert np.array_equal(STARTS, before)
    full = [((X[:, None].astype(np.float64) - c) ** 2).sum(-1).min(1).sum() for c in (STARTS[0], found[0])]
    assert full[1] < full[0] and records[-2].objective < records[0].objective
    assert (alone(STARTS, 0, 200, 0)[0] == STARTS).all()
    assert (found != alone(STARTS, 30, 200, 1)[0]).any()


def test_a_centroid_far_away_stays():
    far = STARTS.copy()
    far[:, 4] = 1e6
    assert (alone(far, 5, 50, 0)[0][:, 4] == 1e6).all()


def test_refusals_and_interruption():
    for centroids in (STARTS[0], STARTS.astype(np.float64), STARTS[:, :, :4], STARTS[:, :0]):
        with pytest.raises(ValueError, match=r"centroids: expected \(R, K, 5\) float32, found"):
            alone(centroids, 1, 10, 0)
    with pytest.raises(ValueError, match="iterations, batch, rows: expected at least 0, 1 and 1, found 1, 0, 900"):
        alone(STARTS, 1, 0, 0)
    for bad, found in ((1e18, "1e[+]18"), (np.inf, "inf"), (np.nan, "nan")):
        x = X.copy()
        x[:, 2] = bad
        with pytest.raises(LussError, match=f"10 rows of features as large as {found}"):
            alone(STARTS, 1, 10, 0, x=x)
    steps = []
    with pytest.raises(Interrupted):
        alone(STARTS, 9, 10, 0, stop=lambda: len(steps) == 2, on_pass=lambda done, total: steps.append((done, total)))
    assert steps == [(1, 9), (2, 9)]
