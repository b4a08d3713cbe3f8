"""Warp operations, tensor cores, asynchronous copies, halves and the limit of shared memory of the emulation."""

import ctypes

import numpy as np
import pytest

from tests.cuda_on_cpu.harness import ORDERS, KernelFault, call, driver

WARP, TWO_HALVES, DIFFERENT_BARRIERS, COPIED, MISALIGNED, ATOMICS, MUCH_SHARED, BETWEEN_WARPS = range(8)
DRIVERS = ["operations", "operations_sm80"]
POISON = np.int32(np.uint32(0xA5A5A5A5).view(np.int32))


def run(what, out_count=64, value=0, values=(0,), order="forward", name="operations"):
    values, out = np.asarray(values, np.int32), np.full(out_count, -1, np.int32)
    call(driver(name).luss_run_operations, what, value, values, len(values), out, out_count, order=order)
    return out


@pytest.mark.parametrize("order", list(ORDERS))
def test_matches_reductions_and_block_votes(order):
    values = np.random.default_rng(1).integers(-3, 8, 64)
    match, total, largest, smallest, either, votes = run(WARP, 384, values=values, order=order).reshape(6, 2, 32)
    for warp, part in enumerate(values.reshape(2, 32)):
        assert match[warp].view(np.uint32).tolist() == [sum(1 << i for i in range(32) if part[i] == value) for value in part]
        assert set(total[warp]) == {part.sum()} and set(largest[warp]) == {part.max()} and set(smallest[warp]) == {part.min()}
        assert set(either[warp]) == {np.bitwise_or.reduce(part)}
    assert set(votes.ravel()) == {(values > 0).sum() + 1000 * (7 in values) + 2000}


@pytest.mark.parametrize("order", list(ORDERS))
def test_parts_of_a_warp_meet_by_themselves(order):
    assert run(TWO_HALVES, order=order).view(np.uint32).tolist() == ([0xFFFF] * 16 + [0xFFFF0000] * 16) * 2


def test_a_barrier_missing_between_warps_shows_though_warp_operations_come_before_the_reading():
    expected = [i ^ 1 for i in range(32)] * 2
    assert all(run(BETWEEN_WARPS, value=1, order=order).tolist() == expected for order in ORDERS)
    assert any(run(BETWEEN_WARPS, value=0, order=order).tolist() != expected for order in ORDERS)


def test_barriers_of_different_kinds_are_reported():
    with pytest.raises(KernelFault, match="different_barriers: threads meet at barriers of different kinds"):
        run(DIFFERENT_BARRIERS)


@pytest.mark.parametrize("order", list(ORDERS))
@pytest.mark.parametrize(("name", "steps"), [("operations", 1), ("operations", 2), ("operations_sm80", 1), ("operations_sm80", 2)])
def test_matrix_products_of_small_whole_numbers_are_exact(name, steps, order):
    rng = np.random.default_rng(steps)
    a, b = (rng.integers(-9, 10, (rows, 8 * steps)).astype(np.float16) for rows in (16, 8))
    start = rng.integers(-99, 100, (16, 8)).astype(np.float32)
    c = start.copy()
    call(driver(name).luss_run_multiply, a, b, c, steps, order=order)
    assert np.array_equal(c, start + a.astype(np.float32) @ b.astype(np.float32).T)


def test_matrix_products_keep_exact_products_and_round_sums_to_fp32():
    rng = np.random.default_rng(3)
    a, b = rng.standard_normal((16, 16)).astype(np.float16), rng.standard_normal((8, 16)).astype(np.float16)
    a[2, 3], b[4, 5], a[5, 0] = np.inf, np.nan, 2.0**-24  # the smallest half is not lost
    c = np.zeros((16, 8), np.float32)
    call(driver("operations_sm80").luss_run_multiply, a, b, c, 2)
    with np.errstate(invalid="ignore"):
        expected = np.zeros((16, 8), np.float32)
        for k in range(16):
            expected += a[:, k : k + 1].astype(np.float32) * b[:, k].astype(np.float32)
    assert np.array_equal(c, expected, equal_nan=True)


@pytest.mark.parametrize("order", list(ORDERS))
def test_asynchronous_copies_arrive_when_they_are_waited_for(order):
    values = np.arange(1, 257)
    rolled = np.roll(values, -4)
    first = np.where((np.arange(256) + 4) % 256 < 128, rolled, 0)
    for waits, second_there in ((1, False), (2, True)):
        out = run(COPIED, 512, waits, values, order, "operations_sm80").reshape(2, 256)
        assert np.array_equal(out[0], first) and np.array_equal(out[1], rolled if second_there else np.full(256, POISON))
    assert (run(COPIED, 512, 0, values, order, "operations_sm80") == POISON).all()
    assert np.array_equal(run(COPIED, 512, 0, values, order, "operations"), np.concatenate([first, rolled]))  # sm_75 copies at once


def test_a_matrix_row_that_is_not_aligned_is_reported():
    with pytest.raises(KernelFault, match=r"misaligned: ldmatrix: a row that is not aligned to 16 bytes in block \(0,0,0\)"):
        run(MISALIGNED)


def test_atomics_of_all_types():
    assert set(run(ATOMICS)) == {32 + 6300 + 50000 + 100000}


@pytest.mark.parametrize(("name", "limit"), [("operations", 64 << 10), ("operations_sm80", 163 << 10)])
def test_shared_memory_above_48_kB_is_asked_for_and_limited(name, limit):
    with pytest.raises(KernelFault, match="much_shared: over 1024 threads or 48 kB"):
        run(MUCH_SHARED, name=name)
    assert set(run(MUCH_SHARED, value=limit, name=name)) == {1}
    with pytest.raises(KernelFault, match="refused"):
        run(MUCH_SHARED, value=limit + 1, name=name)


def test_half_arithmetic_is_numpys():
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 1 << 16, (2, 20000), dtype=np.uint16)
    out = np.zeros((6, 20000), np.uint16)
    pointers = [ctypes.c_void_p(array.ctypes.data) for array in (a, b, out)]
    driver("operations").luss_half_arithmetic(pointers[0], pointers[1], len(a), pointers[2])
    x, y = a.view(np.float16), b.view(np.float16)
    with np.errstate(all="ignore"):
        product = x.astype(np.float64) * y.astype(np.float64)  # exact
        expected = [x + y, x - y, x * y, x / y, (product + x).astype(np.float16), (product + y).astype(np.float16)]
    for ours, theirs in zip(out.view(np.float16), expected):
        assert np.array_equal(ours, theirs, equal_nan=True)


def test_bit_functions():
    values = np.array([0, 1, 2, 0x80000000, 0xFFFFFFFF, 0x00F0A000], np.uint32)
    out = np.zeros((len(values), 4), np.int32)
    driver("operations").luss_bit_functions(ctypes.c_void_p(values.ctypes.data), len(values), ctypes.c_void_p(out.ctypes.data))
    for value, (ones, first, leading, reverse) in zip(values.tolist(), out.tolist()):
        text = f"{value:032b}"
        assert ones == text.count("1") and leading == (text + "1").index("1")
        assert first == (text[::-1].index("1") + 1 if value else 0) and reverse & 0xFFFFFFFF == int(text[::-1], 2)
