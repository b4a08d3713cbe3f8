"""The CUDA kernels of attention_head: run on the CPU against the float64 reference, and compiled by nvcc where it is."""

import ctypes

import numpy as np
import pytest

from engine.ops import attention_head as op
from engine.ops.attention_head_reference import attention_head as reference
from tests.cuda_on_cpu.harness import call, driver
from tests.engine.ops.attention_samples import head_bounds, head_inputs
from tests.engine.ops.nvcc import ARCHITECTURES, compile_texts

# Sides of 128 channels, 64 pixels, 8 of the depth: below, at, above; c of 4 k and not; images that share a tile of the small product
SHAPES = [(1, 4, 2, 2), (2, 13, 3, 4), (1, 130, 1, 5), (3, 8, 1, 1), (1, 31, 5, 3)]


def kernel(features, weights, pooled=True, attention=True, order="forward"):
    n, c, h, w = features.shape
    vectors, maps = np.full((n, c), -7, np.float32), np.full((n, 1, 4 * h, 4 * w), -7, np.float32)
    scratch = ctypes.c_int64(op.scratch_floats(n, c, 16 * h * w))
    null = ctypes.c_void_p(None)
    outputs = vectors if pooled else null, maps if attention else null
    call(driver("attention_head").luss_emulate_attention_head, features, *weights, n, c, h, w, scratch, *outputs, order=order)
    return vectors, maps


@pytest.mark.parametrize("order", ["forward", "reverse", "random"])
@pytest.mark.parametrize("shape", SHAPES)
def test_equals_the_reference(shape, order):
    features, weights = head_inputs(2, *shape)
    for ours, right, bound in zip(kernel(features, weights, order=order), reference(features, weights), head_bounds(features, weights)):
        assert (np.abs(ours - right) <= bound).all()


def test_what_is_not_wanted_changes_nothing():
    features, weights = head_inputs(3, 2, 9, 2, 3)
    both = kernel(features, weights)
    assert np.array_equal(kernel(features, weights, attention=False)[0], both[0])
    assert np.array_equal(kernel(features, weights, pooled=False)[1], both[1])


def test_nan_goes_where_the_reference_says():
    features, weights = head_inputs(5, 2, 9, 3, 3)
    features[1, 3, 0, 1] = np.nan
    for ours, right in zip(kernel(features, weights), reference(features, weights)):
        assert np.isnan(right).any() and np.array_equal(np.isnan(ours), np.isnan(right))


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_nvcc_compiles_what_jittor_is_given(tmp_path, architecture):
    compile_texts(tmp_path, op._HEADER, [(op._LAUNCH, 7, 3)], architecture)
