"""Rows of unit length on the CPU: against the reference, by hand, threads and blocks, NaN, zeros, faults."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.ops.backend import backend
from engine.ops.unit_rows import row_squares_host, unit_rows, unit_rows_host
from engine.ops.unit_rows_reference import unit_rows as reference


def sample(seed, m, d, dtype=np.float32, scale=1.0):
    return (scale * np.random.default_rng(seed).standard_normal((m, d))).astype(dtype)


def squares_in_order(row):
    """The documented order of additions, in Python."""
    sums = [0.0] * 32
    for p, value in enumerate(row.tolist()):
        sums[p % 32] += value * value
    while len(sums) > 1:
        half = len(sums) // 2
        sums = [sums[i] + sums[i + half] for i in range(half)]
    return sums[0]


def check(x, threads=1):
    out, squares = unit_rows_host(x, threads=threads)
    expected, _ = reference(x)
    assert out.dtype == np.float32 and squares.dtype == np.float64
    # float64 loses some d 2^-53, which can move a float32 by one place where it is at the middle of two; below 2^-126 places are 2^-149
    np.testing.assert_allclose(out, expected, rtol=2.0**-23, atol=2.0**-149)
    assert squares.tolist() == [squares_in_order(row) for row in out]
    assert row_squares_host(x, threads=threads).tolist() == [squares_in_order(row) for row in x]


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10_000), st.integers(0, 40), st.integers(1, 150), st.sampled_from([np.float32, np.float16]), st.sampled_from([1, 2, 3]),
    st.sampled_from([1.0, 1e-3, 60.0]),
)  # fmt: skip
def test_equals_the_reference(seed, m, d, dtype, threads, scale):
    check(sample(seed, m, d, dtype, scale), threads)


@pytest.mark.parametrize("d", [128, 512, 2048, 2049])
def test_sizes_of_the_workloads(d):
    check(sample(d, 70, d), 2)


def test_by_hand():
    out, squares = unit_rows_host(np.array([[3, 4], [0, 0], [-5e-8, 0]], np.float32))
    assert out[0].tolist() == [np.float32(3 / (5 + 1e-8)), np.float32(4 / (5 + 1e-8))] and not out[1].any() and squares[1] == 0
    assert out[2, 0] == pytest.approx(-5 / 6, rel=1e-6)  # 1e-8 beside a length of 5e-8


def test_a_row_depends_on_itself_alone():
    x = sample(1, 301, 77)
    whole, squares = unit_rows_host(x, threads=3)
    for step in (1, 7, 64):
        parts = [unit_rows_host(x[i : i + step], threads=1) for i in range(0, len(x), step)]
        assert np.concatenate([p[0] for p in parts]).tobytes() == whole.tobytes()
        assert np.concatenate([p[1] for p in parts]).tobytes() == squares.tobytes()


def test_in_place_and_into_a_given_array():
    x = sample(2, 30, 45)
    expected, squares = unit_rows_host(x)
    space = np.full((30, 45), np.nan, np.float32)
    out, found = unit_rows_host(x, space)
    assert out is space and space.tobytes() == expected.tobytes() and found.tobytes() == squares.tobytes()
    out, found = unit_rows_host(x, x)
    assert out is x and x.tobytes() == expected.tobytes() and found.tobytes() == squares.tobytes()


@pytest.mark.parametrize("d", [5, 64, 70])
def test_rows_that_are_not_finite_are_seen_in_their_squares(d):
    x = sample(3, 6, d)
    x[1, d - 1], x[3, 0], x[4, d // 2] = np.nan, np.inf, -np.inf
    for found in (unit_rows_host(x)[1], row_squares_host(x), row_squares_host(x.astype(np.float16))):
        assert np.isfinite(found).tolist() == [True, False, True, False, False, True]
    clean = x[[0, 2, 5]]
    assert unit_rows_host(x)[0][[0, 2, 5]].tobytes() == unit_rows_host(clean)[0].tobytes()


def test_the_largest_and_the_smallest_numbers():
    largest, smallest = np.finfo(np.float32).max, np.float32(1e-45)
    out, squares = unit_rows_host(np.array([[largest, largest], [smallest, 0]], np.float32))
    np.testing.assert_allclose(out[0], np.sqrt(0.5), rtol=2.0**-23)
    assert np.isfinite(squares).all() and out[1, 0] == np.float32(smallest / 1e-8)


def test_on_jittor():
    x = sample(6, 21, 37)
    out, squares = unit_rows(x)
    assert str(squares.dtype) == "float64" and out.numpy().tobytes() == unit_rows_host(x)[0].tobytes()
    assert squares.numpy().tobytes() == unit_rows_host(x)[1].tobytes()
    assert [part.shape[0] for part in unit_rows(x[:0])] == [0, 0]


def test_reference_backend():
    x = sample(4, 9, 33, np.float16)
    with backend("reference"):
        out, squares = unit_rows_host(x)
        alone = row_squares_host(x)
    assert out.tobytes() == reference(x)[0].tobytes() and squares.tobytes() == reference(x)[1].tobytes()
    np.testing.assert_allclose(alone, row_squares_host(x), rtol=33 * 2.0**-53)  # additions in another order


@pytest.mark.parametrize(
    ("x", "out", "message"),
    [
        (np.zeros(3, np.float32), None, r"x: expected \(m, d\) float32 or float16, found \(3,\)"),
        (np.zeros((3, 0), np.float32), None, r"x: .*\(3, 0\)"),
        (np.zeros((3, 2)), None, "x: .*float64"),
        (np.zeros((3, 2), np.float32), np.zeros((3, 3), np.float32), r"out: expected \(3, 2\) float32.*found \(3, 3\)"),
        (np.zeros((3, 2), np.float32), np.zeros((3, 2)), "out: .*float64"),
        (np.zeros((3, 2), np.float32), np.zeros((2, 3), np.float32).T, "out: .*C-ordered"),
    ],
)
def test_refusals(x, out, message):
    with pytest.raises(ValueError, match=message):
        unit_rows_host(x, out)


def test_an_overlapping_result_is_refused():
    x = np.zeros((5, 4), np.float32)
    with pytest.raises(ValueError, match="out: .*a part of x"):
        unit_rows_host(x[1:], x[:-1])
