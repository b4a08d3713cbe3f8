"""Rows in another basis on the CPU: against the reference, threads and blocks, NaN, faults."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.ops.backend import backend
from engine.ops.project_rows import project_rows, project_rows_host
from engine.ops.project_rows_reference import project_rows as reference


def sample(seed, m, d, p, dtype=np.float32):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((m, d)).astype(dtype), rng.standard_normal(d).astype(np.float32), rng.standard_normal((d, p)).astype(np.float32)


def check(x, mean, basis, threads=1):
    found = project_rows_host(x, mean, basis, threads=threads)
    assert found.dtype == np.float32 and found.shape == (len(x), basis.shape[1])
    # a term meets the rounding of its difference, at most two a step of the sum (without fused multiply-adds), and that of the block it is in
    size = np.abs(x.astype(np.float64) - mean) @ np.abs(basis).astype(np.float64)
    assert (np.abs(found - reference(x, mean, basis)) <= (2 * x.shape[1] + 4) * 2.0**-24 * size).all()


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10_000), st.integers(0, 140), st.integers(1, 90), st.integers(1, 50),
    st.sampled_from([np.float32, np.float16]), st.sampled_from([1, 2, 3]),
)  # fmt: skip
def test_equals_the_reference(seed, m, d, p, dtype, threads):
    check(*sample(seed, m, d, p, dtype), threads)


@pytest.mark.parametrize(("m", "d", "p"), [(300, 512, 128), (70, 2048, 128), (70, 2049, 37), (40, 193, 600)])
def test_sizes_of_the_workloads(m, d, p):
    check(*sample(1, m, d, p), 2)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_a_row_depends_on_itself_alone(dtype):
    x, mean, basis = sample(2, 601, 203, 29, dtype)
    whole = project_rows_host(x, mean, basis, threads=3)
    for step in (1, 7, 64, 300):
        parts = [project_rows_host(x[i : i + step], mean, basis, threads=1) for i in range(0, len(x), step)]
        assert np.concatenate(parts).tobytes() == whole.tobytes()
    order = np.random.default_rng(0).permutation(len(x))
    assert project_rows_host(x[order], mean, basis, threads=2).tobytes() == whole[order].tobytes()


def test_nan_and_infinity_stay_in_their_row():
    x, mean, basis = sample(3, 80, 50, 20)
    clean = project_rows_host(x, mean, basis)
    x[5, 7], x[41, 0] = np.nan, np.inf
    found = project_rows_host(x, mean, basis)
    assert np.flatnonzero(~np.isfinite(found).all(1)).tolist() == [5, 41]
    others = np.setdiff1d(np.arange(80), [5, 41])
    assert found[others].tobytes() == clean[others].tobytes()


def test_by_hand_into_a_given_array_and_the_reference_backend():
    x, mean, basis = np.array([[1, 2], [3, 5]], np.float16), np.array([1, 1], np.float32), np.array([[1, 0, 2], [0, 1, -1]], np.float32)
    out = np.full((2, 3), np.nan, np.float32)
    assert project_rows_host(x, mean, basis, out) is out and out.tolist() == [[0, 1, -1], [2, 4, 0]]
    with backend("reference"):
        assert project_rows_host(x, mean, basis).tolist() == [[0, 1, -1], [2, 4, 0]]


def test_on_jittor():
    given_ = sample(4, 33, 40, 13)
    assert project_rows(*given_).numpy().tobytes() == project_rows_host(*given_).tobytes()
    assert project_rows(given_[0][:0], *given_[1:]).shape == [0, 13]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": np.zeros((3, 2))}, "x: .*float64"),
        ({"x": np.zeros(2, np.float32)}, r"x: expected \(m, d\)"),
        ({"mean": np.zeros(3, np.float32)}, r"mean: expected \(2,\) float32, found \(3,\)"),
        ({"mean": np.zeros(2)}, "mean: .*float64"),
        ({"basis": np.zeros((3, 2), np.float32)}, r"basis: expected \(2, p\) float32, found \(3, 2\)"),
        ({"basis": np.zeros((2, 0), np.float32)}, r"basis: .*found \(2, 0\)"),
        ({"out": np.zeros((3, 5), np.float32)}, r"out: expected \(3, 4\) float32.*found \(3, 5\)"),
    ],
)
def test_refusals(change, message):
    arguments = {"x": np.zeros((3, 2), np.float32), "mean": np.zeros(2, np.float32), "basis": np.zeros((2, 4), np.float32), **change}
    with pytest.raises(ValueError, match=message):
        project_rows_host(**arguments)


def test_a_result_on_top_of_an_argument_is_refused():
    x = np.zeros((4, 4), np.float32)
    with pytest.raises(ValueError, match="out: expected memory of its own"):
        project_rows_host(x, x[0].copy(), x.copy(), x)
