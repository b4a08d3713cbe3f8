"""Fixed-point sums of clusters on the CPU: against the reference to the bit, moves, threads, labels of no cluster, rounding, faults."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.ops.backend import backend
from engine.ops.fixed_sums import fixed_sums, fixed_sums_host, move_rows_host
from engine.ops.fixed_sums_reference import fixed_sums as reference
from engine.runtime import jt


def sample(seed, n, k, d, dtype=np.float32, sets=None):
    rng = np.random.default_rng(seed)
    shape = n if sets is None else (sets, n)
    return rng.uniform(-1, 1, (n, d)).astype(dtype), rng.integers(-1, k + 1, shape).astype(np.int32), k


def check_same(found, expected):
    for one, other in zip(found, expected):
        assert one.dtype == np.int64
        np.testing.assert_array_equal(one, other)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10_000), st.integers(0, 200), st.integers(1, 30), st.integers(1, 150), st.sampled_from([np.float32, np.float16]),
    st.sampled_from([1, 2, 3, 7]), st.sampled_from([None, 1, 2, 5]), st.integers(0, 54),
)  # fmt: skip
def test_equals_the_reference_to_the_bit(seed, n, k, d, dtype, threads, sets, bits):
    """200 rows of numbers of at most 2^54 in size stay below 2^62."""
    given_ = sample(seed, n, k, d, dtype, sets)
    check_same(fixed_sums_host(*given_, bits, threads=threads), reference(*given_, bits))


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10_000), st.integers(0, 1500), st.integers(1, 9), st.integers(1, 70), st.integers(1, 4), st.sampled_from([1, 2, 3, 7]),
    st.sampled_from([np.float32, np.float16]), st.floats(0, 1),
)  # fmt: skip
def test_any_sequence_of_moves_ends_at_the_sums_of_the_last_labels(seed, n, k, d, sets, threads, dtype, share):
    rng = np.random.default_rng(seed)
    x, _, _ = sample(seed, n, k, d, dtype)
    sums, counts = np.zeros((sets, k, d), np.int64), np.zeros((sets, k), np.int64)
    before = np.full((sets, n), -1, np.int32)
    for _ in range(3):
        after = np.where(rng.random((sets, n)) < share, rng.integers(-1, k, (sets, n)), before).astype(np.int32)
        moved = move_rows_host(x, before, after, sums, counts, 40, threads=threads)
        assert moved.dtype == np.int64 and moved.tolist() == (before != after).sum(1).tolist()
        check_same((sums, counts), reference(x, after, k, 40))
        before = after


@pytest.mark.parametrize("bits", [0, 24, 31, 38, 50, 62])
def test_every_size_of_number_is_rounded_half_to_even(bits):
    """Exact to the last bit up to 2^62, ties among them; numbers below a unit, subnormals too, become 0."""
    rng = np.random.default_rng(bits)
    wide = np.ldexp(rng.uniform(0.5, 1, 4000), rng.integers(-160, 63 - bits, 4000)) * rng.choice([-1, 1], 4000)
    ties = np.ldexp(np.arange(-4096, 4096) + 0.5, -bits)
    for x in (wide.astype(np.float32), ties.astype(np.float32), ties.astype(np.float32)[1:-3]):
        expected = [round(float(value) * 2**bits) for value in x]  # Python rounds half to even
        for columns in (x[None], x[:, None]):  # in vectors, and alone
            label = np.arange(len(columns), dtype=np.int32)
            assert fixed_sums_host(columns, label, len(columns), bits, threads=1)[0].ravel().tolist() == expected


def test_halves_are_exact_with_24_bits():
    halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    halves = halves[np.isfinite(halves)]
    x = np.resize(halves, (len(halves) // 31 + 1, 31))
    sums, _ = fixed_sums_host(x, np.arange(len(x), dtype=np.int32), len(x), 24)
    np.testing.assert_array_equal(sums * 2.0**-24, x.astype(np.float64))


@pytest.mark.parametrize(("n", "k", "d", "sets"), [(3000, 50, 128, 3), (500, 919, 512, 2), (70, 5, 2048, None), (70, 5, 2049, 1)])
def test_sizes_of_the_workloads_in_any_order_of_rows(n, k, d, sets):
    x, label, k = sample(1, n, k, d, sets=sets)
    expected = reference(x, label, k, 42)
    order = np.random.default_rng(2).permutation(n)
    for threads in (1, 2, 5):
        check_same(fixed_sums_host(x, label, k, 42, threads=threads), expected)
        check_same(fixed_sums_host(x[order], label[..., order], k, 42, threads=threads), expected)


def test_numbers_out_of_range_spoil_their_own_sums_only():
    x, label, k = sample(2, 90, 4, 37, sets=2)
    expected, _ = reference(x, label, k, 40)
    x[7, 5], x[8, 6], x[9, 36] = np.nan, np.inf, -3e38
    sums, _ = fixed_sums_host(x, label, k, 40)
    spoilt = {(r, int(label[r, row]), column) for r in range(2) for row, column in ((7, 5), (8, 6), (9, 36))}
    assert {tuple(place) for place in np.argwhere(sums != expected).tolist()} <= spoilt


@pytest.mark.parametrize("sets", [None, 1, 3])
def test_jittor_keeps_64_bits(sets):
    given_ = (*sample(4, 50, 7, 19, sets=sets), 50)
    found = fixed_sums(*given_)
    assert [str(one.dtype) for one in found] == ["int64", "int64"]
    check_same([one.numpy() for one in found], reference(*given_))
    check_same([one.numpy() for one in fixed_sums(jt.array(given_[0]), jt.array(given_[1]), 7, 50)], reference(*given_))
    with pytest.raises(ValueError, match="bits: .*found 63"):
        fixed_sums(*given_[:3], 63)


def test_moves_between_labels_of_no_cluster_change_nothing_but_their_number():
    x = np.ones((3, 5), np.float32)
    sums, counts = np.full((1, 2, 5), 9), np.full((1, 2), 4)
    before, after = np.array([[-1, 2, 0]], np.int32), np.array([[7, -5, 0]], np.int32)
    assert move_rows_host(x, before, after, sums, counts, 3).tolist() == [2]
    assert (sums == 9).all() and (counts == 4).all()


def test_reference_backend_and_by_hand():
    x, label = np.array([[1, 2], [3, 4], [5, 0.3]], np.float16), np.array([1, 0, 1], np.int32)
    for name in ("auto", "reference"):
        with backend(name):
            sums, counts = fixed_sums_host(x, label, 3, 1)
            assert sums.tolist() == [[6, 8], [12, 5], [0, 0]] and counts.tolist() == [1, 2, 0]
            sums, counts = sums[None], counts[None]
            moved = move_rows_host(x, label[None], np.array([[1, 2, -1]], np.int32), sums, counts, 1)
            assert sums.tolist() == [[[0, 0], [2, 4], [6, 8]]] and counts.tolist() == [[0, 1, 1]] and moved.tolist() == [2]


ROWS, IDS = np.zeros((3, 2), np.float32), np.zeros(3, np.int32)


@pytest.mark.parametrize(
    ("x", "label", "clusters", "bits", "message"),
    [
        (np.zeros(3, np.float32), IDS, 2, 9, r"x: expected \(N, d\)"),
        (np.zeros((3, 2)), IDS, 2, 9, "x: .*float64"),
        (ROWS, np.zeros(4, np.int32), 2, 9, r"label: expected \(3,\) or \(R, 3\) int32, found \(4,\)"),
        (ROWS, np.zeros((0, 3), np.int32), 2, 9, r"label: .*found \(0, 3\)"),
        (ROWS, np.zeros((1, 1, 3), np.int32), 2, 9, r"label: .*found \(1, 1, 3\)"),
        (ROWS, np.zeros(3, np.int64), 2, 9, "label: .*int64"),
        (ROWS, IDS, 0, 9, "clusters: .*found 0"),
        (ROWS, IDS, 2, 63, r"bits: expected a number in 0\.\.62, found 63"),
        (ROWS, IDS, 2, -1, "bits: .*found -1"),
        (ROWS, IDS, 2, 1.5, "bits: .*found 1.5"),
    ],
)
def test_refusals(x, label, clusters, bits, message):
    with pytest.raises(ValueError, match=message):
        fixed_sums_host(x, label, clusters, bits)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"before": np.zeros((1, 3), np.int32)}, r"before: expected \(2, 3\) int32, found \(1, 3\)"),
        ({"after": np.zeros((2, 3), np.int64)}, "after: .*int64"),
        ({"after": np.zeros(3, np.int32)}, r"after: expected \(2, 3\) int32, found \(3,\)"),
        ({"sums": np.zeros((2, 4, 3), np.int64)}, r"sums: expected \(2, 4, 2\) int64"),
        ({"sums": np.zeros((2, 4, 2))}, "sums: .*float64"),
        ({"sums": np.zeros((4, 2, 2), np.int64).transpose(1, 0, 2)}, "sums: .*not C-ordered"),
        ({"counts": np.zeros((2, 4), np.int32)}, "counts: .*int32"),
        ({"counts": np.zeros(4, np.int64)}, r"counts: expected \(R, K\), found \(4,\)"),
        ({"bits": 70}, "bits: .*found 70"),
        ({"threads": 0}, "threads=0"),
    ],
)
def test_refusals_of_moves(changed, message):
    given_ = {
        "x": ROWS, "before": np.zeros((2, 3), np.int32), "after": np.zeros((2, 3), np.int32), "sums": np.zeros((2, 4, 2), np.int64),
        "counts": np.zeros((2, 4), np.int64), "bits": 3,
    }  # fmt: skip
    with pytest.raises(ValueError, match=message):
        move_rows_host(**{**given_, **changed})
