"""Nearest centroid on the CPU: against the float64 reference, by laws, at the edges of float32, faults."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.ops.backend import backend
from engine.ops.nearest_centroid import nearest_centroid, nearest_centroid_counted, nearest_centroid_host
from engine.ops.nearest_centroid_reference import nearest_centroid as reference

MODES = ["fp32", "certified"]


def compare(x, centroids, cosine=False, mode="certified", threads=1):
    """Labels equal the reference's wherever float64 itself decides; scores are within what float32 additions round."""
    label, score = nearest_centroid_host(x, centroids, cosine=cosine, mode=mode, threads=threads)
    expected, value = reference(x, centroids, cosine=cosine)
    assert label.dtype == np.int32 and score.dtype == np.float32 and label.shape == score.shape == expected.shape
    np.testing.assert_array_equal(label, expected)
    sets = centroids.reshape(-1, *centroids.shape[-2:]).astype(np.float64)
    c = sets[np.arange(len(sets))[:, None], label.reshape(len(sets), len(x))]
    terms = np.abs(x.astype(np.float64) * c) if cosine else (x.astype(np.float64) - c) ** 2
    # A lane adds d / 32 terms, then 6 sums; a difference and its square round three times.
    bound = (x.shape[1] / 32 + 12) * 2.0**-24 * terms.sum(-1).reshape(score.shape) + 1e-44 * x.shape[1]
    known = ~np.isnan(value)
    np.testing.assert_array_equal(np.isnan(score), ~known)
    finite = known & np.isfinite(value) & np.isfinite(bound)
    assert (np.abs(score[finite].astype(np.float64) - value[finite]) <= bound[finite]).all()
    np.testing.assert_array_equal(score[known & ~finite], value[known & ~finite])


def sample(seed, n, k, d, sets=None, dtype=np.float32):
    rng = np.random.default_rng(seed)
    centroids = rng.standard_normal((k, d) if sets is None else (sets, k, d)).astype(np.float32)
    return rng.standard_normal((n, d)).astype(dtype), centroids


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10_000), st.integers(0, 70), st.integers(1, 70), st.integers(1, 90), st.sampled_from([None, 1, 3]),
    st.booleans(), st.sampled_from(MODES), st.sampled_from([np.float32, np.float16]), st.sampled_from([1, 2, 3]),
)  # fmt: skip
def test_equals_the_reference(seed, n, k, d, sets, cosine, mode, dtype, threads):
    compare(*sample(seed, n, k, d, sets, dtype), cosine, mode, threads)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("n", "k", "d"), [(600, 50, 128), (97, 919, 128), (65, 131, 511), (33, 40, 2048), (40, 7, 2049), (5, 4096, 16)])
def test_sizes_of_the_workloads(mode, n, k, d):
    compare(*sample(1, n, k, d), mode=mode)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 40), st.integers(2, 60), st.integers(1, 40), st.booleans(), st.sampled_from(MODES))
def test_ties_go_to_the_smallest_id(seed, n, k, d, cosine, mode):
    """Small whole numbers: all scores are exact, many are equal."""
    rng = np.random.default_rng(seed)
    x, centroids = rng.integers(-2, 3, (n, d)).astype(np.float32), rng.integers(-2, 3, (k, d)).astype(np.float32)
    compare(x, centroids[rng.integers(0, k, k)], cosine, mode)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("distance", [1e-3, 1e-5, 1e-7, 1e-8])
def test_near_ties_are_decided_exactly(mode, distance):
    """Clusters of centroids nearer to each other than float32 scores can tell, far from the origin."""
    rng = np.random.default_rng(3)
    middle = rng.standard_normal((8, 1, 64)) + 3
    centroids = (middle + distance * rng.standard_normal((8, 12, 64))).reshape(-1, 64).astype(np.float32)
    x = (middle[rng.integers(0, 8, 300), 0] + distance * rng.standard_normal((300, 64))).astype(np.float32)
    exact = ((x[:, None].astype(np.float64) - centroids) ** 2).sum(2)
    label, _, again = nearest_centroid_counted(x, centroids, mode=mode)
    assert sum(again) > 0, "nothing was decided again: the sample is too easy"
    # |x|^2 + |c|^2 is about 64 x 10 here, and float64 scores round by some 2^-53 of it, 64 times
    assert (exact[np.arange(300), label] <= exact.min(1) + 64 * 640 * 2.0**-53).all()
    np.testing.assert_array_equal(label, nearest_centroid_host(x, centroids, mode="fp32")[0])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("scale", [1e-44, 1e-30, 1e-20, 1e-12, 1e12, 1e18, 3e18, 1e19, 1e25, 3e37])
@pytest.mark.parametrize("cosine", [False, True])
def test_numbers_that_leave_the_range_of_float32(mode, scale, cosine):
    x, centroids = sample(5, 70, 30, 33)
    with np.errstate(over="ignore", under="ignore"):
        for left, right in ((scale, scale), (scale, 1), (1, scale), (1 / scale, scale)):
            scaled = [np.float32(factor) * array if np.isfinite(np.float32(factor)) else array for factor, array in ((left, x), (right, centroids))]
            label, _ = nearest_centroid_host(*scaled, cosine=cosine, mode=mode)
            c = scaled[1].astype(np.float64)
            scores = scaled[0].astype(np.float64) @ c.T - (0 if cosine else 0.5 * (c**2).sum(1))
            best = scores.max(1)
            # Scores in float64 differ by the order of their 34 additions at most.
            slack = 34 * 2.0**-52 * (np.abs(scaled[0].astype(np.float64)) @ np.abs(c).T + (0 if cosine else 0.5 * (c**2).sum(1))).max(1)
            assert (scores[np.arange(70), label] >= best - slack).all()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("cosine", [False, True])
