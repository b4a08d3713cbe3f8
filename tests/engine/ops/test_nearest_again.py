"""NearestAgain: labels equal nearest_centroid's through whole runs of k-means, bounds hold in float64, at the edges of float32, faults."""

import gc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.ops.backend import backend
from engine.ops.nearest_again import NearestAgain
from engine.ops.nearest_again_reference import nearest_again as reference
from engine.ops.nearest_centroid import nearest_centroid_host

MODES = ["fp32", "certified"]


def unknown(sets, count):
    return np.full((sets, count), -1, np.int32), np.full((sets, count), -np.inf, np.float32)


def distances(x, centroids):
    """(R, N, K) in float64."""
    return np.sqrt(((x.astype(np.float64)[:, None] - centroids.astype(np.float64)[:, None]) ** 2).sum(-1))


def check(x, centroids, label, lower, cosine=False):
    np.testing.assert_array_equal(label, nearest_centroid_host(x, centroids, cosine=cosine)[0])
    if cosine:
        assert np.isneginf(lower).all()
        return
    with np.errstate(invalid="ignore", over="ignore"):
        others = distances(x, centroids)
    np.put_along_axis(others, label[..., None].astype(np.int64), np.inf, 2)
    others[np.isnan(others)] = np.inf  # a centroid of NaN is nearest to nobody
    # A distance in float64 is off by d roundings of 2^-53 of itself, less than the 1e-11 here for d up to 65536.
    bad = ~np.isfinite(x.astype(np.float64)).all(1)
    assert np.isneginf(lower[:, bad]).all()
    assert (lower[:, ~bad] <= others.min(2)[:, ~bad] * (1 + 1e-11)).all()


def means(x, label, before):
    """Lloyd's update; clusters without rows stay."""
    after = before.copy()
    for r in range(len(before)):
        for j in np.unique(label[r]):
            after[r, j] = x[label[r] == j].astype(np.float64).mean(0)
    return after


def sample(kind, rng, n, d, dtype):
    if kind == "unit":
        x = rng.standard_normal((n, d)) + 2 * rng.standard_normal((7, d))[rng.integers(0, 7, n)]
        return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(dtype)
    if kind == "duplicates":
        return rng.standard_normal((5, d)).astype(dtype)[rng.integers(0, 5, n)]
    if kind == "whole numbers":  # ties
        return rng.integers(-2, 3, (n, d)).astype(dtype)
    if kind == "far away":
        return (rng.standard_normal((n, d)) + 100).astype(dtype)
    x = rng.standard_normal((n, d)).astype(dtype)  # rows without direction, without value, of other lengths
    x[rng.random(n) < 0.2] = 0
    x[rng.random(n) < 0.2] *= 50
    x[rng.random(n) < 0.1, rng.integers(0, d)] = np.nan
    x[rng.random(n) < 0.1, rng.integers(0, d)] = np.inf
    return x


KINDS = ["unit", "duplicates", "whole numbers", "far away", "mixed"]


@settings(max_examples=120, deadline=None)
@given(
    st.integers(0, 10_000), st.sampled_from(KINDS), st.integers(0, 400), st.integers(1, 90), st.integers(1, 140), st.sampled_from([1, 3]),
    st.integers(1, 6), st.booleans(), st.sampled_from(MODES), st.sampled_from([np.float32, np.float16]), st.sampled_from([1, 2]),
)  # fmt: skip
def test_runs_of_k_means(seed, kind, n, k, d, sets, iterations, cosine, mode, dtype, threads):
    rng = np.random.default_rng(seed)
    x = sample(kind, rng, n, d, dtype)
    clean = x[np.isfinite(x).all(1)].astype(np.float32)
    centroids = clean[rng.integers(0, len(clean), (sets, k))] if len(clean) else rng.standard_normal((sets, k, d)).astype(np.float32)
    label, lower = unknown(sets, n)
    before = None
    for _ in range(iterations):
        with NearestAgain(centroids, before, cosine=cosine, mode=mode, threads=threads) as again:
            again(x, label, lower)
            assert sum(again.work[name] for name in ("settled", "prefix", "full")) <= sets * n
        check(x, centroids, label, lower, cosine)
        finite = np.isfinite(x).all(1)
        before, centroids = centroids, means(x[finite], label[:, finite], centroids)


