"""Sums and counts of clusters on the CPU: against the reference to the bit, threads, NaN, empties, faults."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.ops.backend import backend
from engine.ops.centroid_sums import centroid_sums, centroid_sums_host
from engine.ops.centroid_sums_reference import centroid_sums as reference


def sample(seed, n, k, d, dtype=np.float32):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, d)).astype(dtype), rng.integers(0, k, n).astype(np.int32), k


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10_000), st.integers(0, 200), st.integers(1, 30), st.integers(1, 150),
    st.sampled_from([np.float32, np.float16]), st.sampled_from([1, 2, 3]),
)  # fmt: skip
def test_equals_the_reference_to_the_bit(seed, n, k, d, dtype, threads):
    """Both add float64 numbers in order of the rows."""
    given_ = sample(seed, n, k, d, dtype)
    sums, counts = centroid_sums_host(*given_, threads=threads)
    expected, numbers = reference(*given_)
    assert sums.dtype == np.float64 and counts.dtype == np.int64
    np.testing.assert_array_equal(sums, expected)
    np.testing.assert_array_equal(counts, numbers)


@pytest.mark.parametrize(("n", "k", "d"), [(3000, 50, 128), (500, 919, 512), (70, 5, 2048), (70, 5, 2049)])
def test_sizes_of_the_workloads(n, k, d):
    given_ = sample(1, n, k, d)
    for threads in (1, 2):
        np.testing.assert_array_equal(centroid_sums_host(*given_, threads=threads)[0], reference(*given_)[0])


def test_nan_and_infinity_stay_in_their_cluster():
    x, label, k = sample(2, 90, 4, 37)
    x[np.flatnonzero(label == 1)[0], 5] = np.nan
    x[np.flatnonzero(label == 2)[0], 6] = np.inf
    sums, _ = centroid_sums_host(x, label, k)
    bad = ~np.isfinite(sums)
    assert np.argwhere(bad).tolist() == [[1, 5], [2, 6]]
    np.testing.assert_array_equal(sums, reference(x, label, k)[0])


def test_clusters_without_rows():
    x, label, _ = sample(3, 10, 3, 8)
    sums, counts = centroid_sums_host(x, label, 6)
    assert (sums[3:] == 0).all() and (counts[3:] == 0).all() and counts.sum() == 10


def test_jittor_keeps_64_bits():
    given_ = sample(4, 50, 7, 19)
    sums, counts = centroid_sums(*given_)
    assert str(sums.dtype) == "float64" and str(counts.dtype) == "int64"
    np.testing.assert_array_equal(sums.numpy(), reference(*given_)[0])
    np.testing.assert_array_equal(counts.numpy(), reference(*given_)[1])


def test_reference_backend_and_by_hand():
    x, label = np.array([[1, 2], [3, 4], [5, 6]], np.float16), np.array([1, 0, 1], np.int32)
    with backend("reference"):
        sums, counts = centroid_sums_host(x, label, 3)
    assert sums.tolist() == [[3, 4], [6, 8], [0, 0]] and counts.tolist() == [1, 2, 0]


@pytest.mark.parametrize(
    ("x", "label", "clusters", "message"),
    [
        (np.zeros(3, np.float32), np.zeros(3, np.int32), 2, r"x: expected \(N, d\)"),
        (np.zeros((3, 2)), np.zeros(3, np.int32), 2, "x: .*float64"),
        (np.zeros((3, 2), np.float32), np.zeros(4, np.int32), 2, r"label: expected \(3,\) int32, found \(4,\)"),
        (np.zeros((3, 2), np.float32), np.zeros(3, np.int64), 2, "label: .*int64"),
        (np.zeros((3, 2), np.float32), np.array([0, 2, 1], np.int32), 2, r"label: expected 0\.\.1, found 0\.\.2"),
        (np.zeros((3, 2), np.float32), np.array([0, -1, 1], np.int32), 2, r"label: expected 0\.\.1, found -1\.\.1"),
        (np.zeros((3, 2), np.float32), np.zeros(3, np.int32), 0, "clusters: .*found 0"),
    ],
)
def test_refusals(x, label, clusters, message):
    with pytest.raises(ValueError, match=message):
        centroid_sums_host(x, label, clusters)