def test_nan_and_infinity(mode, cosine):
    x, centroids = sample(7, 100, 37, 20)
    x[3, 4] = x[40] = np.nan
    x[5, 0], x[6, 19], x[7, 2:4] = np.inf, -np.inf, (np.inf, -np.inf)
    centroids[0, 1] = centroids[12] = np.nan
    centroids[20, 3] = np.inf
    centroids[21, 3] = -np.inf
    compare(x, centroids, cosine, mode)
    label, score = nearest_centroid_host(x, centroids, cosine=cosine, mode=mode)
    assert label[3] == label[40] == 0 and np.isnan(score[[3, 40]]).all()
    assert not np.isin(label[~np.isnan(score)], [0, 12]).any()
    all_nan = np.full((5, 20), np.nan, np.float32)
    label, score = nearest_centroid_host(x, all_nan, cosine=cosine, mode=mode)
    assert (label == 0).all() and np.isnan(score).all()


@pytest.mark.parametrize("mode", MODES)
def test_one_bad_centroid_leaves_the_others_fast(mode):
    x, centroids = sample(8, 500, 64, 32)
    centroids[5, 5] = np.nan
    *_, again = nearest_centroid_counted(x, centroids, mode=mode)
    assert again[1] == 0 and again[2] <= 5 and again[0] < 250


def test_same_bits_for_any_threads_and_any_company():
    x, centroids = sample(9, 1111, 60, 70, sets=2)
    centroids[:, 30:] = centroids[:, :30] + np.float32(1e-6)  # many rows are decided again
    whole = nearest_centroid_host(x, centroids, threads=1)
    for threads in (2, 5):
        for found, expected in zip(nearest_centroid_host(x, centroids, threads=threads), whole):
            np.testing.assert_array_equal(found, expected)
    order = np.random.default_rng(0).permutation(1111)
    for found, expected in zip(nearest_centroid_host(x[order], centroids), whole):
        np.testing.assert_array_equal(found, expected[:, order])
    for r in range(2):
        for found, expected in zip(nearest_centroid_host(x, centroids[r]), whole):
            np.testing.assert_array_equal(found, expected[r])


def test_more_near_centroids_than_are_noted():
    """Rows for which bfloat16, and then float32 as well, leave more than 8 centroids."""
    rng = np.random.default_rng(11)
    centroids = np.tile(rng.standard_normal((3, 48)).astype(np.float32), (20, 1))
    x = (centroids[rng.integers(0, 3, 100)] + 0.01 * rng.standard_normal((100, 48))).astype(np.float32)
    for mode in MODES:
        compare(x, centroids, mode=mode)
        assert nearest_centroid_counted(x, centroids, mode=mode)[2][2] == 100


def test_jittor_gives_the_same():
    from engine.runtime import jt

    x, centroids = sample(12, 30, 9, 17)
    label, score = nearest_centroid(jt.array(x), jt.array(centroids))
    expected = nearest_centroid_host(x, centroids)
    assert str(label.dtype) == "int32" and str(score.dtype) == "float32"
    np.testing.assert_array_equal(label.numpy(), expected[0])
    np.testing.assert_array_equal(score.numpy(), expected[1])
    assert tuple(nearest_centroid(x[:0], centroids)[0].shape) == (0,)


def test_reference_backend():
    x, centroids = sample(13, 30, 9, 17, sets=2)
    with backend("reference"):
        found = nearest_centroid_host(x, centroids)
    for array, expected in zip(found, reference(x, centroids)):
        np.testing.assert_array_equal(array, expected)


def test_reference_by_hand():
    x = np.array([[0, 0], [1, 2], [3, 3]], np.float16)
    centroids = np.array([[3, 4], [0, 1], [1, 0]], np.float32)
    label, score = reference(x, centroids)
    assert label.tolist() == [1, 1, 0] and score.tolist() == [1, 2, 1]
    label, score = reference(x, centroids, cosine=True)
    assert label.tolist() == [0, 0, 0] and score.tolist() == [0, 11, 21]


@pytest.mark.parametrize(
    ("x", "centroids", "options", "message"),
    [
        (np.zeros(3, np.float32), np.zeros((1, 3), np.float32), {}, r"x: expected \(N, d\) float32 or float16, found \(3,\)"),
        (np.zeros((2, 3)), np.zeros((1, 3), np.float32), {}, "x: expected .*float64"),
        (np.zeros((2, 0), np.float32), np.zeros((1, 0), np.float32), {}, r"d in 1\.\.65536, found \(2, 0\)"),
        (np.zeros((2, 3), np.float32), np.zeros((1, 4), np.float32), {}, r"centroids: expected \(\[R,\] K, 3\) .*found \(1, 4\)"),
        (np.zeros((2, 3), np.float32), np.zeros((0, 3), np.float32), {}, r"centroids: .*at least one.*found \(0, 3\)"),
        (np.zeros((2, 3), np.float32), np.zeros((1, 3)), {}, "centroids: .*float64"),
        (np.zeros((2, 3), np.float32), np.zeros((1, 3), np.float32), {"mode": "fast"}, "mode: expected one of auto, fp32, certified, found 'fast'"),
        (np.zeros((2, 3), np.float32), np.zeros((1, 3), np.float32), {"threads": 0}, "threads=0"),
    ],
)
def test_refusals(x, centroids, options, message):
    with pytest.raises(ValueError, match=message):
        nearest_centroid_host(x, centroids, **options)