def moving(seed=0, n=3000, d=32, k=100, sets=2, moved=7):
    """Rows, centroids near them, and centroids of which only some have moved, by little."""
    rng = np.random.default_rng(seed)
    before = rng.standard_normal((sets, k, d)).astype(np.float32)
    x = (before[0][rng.integers(0, k, n)] + 0.4 * rng.standard_normal((n, d))).astype(np.float32)
    centroids = before.copy()
    where = rng.choice(k, moved, replace=False)
    centroids[:, where] += 0.3 * rng.standard_normal((sets, moved, d)).astype(np.float32)
    return x, before, centroids


@pytest.mark.parametrize("mode", MODES)
def test_little_is_computed_where_little_moved(mode):
    x, before, centroids = moving()
    label, lower = unknown(2, len(x))
    with NearestAgain(before, mode=mode) as again:
        again(x, label, lower)
        assert again.work["full"] == 2 * len(x)
    check(x, before, label, lower)
    with NearestAgain(centroids, before, mode=mode) as again:
        again(x, label, lower)
        assert again.work["full"] < 0.2 * 2 * len(x) and again.work["prefix"] > 0.2 * 2 * len(x)
    check(x, centroids, label, lower)
    with NearestAgain(centroids, centroids, mode=mode) as again:
        again(x, label, lower)
        assert again.work["settled"] > 0.99 * 2 * len(x)
    check(x, centroids, label, lower)


@pytest.mark.parametrize("mode", MODES)
def test_a_prefix_finds_the_new_nearest(mode):
    """Every row's new nearest is a centroid that jumped next to it: rows of which the bound lets only the jumped ones near."""
    x, before, _ = moving(1, sets=1)
    label, lower = unknown(1, len(x))
    with NearestAgain(before, mode=mode) as again:
        again(x, label, lower)
    centroids = before.copy()
    jumped = [3, 50, 99]
    centroids[0, jumped] = x[[10, 20, 30]] + np.float32(0.01)
    with NearestAgain(centroids, before, mode=mode) as again:
        again(x, label, lower)
    check(x, centroids, label, lower)
    assert label[0, [10, 20, 30]].tolist() == jumped


def test_labels_depend_on_nothing_but_rows_and_centroids():
    x, before, centroids = moving(2, n=5000)
    expected, bound = unknown(2, len(x))
    for c, b in ((before, None), (centroids, before)):
        with NearestAgain(c, b, threads=1) as again:
            again(x, expected, bound)
    results = []
    for threads, block in ((3, 5000), (2, 777), (1, 64)):
        label, lower = unknown(2, len(x))
        for c, b in ((before, None), (centroids, before)):
            with NearestAgain(c, b, threads=threads) as again:
                for first in range(0, len(x), block):
                    part = slice(first, first + block)
                    part_label, part_lower = label[:, part].copy(), lower[:, part].copy()
                    again(x[part], part_label, part_lower)
                    label[:, part], lower[:, part] = part_label, part_lower
        check(x, centroids, label, lower)
        results.append((label, lower))
    for label, _ in results:
        np.testing.assert_array_equal(label, expected)
    np.testing.assert_array_equal(results[0][1], bound)  # the bounds of a call do not depend on threads
    order = np.random.default_rng(0).permutation(len(x))
    label, lower = unknown(2, len(x))
    with NearestAgain(centroids) as again:
        again(x[order], label, lower)
    np.testing.assert_array_equal(label, expected[:, order])


@pytest.mark.parametrize("mode", MODES)
def test_any_label_may_come_in(mode):
    x, _, centroids = moving(3, n=700)
    rng = np.random.default_rng(0)
    for low, high in ((0, 100), (-5, 300), (-(2**31), 2**31)):
        label, lower = unknown(2, len(x))
        label[:] = rng.integers(low, high, label.shape)
        with NearestAgain(centroids, mode=mode) as again:
            again(x, label, lower)
        check(x, centroids, label, lower)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("cosine", [False, True])
@pytest.mark.parametrize("scale", [1e-44, 1e-30, 1e-20, 1e-16, 1e-12, 1e12, 1e15, 1e18, 1e19, 1e25, 3e37])
def test_numbers_that_leave_the_range_of_float32(mode, cosine, scale):
    rng = np.random.default_rng(5)
    rows, c = rng.standard_normal((70, 33)).astype(np.float32), rng.standard_normal((2, 30, 33)).astype(np.float32)
    with np.errstate(over="ignore", under="ignore"):
        for left, right in ((scale, scale), (scale, 1), (1, scale)):
            x, centroids = np.float32(left) * rows, np.float32(right) * c
            label, lower = unknown(2, 70)
            for before in (None, centroids):
                with NearestAgain(centroids, before, cosine=cosine, mode=mode) as again:
                    again(x, label, lower)
                check(x, centroids, label, lower, cosine)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("cosine", [False, True])
