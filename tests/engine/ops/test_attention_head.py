"""attention_head: CPU path and Jittor against the float64 reference, faults."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.ops.attention_head import attention_head, attention_head_host
from engine.ops.attention_head_reference import attention_head as reference
from engine.ops.backend import backend
from tests.engine.ops.attention_samples import head_bounds, head_inputs


def check(features, weights, threads=None):
    exact, bounds = reference(features, weights), head_bounds(features, weights)
    for ours, right, bound in zip(attention_head_host(features, weights, threads=threads), exact, bounds):
        assert ours.dtype == np.float32 and (np.abs(ours - right) <= bound).all()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 3), st.integers(1, 120), st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 2, 3]))
def test_host_path_equals_the_reference(seed, n, c, h, w, threads):
    check(*head_inputs(seed, n, c, h, w), threads)


@pytest.mark.parametrize("shape", [(2, 512, 7, 7), (1, 900, 8, 11), (1, 64, 25, 17)])
def test_the_sizes_of_the_method(shape):
    """Several chunks of channels and tiles of pixels; relative error, in the norm of all values, at most 1e-5: the project's goal."""
    features, weights = head_inputs(1, *shape)
    exact = reference(features, weights)
    check(features, weights)
    for ours, right in zip(attention_head_host(features, weights), exact):
        assert np.linalg.norm(ours - right) <= 1e-5 * np.linalg.norm(right)


@pytest.mark.parametrize("shape", [(1, 200, 2, 3), (2, 200, 1, 1), (1, 390, 2, 2), (1, 490, 1, 3)])
def test_sums_over_several_blocks_of_the_depth(shape):
    """The product adds 192 channels at a time; 490 channels are two chunks of weights besides."""
    features, weights = head_inputs(4, *shape)
    check(features, weights)
    check(features, weights, threads=2)


def test_threads_and_what_is_wanted_change_no_bit():
    features, weights = head_inputs(3, 2, 530, 5, 6)
    pooled, attention = attention_head_host(features, weights, threads=1)
    again = attention_head_host(features, weights, threads=3)
    assert again[0].tobytes() == pooled.tobytes() and again[1].tobytes() == attention.tobytes()
    alone = attention_head_host(features, weights, attention=False)
    assert alone[1] is None and np.array_equal(alone[0], pooled)
    alone = attention_head_host(features, weights, pooled=False)
    assert alone[0] is None and np.array_equal(alone[1], attention)


def test_nan_goes_where_the_reference_says():
    features, weights = head_inputs(5, 2, 20, 4, 5)
    features[1, 3, 0, 1] = np.nan
    for ours, right in zip(attention_head_host(features, weights), reference(features, weights)):
        assert np.isnan(right).any() and not np.isnan(right).all()
        assert np.array_equal(np.isnan(ours), np.isnan(right))


def test_jittor_and_the_reference_backend():
    from engine.runtime import jt

    features, weights = head_inputs(6, 2, 30, 3, 4)
    given = jt.array(features), type(weights)(*(jt.array(array) for array in weights))
    for ours, right in zip(attention_head(*given), attention_head_host(features, weights)):
        assert np.array_equal(ours.numpy(), right) and ours.is_stop_grad()
    assert np.array_equal(attention_head(*given, products="float16")[0].numpy(), attention_head_host(features, weights)[0])  # no GPU
    with pytest.raises(ValueError, match="products: expected one of float32, float16, found 'int8'"):
        attention_head(*given, products="int8")
    with backend("reference"):
        for ours, right in zip(attention_head(*given), reference(features, weights)):
            assert np.array_equal(ours.numpy(), right.astype(np.float32))
        assert attention_head(*given, pooled=False)[0] is None


def test_no_images():
    features, weights = head_inputs(0, 0, 3, 2, 2)
    pooled, attention = attention_head_host(features, weights)
    assert pooled.shape == (0, 3) and attention.shape == (0, 1, 8, 8)


def test_what_does_not_fit_is_refused():
    features, weights = head_inputs(0, 2, 3, 2, 2)
    for change, message in (
        ({"weight1": weights.weight1[:2]}, r"weight1: expected \(3, 3\) float32, found \(2, 3\)"),
        ({"weight2": weights.weight2.astype(np.float64)}, "weight2: expected .* float64"),
        ({"shift2": weights.shift2[:, None]}, r"shift2: expected \(3,\) float32, found \(3, 1\)"),
    ):
        with pytest.raises(ValueError, match=message):
            attention_head_host(features, weights._replace(**change))
    with pytest.raises(ValueError, match=r"features: expected .* found \(3, 2, 2\)"):
        attention_head_host(features[0], weights)
    with pytest.raises(ValueError, match="at least one channel"):
        attention_head_host(features[:, :0], weights)
    with pytest.raises(ValueError, match="threads=0"):
        attention_head_host(features, weights, threads=0)
