"""The CUDA kernels of attention_head: run on the CPU against the float64 reference, and compiled by nvcc where it is."""

import ctypes

import numpy as np
import pytest

from engine.ops import attention_head as op
from engine.ops.attention_head_reference import attention_head as reference
from engine.ops.attention_pool_reference import enlarge, pixel_norms
from tests.cuda_on_cpu.harness import call, driver
from tests.engine.ops.attention_samples import head_bounds, head_inputs
from tests.engine.ops.nvcc import ARCHITECTURES, compile_texts

# Sides of 128 channels, 64 pixels, 8 of the depth: below, at, above; c of 4 k and not; images that share a tile of the small product
SHAPES = [(1, 4, 2, 2), (2, 13, 3, 4), (1, 130, 1, 5), (3, 8, 1, 1), (1, 31, 5, 3), (1, 200, 1, 2)]


def kernel(features, weights, pooled=True, attention=True, order="forward", half=False):
    n, c, h, w = features.shape
    vectors, maps = np.full((n, c), -7, np.float32), np.full((n, 1, 4 * h, 4 * w), -7, np.float32)
    scratch = ctypes.c_int64(op.scratch_floats(n, c, 16 * h * w, half))
    null = ctypes.c_void_p(None)
    outputs = vectors if pooled else null, maps if attention else null
    call(driver("attention_head").luss_emulate_attention_head, features, *weights, n, c, h, w, scratch, int(half), *outputs, order=order)
    return vectors, maps


@pytest.mark.parametrize("order", ["forward", "reverse", "random"])
@pytest.mark.parametrize("shape", SHAPES)
def test_equals_the_reference(shape, order):
    features, weights = head_inputs(2, *shape)
    for ours, right, bound in zip(kernel(features, weights, order=order), reference(features, weights), head_bounds(features, weights)):
        assert (np.abs(ours - right) <= bound).all()


@pytest.mark.parametrize("order", ["forward", "reverse", "random"])
@pytest.mark.parametrize("shape", [(1, 4, 2, 2), (2, 13, 3, 4), (1, 130, 1, 5), (1, 31, 5, 3)])
def test_tensor_cores_equal_the_reference_of_rounded_factors(shape, order):
    features, weights = head_inputs(2, *shape)
    weights = weights._replace(weight2=weights.weight2.astype(np.float16).astype(np.float32))  # what is rounded there, is exact here
    exact, bounds = reference(features, weights), half_bounds(features, weights)
    found = kernel(features, weights, order=order, half=True)
    for ours, right, bound in zip(found, exact, bounds):
        assert (np.abs(ours - right) <= bound).all()
    again = kernel(features, weights, attention=False, order=order, half=True)[0]
    assert np.array_equal(again, found[0])


def half_bounds(features, weights):
    """As head_bounds, and the hidden layer rounded to float16: 2^-11 of each number, added with |weight2| and scale2."""
    plain = head_bounds(features, weights)
    weight1, scale1, shift1, weight2, scale2, _ = (np.asarray(array, np.float64)[..., None, None] for array in weights)
    u = enlarge(features)
    hidden = np.einsum("dc,nchw->ndhw", weight1[..., 0, 0], u / pixel_norms(features)) * scale1 + shift1
    rounding = np.maximum(hidden, 0) * 2.0**-11 + 2.0**-25  # half a unit of the last place, of the subnormal numbers' for small ones
    error = np.einsum("dc,nchw->ndhw", np.abs(weight2[..., 0, 0]), rounding) * np.abs(scale2) / 4  # the logistic function's slope
    return plain[0] + (np.abs(u) * error).mean((2, 3)), plain[1] + error.mean(1, keepdims=True)


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
    compile_texts(tmp_path, op._HEADER, [(op._LAUNCH.replace("LAUNCHER", name), 7, 3) for name in op._LAUNCHERS.values()], architecture)