def test_nan_and_infinity(mode, cosine):
    rng = np.random.default_rng(7)
    x, centroids = rng.standard_normal((100, 20)).astype(np.float32), rng.standard_normal((1, 37, 20)).astype(np.float32)
    x[3, 4] = x[40] = np.nan
    x[5, 0], x[6, 19], x[7, 2:4] = np.inf, -np.inf, (np.inf, -np.inf)
    centroids[0, 0, 1] = centroids[0, 12] = np.nan
    for infinite in (False, True):
        if infinite:
            centroids[0, 20, 3], centroids[0, 21, 3] = np.inf, -np.inf
        label, lower = unknown(1, 100)
        for before in (None, centroids, centroids):
            with NearestAgain(centroids, before, cosine=cosine, mode=mode) as again:
                again(x, label, lower)
            check(x, centroids, label, lower, cosine)
    centroids[:] = np.nan
    label, lower = unknown(1, 100)
    with NearestAgain(centroids, cosine=cosine, mode=mode) as again:
        again(x, label, lower)
    assert (label == 0).all() and np.isneginf(lower).all()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("values", [(np.nan, np.inf), (np.inf, np.nan), (np.nan, np.inf, -np.inf), (np.inf, 2e19, np.nan)])
def test_no_centroid_is_near(mode, values):
    """A centroid at infinity has no score above minus infinity, so the smallest id wins, not the first without NaN."""
    x = np.random.default_rng(19).standard_normal((6, 5)).astype(np.float32)
    centroids = np.zeros((1, len(values), 5), np.float32)
    centroids[0, :, 1] = values
    for incoming in range(-1, len(values)):
        label, lower = unknown(1, 6)
        label[:] = incoming
        for before in (None, centroids):
            with NearestAgain(centroids, before, mode=mode) as again:
                again(x, label, lower)
            check(x, centroids, label, lower)


@pytest.mark.parametrize("mode", MODES)
def test_cosine_leaves_bounds_alone(mode):
    x = np.random.default_rng(23).standard_normal((9, 5)).astype(np.float32)
    centroids = x[None, :4].copy()
    x[3], x[4, 1], x[5] = np.nan, np.inf, 0
    label, lower = np.full((1, 9), -1, np.int32), np.full((1, 9), 0.25, np.float32)
    with NearestAgain(centroids, cosine=True, mode=mode) as again:
        again(x, label, lower)
    np.testing.assert_array_equal(label, nearest_centroid_host(x, centroids, cosine=True)[0])
    assert (lower == 0.25).all()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("scale", [1e-19, 3e-20, 1e-20, 1e-21, 1e-22])
@pytest.mark.parametrize("d", [1, 2, 3])
def test_steps_whose_product_vanishes(mode, scale, d):
    """A row and centroids so small that one over the product of their bytes' steps is beyond float32: each row comes in with a wrong label."""
    centroids = np.repeat(np.float32(scale) * np.array([1, -1, 0.01, -0.02, 0.5, -0.4], np.float32)[:, None], d, 1)[None].copy()
    x = np.zeros((6, d), np.float32)
    label, lower = unknown(1, 6)
    label[:] = np.arange(6)
    with NearestAgain(centroids, mode=mode) as again:
        again(x, label, lower)
    check(x, centroids, label, lower)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("d", [128, 512, 2048, 8192, 65536])
def test_squares_that_all_round_up(mode, d):
    """A lane's first square is 1, all others are a little over half of its last place, so each addition makes the sum too large; those of the
    distance to centroid 0 are a little under it, so there all are lost. All centroids are near zero: nothing else blurs the comparison."""
    rest = np.float32((2.0**-24 * 1.02) ** 0.5)
    x = np.full((1, d), rest, np.float32)
    x[0, :16] = 1
    near = np.random.default_rng(1).standard_normal((8, d)).astype(np.float32) * np.float32(4e-5 / d**0.5)
    near[0, :16], near[0, 16:] = 0, rest * np.float32(0.02)
    centroids = np.concatenate([near, -near])[None].copy()
    for incoming in range(-1, 16):
        label, lower = unknown(1, 1)
        label[:] = incoming
        with NearestAgain(centroids, mode=mode) as again:
            again(x, label, lower)
        check(x, centroids, label, lower)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("copies", "distance"), [(100, 0.0), (100, 1e-7), (30, 1e-5)])
