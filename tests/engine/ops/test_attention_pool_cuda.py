"""The CUDA kernels of attention_pool and pixel_norms: run on the CPU against the float64 reference, and compiled by nvcc where it is."""

import numpy as np
import pytest

from engine.ops import attention_pool as op
from engine.ops.attention_pool_reference import attention_pool as reference
from engine.ops.attention_pool_reference import attention_pool_grad as reference_grad
from engine.ops.attention_pool_reference import pixel_norms as reference_norms
from tests.cuda_on_cpu.harness import call, driver
from tests.engine.ops.attention_samples import SHAPES, norm_bound, pool_bounds, pool_inputs
from tests.engine.ops.nvcc import ARCHITECTURES, compile_texts

ORDERS = ["forward", "reverse", "random"]


def kernel_norms(features, inverse=False, order="forward"):
    n, c, h, w = features.shape
    out = np.full((n, 1, 4 * h, 4 * w), -7, np.float32)
    call(driver("attention_pool").luss_emulate_pixel_norms, features, n, c, h, w, int(inverse), out, order=order)
    return out


def kernel_pool(inputs, norms, order="forward"):
    n, c, h, w = inputs.features.shape
    out = np.full((n, c), -7, np.float32)
    call(driver("attention_pool").luss_emulate_attention_pool, *inputs, _or_null(norms), n, c, h, w, out, order=order)
    return out


def kernel_grad(inputs, norms, gradient, wanted=True, order="forward"):
    n, c, h, w = inputs.features.shape
    d_features, d_logits = np.full((n, c, h, w), -7, np.float32), np.full((n, c, 4 * h, 4 * w), -7, np.float32)
    d_threshold = np.full(c, -7, np.float32)
    outputs = d_logits, d_threshold, _or_null(d_features if wanted else None)
    function = driver("attention_pool").luss_emulate_attention_pool_grad
    call(function, *inputs, _or_null(norms), gradient, n, c, h, w, *outputs, order=order)
    return d_features if wanted else None, d_logits, d_threshold


def _or_null(array):
    import ctypes

    return ctypes.c_void_p(None) if array is None else array


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("shape", SHAPES)
def test_norms_equal_the_reference(shape, order):
    features = pool_inputs(3, *shape).features
    exact = reference_norms(features)
    found = kernel_norms(features, order=order)
    assert (np.abs(found - exact) <= norm_bound(features)).all()
    inverse = kernel_norms(features, True, order)
    np.testing.assert_allclose(inverse * found, 1, rtol=2.0**-22)  # two roundings, and the product's


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_pool_and_gradients_equal_the_reference(shape, normalize, order):
    inputs = pool_inputs(11, *shape)
    gradient = np.random.default_rng(0).standard_normal(shape[:2]).astype(np.float32)
    bounds = pool_bounds(inputs, gradient, normalize)
    norms = kernel_norms(inputs.features) if normalize else None
    assert (np.abs(kernel_pool(inputs, norms, order) - reference(*inputs, normalize)) <= bounds.pooled).all()
    found = kernel_grad(inputs, norms, gradient, order=order)
    for ours, right, bound in zip(found, reference_grad(*inputs, gradient, normalize), bounds[1:]):
        assert (np.abs(ours - right) <= bound).all()
    without = kernel_grad(inputs, norms, gradient, False, order)
    assert np.array_equal(without[1], found[1]) and np.array_equal(without[2], found[2])


def test_nan_extremes_and_pixels_without_length():
    inputs = pool_inputs(5, 2, 4, 3, 3)
    inputs.logits[0, 3, 7, 11], inputs.logits[1, 0], inputs.logits[1, 1] = np.nan, np.inf, -np.inf
    gradient = np.ones((2, 4), np.float32)
    norms = kernel_norms(inputs.features)
    found, exact = kernel_pool(inputs, norms), reference(*inputs)
    assert np.array_equal(np.isnan(found), np.isnan(exact)) and np.isnan(exact).sum() == 1
    np.testing.assert_allclose(found, exact, atol=1e-6)  # of means of numbers below 1
    _, d_logits, _ = kernel_grad(inputs, norms, gradient)
    assert np.isnan(d_logits).sum() == 1 and (d_logits[1, :2] == 0).all()
    inputs.features[1, 2, 0, 1] = np.nan
    assert np.array_equal(np.isnan(kernel_norms(inputs.features)), np.isnan(reference_norms(inputs.features)))
    inputs.features[:] = 0
    norms = kernel_norms(inputs.features)
    assert (norms == np.float32(1e-12)).all()
    inputs = inputs._replace(logits=np.zeros_like(inputs.logits))
    assert (kernel_pool(inputs, norms) == 0).all()
    for ours, right in zip(kernel_grad(inputs, norms, gradient), reference_grad(*inputs, gradient)):
        np.testing.assert_allclose(ours, right, rtol=1e-5)


def test_no_images_and_no_channels():
    for n, c in ((0, 3), (2, 0)):
        inputs = pool_inputs(0, n, c, 2, 3)
        assert kernel_pool(inputs, None).shape == (n, c)
        assert (kernel_grad(inputs, None, np.zeros((n, c), np.float32))[2] == 0).all()


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_nvcc_compiles_what_jittor_is_given(tmp_path, architecture):
    compile_texts(tmp_path, op._HEADER, [(op._NORMS, 1, 1), (op._POOL, 4, 1), (op._GRAD, 5, 5)], architecture)
