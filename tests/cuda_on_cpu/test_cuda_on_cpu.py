"""The emulation itself: it must find planted faults, and give right results where there are none."""

import ctypes

import numpy as np
import pytest

from tests.cuda_on_cpu.harness import ORDERS, KernelFault, call, driver

NEIGHBOUR, DIVERGENT, SHIFTED, OVER_SHARED, UNSET, WARP_SUMS, TOO_MANY = range(7)


def run(what, value=0, order="forward"):
    out = np.full(64, -1, np.int32)
    call(driver("faults").luss_run_fault, what, value, out, order=order)
    return out


def test_a_missing_barrier_gives_a_wrong_result_in_some_order():
    expected = (np.arange(64) + 1) % 64
    assert all(np.array_equal(run(NEIGHBOUR, 1, order), expected) for order in ORDERS)
    assert not all(np.array_equal(run(NEIGHBOUR, 0, order), expected) for order in ORDERS)


@pytest.mark.parametrize("order", list(ORDERS))
def test_a_barrier_that_some_threads_miss_is_reported(order):
    with pytest.raises(KernelFault, match=r"divergent: a barrier .* not all its threads reach in block \(0,0,0\)"):
        run(DIVERGENT, order=order)


def test_touching_memory_outside_an_array_is_reported():
    assert run(SHIFTED, 0).tolist() == [1] * 64
    with pytest.raises(KernelFault, match=r"shifted: memory outside an array in block \(0,0,0\), thread \(63,0,0\)"):
        run(SHIFTED, 1)
    with pytest.raises(KernelFault, match="written before the start of out"):
        run(SHIFTED, -1)


def test_dynamic_shared_memory_ends_where_it_was_said_to():
    assert run(OVER_SHARED, 99).tolist() == [1] * 64
    with pytest.raises(KernelFault, match="past the end of dynamic shared memory"):
        run(OVER_SHARED, 100)
    with pytest.raises(KernelFault, match="memory outside"):
        run(OVER_SHARED, 112)
    with pytest.raises(KernelFault, match="1024 threads"):
        run(TOO_MANY)


def test_shared_memory_is_poisoned_for_every_block():
    assert (run(UNSET).view(np.uint32) == 0xA5A5A5A5).all()  # the second block's; the first had set its words to 0


@pytest.mark.parametrize("order", list(ORDERS))
def test_warp_operations(order):
    assert run(WARP_SUMS, order=order).tolist() == [sum(range(32))] * 32 + [sum(range(32, 64))] * 32


def test_halves_are_rounded_as_numpy_rounds():
    every = np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float32)
    finite = every[np.isfinite(every)]
    rng = np.random.default_rng(0)
    values = np.concatenate([finite, (finite[:-1] + finite[1:]) / 2, rng.standard_normal(5000).astype(np.float32), [1e9, -np.inf, 1e-9]])
    values = np.ascontiguousarray(values, np.float32)
    halves, back = np.zeros(len(values), np.uint16), np.zeros(len(values), np.float32)
    pointers = [ctypes.c_void_p(array.ctypes.data) for array in (values, halves, back)]
    driver("faults").luss_halves(pointers[0], len(values), pointers[1], pointers[2])
    with np.errstate(over="ignore"):
        expected = values.astype(np.float16)
    assert np.array_equal(halves, expected.view(np.uint16)) and np.array_equal(back, expected.astype(np.float32))
