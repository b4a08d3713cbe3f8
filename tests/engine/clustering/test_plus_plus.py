"""k-means++ and k-means|| against their definitions: chances, duplicates, and one result for every block size and number of processes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.clustering.chosen_distances import ChosenDistances, exact_totals
from engine.clustering.counter_draws import PICK, RACE, uniforms, words
from engine.clustering.parallel_plus_plus import _picked, _weighted_plus_plus, parallel_plus_plus, parallel_plus_plus_rows
from engine.clustering.plus_plus import plus_plus, plus_plus_rows, race
from engine.clustering.starts import random_rows
from engine.runtime.errors import LussError
from engine.runtime.interrupt import Interrupted
from tests.engine.clustering.fake_rows import ArrayRows, same_everywhere
from tests.engine.clustering.thread_exchange import run_ranks

BOTH = pytest.mark.parametrize("choose", [plus_plus_rows, parallel_plus_plus_rows])


def mixture(n: int, d: int, groups: int, seed: int, noise: float = 0.05) -> np.ndarray:
    random = np.random.default_rng(seed)
    means = 3 * random.standard_normal((groups, d))
    return (means[random.integers(0, groups, n)] + noise * random.standard_normal((n, d))).astype(np.float32)


def alone(x: np.ndarray, work, block: int = 256):
    return run_ranks(1, lambda exchange: work(ArrayRows(x, block), exchange))[0]


def cost(x: np.ndarray, centroids: np.ndarray) -> float:
    return float(((x[:, None].astype(np.float64) - centroids) ** 2).sum(-1).min(1).sum())


# ---- draws ----------------------------------------------------------------------------------------------------------------------------------------


def test_a_rows_number_is_its_own():
    whole = words(7, RACE, 3, 11, 0, 1000)
    for first, count in ((0, 1), (1, 7), (5, 64), (998, 2), (997, 3), (4, 0)):
        assert words(7, RACE, 3, 11, first, count).tolist() == whole[first : first + count].tolist()
    others = [words(8, RACE, 3, 11, 0, 50), words(7, PICK, 3, 11, 0, 50), words(7, RACE, 4, 11, 0, 50), words(7, RACE, 3, 12, 0, 50)]
    assert len({word for some in [whole, *others] for word in some.tolist()}) == 1200
    assert (words(2**64 + 7, RACE, 3, 11, 0, 9) == whole[:9]).all()


def test_uniforms_are_uniform_and_inside():
    u = uniforms(1, PICK, 0, 0, 0, 100_000)
    assert u.min() > 0 and u.max() < 1
    counts = np.bincount((u * 50).astype(int), minlength=50)
    assert ((counts - 2000) ** 2 / 2000).sum() < 49 + 6 * math.sqrt(2 * 49)  # chi squared: mean 49, variance 98; the seed is fixed


def test_a_race_is_won_in_proportion_to_the_rate():
    rates = np.array([0, 1, 2, 5, 0, 2])
    wins = np.bincount([race(rates, seed, RACE, 0, 0, 40)[1] - 40 for seed in range(4000)], minlength=6)
    expected = 4000 * rates / rates.sum()
    assert wins[rates == 0].sum() == 0
    assert (abs(wins - expected) <= 5 * np.sqrt(expected)).all()
    assert race(np.zeros(3), 0, RACE, 0, 0, 0) == (np.inf, -1) == race(np.zeros(0), 0, RACE, 0, 0, 0)


# ---- sums and distances ---------------------------------------------------------------------------------------------------------------------------


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(0, 300), scale=st.integers(-60, 60), size=st.integers(1, 4))
def test_totals_do_not_depend_on_the_division(seed, n, scale, size):
    values = np.random.default_rng(seed).exponential(1, (2, n)).astype(np.float32) ** 3 * np.float32(2.0**scale)

    def share(exchange) -> np.ndarray:
        rank = exchange.rank
        return exact_totals(values[:, n * rank // size : n * (rank + 1) // size], n, exchange)

    single = run_ranks(1, lambda exchange: exact_totals(values, n, exchange))[0]
    assert all(found.tobytes() == single.tobytes() for found in run_ranks(size, share))
    # each value is rounded to half of 2^-bits, and n of the largest fill at least 2^60 of these
    exact = np.array([math.fsum(line.tolist()) for line in values])
    largest = values.max(axis=1, initial=0).astype(np.float64)
    assert (abs(single - exact) <= n * largest * n * 2.0**-60 + exact * 2.0**-52).all()


def test_distances_and_labels_of_chosen_rows():
    x = mixture(500, 6, 9, 3)
    x[100:200] = x[:100]
    near = ChosenDistances(ArrayRows(x, 33), 2, labels=True)
    first, second = np.array([[5, 9], [7, 7]]), np.array([[105, 300], [400, 401]])
    near.add(x[first], [0, 0])
    near.add(x[second], [2, 2])
    for restart in range(2):
        chosen = np.concatenate([first[restart], second[restart]])
        distances = ((x[:, None].astype(np.float64) - x[chosen]) ** 2).sum(-1)
        # float32: six squares of differences, each rounded twice, and five sums of positive terms
        assert np.allclose(near.distance[restart], distances.min(1), rtol=8 * 2.0**-24, atol=0)
        assert (near.label[restart] == distances.argmin(1)).all()
        assert (near.distance[restart, chosen] == 0).all()
    assert near.label[0, 105] == 0 and near.label[1, 7] == 0  # duplicates: the first chosen


def test_what_float32_cannot_hold_is_named():
    x = mixture(50, 4, 3, 0)
    x[31] = 1e30
    with pytest.raises(LussError, match="row 31 is not finite, or so far"):
        ChosenDistances(ArrayRows(x, 20), 1).add(x[None, :1], [0])


# ---- both ways of choosing ------------------------------------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize(
    ("n", "d", "clusters", "restarts", "seed"), [(700, 5, 12, 3, 0), (150, 3, 40, 2, 2**40), (2500, 17, 6, 1, 5), (9, 2, 9, 2, 1)]
)
def test_same_rows_for_every_block_size_and_number_of_processes(choose, n, d, clusters, restarts, seed):
    x = mixture(n, d, 10, 1)
    rows = same_everywhere(x, lambda rows, exchange: choose(rows, clusters, restarts, seed, exchange))
    assert rows.shape == (restarts, clusters) and rows.dtype == np.int64
    assert all(len(set(line.tolist())) == clusters and min(line) >= 0 and max(line) < n for line in rows)


@BOTH
def test_threads_and_repetition_change_nothing_seed_and_restart_do(choose):
    x = mixture(800, 8, 5, 2, noise=1.0)
    runs = ((3, 1), (3, 2), (3, None), (4, 1))
    one, two, again, other = (alone(x, lambda r, e, s=seed, t=threads: choose(r, 10, 2, s, e, threads=t)) for seed, threads in runs)
    assert (one == two).all() and (one == again).all()
    assert (one != other).any() and (one[0] != one[1]).any()


@BOTH
def test_a_restart_is_the_same_among_others(choose):
    x = mixture(600, 4, 7, 6)
    assert (alone(x, lambda r, e: choose(r, 8, 3, 1, e))[:2] == alone(x, lambda r, e: choose(r, 8, 2, 1, e))).all()


@BOTH
def test_groups_far_apart_each_get_a_centroid(choose):
    x = mixture(1000, 6, 12, 4, noise=1e-4)  # within a group 1e-8 of the distances between groups
    rows = alone(x, lambda r, e: choose(r, 12, 5, 0, e))
    for line in rows:
        assert cost(x, x[line]) < 1e-4 * cost(x, x[line][:11])


@BOTH
@pytest.mark.parametrize("distinct", [1, 4, 10])
def test_fewer_distinct_rows_than_clusters(choose, distinct):
    random = np.random.default_rng(8)
    x = random.standard_normal((distinct, 3)).astype(np.float32)[random.integers(0, distinct, 200)]
    rows = same_everywhere(x, lambda r, e: choose(r, 25, 2, 3, e))
    for restart, line in enumerate(rows):
        assert len(set(line.tolist())) == 25 and len(np.unique(x[line[:distinct]], axis=0)) == distinct
        assert set(line[distinct:].tolist()) <= set(random_rows(200, 25, 3, restart).tolist())


@BOTH
def test_all_rows_are_centroids(choose):
    x = mixture(30, 4, 3, 9)
    assert sorted(alone(x, lambda r, e: choose(r, 30, 1, 0, e))[0].tolist()) == list(range(30))


@BOTH
def test_refusals_and_interruption(choose):
    x = mixture(20, 2, 3, 0)
    for clusters in (0, 21):
        with pytest.raises(ValueError, match=f"clusters: expected 1 to the number of rows, 20, found {clusters}"):
            alone(x, lambda r, e, c=clusters: choose(r, c, 1, 0, e))
    with pytest.raises(ValueError, match="restarts: expected at least 1, found 0"):
        alone(x, lambda r, e: choose(r, 3, 0, 0, e))
    asked = []

    def stop() -> bool:
        asked.append(True)
        return len(asked) == 3

    passes = []
    with pytest.raises(Interrupted):
        alone(x, lambda r, e: choose(r, 9, 1, 0, e, stop=stop, on_pass=lambda done, total: passes.append(done)))
    assert passes == [1, 2]


# ---- each alone -----------------------------------------------------------------------------------------------------------------------------------


def test_the_second_row_is_drawn_by_squared_distance():
    x = np.array([[0, 0], [1, 0], [0, 2], [3, 0], [0, 0], [1, 1]], np.float32)
    drawn = np.zeros((6, 6))
    for line in alone(x, lambda r, e: plus_plus_rows(r, 2, 6000, 5, e)):
        drawn[line[0], line[1]] += 1
    squares = ((x[:, None] - x) ** 2).sum(-1)
    expected = drawn.sum(1, keepdims=True) * squares / squares.sum(1, keepdims=True)
    assert drawn.sum() == 6000 and (drawn[squares == 0] == 0).all()
    assert (abs(drawn - expected) <= 5 * np.sqrt(expected)).all()


def test_plus_plus_takes_a_pass_a_step_and_gives_the_rows():
    x = mixture(300, 5, 6, 1)
    done, rows = [], ArrayRows(x, 50)
    numbers = alone(x, lambda r, e: plus_plus_rows(r, 7, 2, 0, e))
    found = run_ranks(1, lambda e: plus_plus(rows, 7, 2, 0, e, on_pass=lambda *pair: done.append(pair)))[0]
    assert found.dtype == np.float32 and (found == x[numbers]).all()
    assert rows.passes == 6 and done == [(i, 6) for i in range(1, 7)]
    assert [line[0] for line in numbers] == [random_rows(300, 1, 0, restart)[0] for restart in range(2)]


def test_parallel_takes_a_pass_a_round_and_gives_the_rows():
    x = mixture(4000, 5, 30, 1, noise=0.5)
    done, rows = [], ArrayRows(x, 500)
    numbers = alone(x, lambda r, e: parallel_plus_plus_rows(r, 20, 2, 0, e))
    found = run_ranks(1, lambda e: parallel_plus_plus(rows, 20, 2, 0, e, on_pass=lambda *pair: done.append(pair)))[0]
    assert found.dtype == np.float32 and (found == x[numbers]).all()
    assert rows.passes == 6 and done == [(i, 6) for i in range(1, 7)]


def test_parallel_goes_on_where_a_round_was_too_little():
    x = mixture(500, 3, 50, 7, noise=0.3)
    rows = ArrayRows(x, 100)
    found = run_ranks(1, lambda e: parallel_plus_plus_rows(rows, 40, 2, 0, e, oversampling=0.2, rounds=1))[0]
    assert rows.passes > 2 and all(len(set(line.tolist())) == 40 for line in found)
    with pytest.raises(ValueError, match="oversampling, rounds: expected above 0 and at least 1, found 0, 5"):
        alone(x, lambda r, e: parallel_plus_plus_rows(r, 4, 1, 0, e, oversampling=0))


def test_both_are_better_starts_than_random_rows():
    x = mixture(3000, 8, 40, 11, noise=0.2)
    random = np.mean([cost(x, x[random_rows(3000, 40, 0, restart)]) for restart in range(8)])
    for choose in (plus_plus_rows, parallel_plus_plus_rows):
        found = np.mean([cost(x, x[line]) for line in alone(x, lambda r, e, c=choose: c(r, 40, 8, 0, e))])
        assert found < 0.5 * random  # random rows leave out 1/e of the groups; the draws by distance hardly any


def test_a_round_picks_each_row_by_squared_distance_alone():
    distance = np.repeat(np.array([0, 0.5, 1, 2, 8, 100], np.float32), 3000)
    picked = np.bincount(_picked(distance, 0.1, 2, 0, 3, 50) - 50, minlength=18000)
    assert picked.max() == 1
    chance = np.minimum(0.1 * np.array([0, 0.5, 1, 2, 8, 100]), 1)
    spread = np.sqrt(3000 * chance * (1 - chance))
    assert (abs(picked.reshape(6, 3000).sum(1) - 3000 * chance) <= 5 * spread).all()


def test_candidates_are_reduced_by_weight_times_squared_distance():
    vectors = np.array([[0], [1], [3], [1], [7]], np.float32)
    weights = np.array([1, 4, 2, 0, 3])
    drawn = np.zeros((5, 5))
    for seed in range(3000):
        places = _weighted_plus_plus(vectors, weights, 2, seed, 0, 1)
        drawn[places[0], places[1]] += 1
    rates = weights * (vectors - vectors.T) ** 2
    expected = 3000 * weights[:, None] / weights.sum() * rates / np.maximum(rates.sum(1, keepdims=True), 1)
    assert drawn[:, 3].sum() == drawn[3].sum() == 0  # no weight, no chance
    assert (abs(drawn - expected) <= 5 * np.sqrt(expected)).all()
    assert sorted(_weighted_plus_plus(vectors, weights, 5, 0, 0, 1)) == [0, 1, 2, 4]