def test_more_near_centroids_than_are_noted(mode, copies, distance):
    rng = np.random.default_rng(11)
    centroids = np.tile(rng.standard_normal((3, 48)), (copies, 1))
    centroids = (centroids + distance * rng.standard_normal(centroids.shape)).astype(np.float32)[None]
    x = (centroids[0, rng.integers(0, 3, 100)] + 0.01 * rng.standard_normal((100, 48))).astype(np.float32)
    label, lower = unknown(1, 100)
    for before in (None, centroids):
        with NearestAgain(centroids, before, mode=mode) as again:
            again(x, label, lower)
            if before is None:
                assert again.work["float64"] > 0
                assert again.work["scanned"] == 100 if distance == 0 else again.work["scanned"] == 0 or copies == 100
        check(x, centroids, label, lower)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("n", "k", "d"), [(300, 50, 128), (97, 919, 128), (65, 131, 511), (33, 40, 2048), (40, 7, 2049), (5, 4096, 16), (64, 1, 3)])
def test_sizes_of_the_workloads(mode, n, k, d):
    rng = np.random.default_rng(1)
    x, before = rng.standard_normal((n, d)).astype(np.float32), rng.standard_normal((1, k, d)).astype(np.float32)
    centroids = before + np.float32(0.02) * rng.standard_normal((1, k, d)).astype(np.float32)
    label, lower = unknown(1, n)
    for c, b in ((before, None), (centroids, before)):
        with NearestAgain(c, b, mode=mode) as again:
            again(x, label, lower)
        check(x, c, label, lower)


def test_reference_backend_and_reference():
    x, _, centroids = moving(13, n=300)
    label, lower = unknown(2, 300)
    with backend("reference"), NearestAgain(centroids) as again:
        again(x, label, lower)
    check(x, centroids, label, lower)
    expected = reference(x, centroids)
    np.testing.assert_array_equal(label, expected[0])
    np.testing.assert_array_equal(lower, expected[1])
    with NearestAgain(centroids) as again:
        again(x, label, lower)
    check(x, centroids, label, lower)


def test_reference_by_hand():
    x = np.array([[0, 0], [3, 3], [np.nan, 1]], np.float16)
    label, lower = reference(x, np.array([[[3, 4], [0, 1], [2, 0]]], np.float32))
    assert label.tolist() == [[1, 0, 0]]
    np.testing.assert_allclose(lower, [[2, 10**0.5, -np.inf]], rtol=2.0**-22)
    assert (lower[0, :2] < [2, 10**0.5]).all()


def test_closing():
    x, _, centroids = moving(14, n=10)
    again = NearestAgain(centroids)
    again.close()
    again.close()
    with pytest.raises(ValueError, match="closed"):
        again(x, *unknown(2, 10))
    again = NearestAgain(centroids)
    alive = again._close
    del again
    gc.collect()
    assert not alive.alive


CENTROIDS = np.zeros((2, 3, 4), np.float32)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((CENTROIDS[0],), {}, r"centroids: expected \(R, K, d\) float32.*found \(3, 4\)"),
        ((CENTROIDS[:, :0],), {}, r"centroids: .*found \(2, 0, 4\)"),
        ((CENTROIDS.astype("f8"),), {}, "centroids: .*float64"),
        ((CENTROIDS, CENTROIDS[:1]), {}, r"before: expected \(2, 3, 4\) float32, found \(1, 3, 4\)"),
        ((CENTROIDS,), {"mode": "fast"}, "mode: expected one of auto, fp32, certified, found 'fast'"),
        ((CENTROIDS,), {"threads": 0}, "threads=0"),
    ],
)
def test_refusals_of_centroids(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        NearestAgain(*arguments, **options)


X, LABEL, LOWER = np.zeros((5, 4), np.float32), np.zeros((2, 5), np.int32), np.zeros((2, 5), np.float32)


@pytest.mark.parametrize(
    ("x", "label", "lower", "message"),
    [
        (X[:, :3], LABEL, LOWER, r"x: expected \(m, 4\) float32 or float16, found \(5, 3\)"),
        (X.astype("f8"), LABEL, LOWER, "x: .*float64"),
        (X, LABEL[:1], LOWER, r"label: expected .*\(2, 5\) int32, found \(1, 5\)"),
        (X, LABEL.astype("i8"), LOWER, "label: .*int64"),
        (X, np.zeros((5, 2), np.int32).T, LOWER, "label: expected a writeable C-ordered"),
        (X, LABEL, LOWER.astype("f8"), "lower: .*float64"),
    ],
)
def test_refusals_of_rows(x, label, lower, message):
    with NearestAgain(CENTROIDS) as again, pytest.raises(ValueError, match=message):
        again(x, label, lower)
