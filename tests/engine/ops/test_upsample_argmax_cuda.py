"""The CUDA kernels of upsample_argmax: run on the CPU against the CPU path, label by label, and compiled by nvcc where it is."""

import ctypes

import numpy as np
import pytest

from engine.ops import upsample_argmax as op
from engine.ops.upsample_argmax import check_task, make_plans, split_maps, upsample_argmax_host
from tests.cuda_on_cpu.harness import call, driver
from tests.engine.ops.nvcc import ARCHITECTURES, compile_launches

ORDERS = ["forward", "reverse", "random"]


def kernel(logits, sizes, middle=None, attention=None, threshold=0.0, grid=None, max_res=0, first_id=0, order="forward"):
    task, sizes = check_task(logits, sizes, middle, attention, threshold, grid, first_id)
    plans, pixels, taps = make_plans(task, sizes, grid, max_res)
    out = np.full(pixels, -7, np.int32)
    gate = np.zeros(1, np.float32) if attention is None else attention
    arguments = (logits, int(logits.dtype == np.float16), task, plans, gate, ctypes.c_int64(taps), ctypes.c_int64(pixels), out)
    call(driver("upsample_argmax").luss_emulate_upsample_argmax, *arguments, order=order)
    return split_maps(out, plans)


def same(logits, sizes, **options):
    order = options.pop("order", "forward")
    found, expected = kernel(logits, sizes, **options, order=order), upsample_argmax_host(logits, sizes, **options, threads=1)
    assert len(found) == len(sizes)
    for ours, theirs in zip(found, expected):
        assert np.array_equal(ours, theirs)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_batches_of_odd_shapes_equal_the_cpu_path(order, dtype):
    rng = np.random.default_rng(1)
    logits = rng.standard_normal((2, 70, 3, 5)).astype(dtype)
    attention = rng.random((2, 6, 7), np.float32)
    sizes = np.array([[37, 41], [2, 9]])
    same(logits, sizes, order=order)
    same(logits, sizes, attention=attention, threshold=0.5, first_id=1, order=order)
    same(logits, sizes, middle=(12, 20), order=order)
    same(logits, sizes, grid=(12, 20), attention=attention, threshold=0.4, first_id=1, order=order)
    same(logits, sizes, max_res=10, order=order)


@pytest.mark.parametrize(("classes", "height", "width", "size"), [(1, 1, 1, (3, 2)), (300, 1, 1, (5, 5)), (3, 2, 43, (9, 130)), (9, 1, 65, (4, 70))])
def test_wide_and_single_maps(classes, height, width, size):
    logits = np.random.default_rng(2).standard_normal((1, classes, height, width)).astype(np.float32)
    same(logits, np.array([size]))
    same(logits, np.array([size]), middle=(4 * height, 4 * width))


@pytest.mark.parametrize("order", ORDERS)
def test_ties_and_more_candidates_than_the_list_holds(order):
    """Whole numbers at a power of two: all values are exact, many are equal, and with 200 classes of 3 values every cell overflows."""
    logits = np.random.default_rng(3).integers(0, 3, (1, 200, 4, 4)).astype(np.float32)
    same(logits, np.array([[32, 16]]), order=order)
    same(logits[:, :20].copy(), np.array([[32, 16]]), order=order)
    same(np.ones((1, 60, 2, 2), np.float32), np.array([[8, 8]]), order=order)


@pytest.mark.parametrize("order", ORDERS)
def test_numbers_that_are_not_finite(order):
    rng = np.random.default_rng(4)
    logits = rng.standard_normal((1, 12, 4, 5)).astype(np.float32)
    logits[0, 7, 1, 2] = np.nan
    logits[0, 3, 3, 4] = np.nan
    logits[0, 5, 2, 0] = np.inf
    logits[0, 6, 0, 0] = -np.inf
    attention = rng.random((1, 3, 3), np.float32)
    attention[0, 1, 1] = np.nan
    same(logits, np.array([[23, 31]]), order=order)
    same(logits, np.array([[23, 31]]), attention=attention, threshold=0.5, order=order)
    same(logits, np.array([[23, 31]]), middle=(8, 10), order=order)


def test_no_images():
    assert kernel(np.zeros((0, 3, 2, 2), np.float32), np.zeros((0, 2), np.int32)) == []


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_nvcc_compiles_what_jittor_is_given(tmp_path, architecture):
    compile_launches(tmp_path, op, FUNCTION, architecture)


FUNCTION = """
void run(%s* in0_p, int* in1_p, float* in2_p, int64_t in0_shape0, int64_t in0_shape1, int64_t in0_shape2, int64_t in0_shape3, int* out0_p,
         float* out1_p, std::unordered_map<std::string, double> data) { %s }
"""
