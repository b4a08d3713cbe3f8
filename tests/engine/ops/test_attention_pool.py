"""attention_pool and pixel_norms: CPU path and Jittor against the float64 reference, the reference against plain loops, faults."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.ops.attention_pool import attention_pool, attention_pool_grad_host, attention_pool_host, pixel_norms, pixel_norms_host
from engine.ops.attention_pool_reference import attention_pool as reference
from engine.ops.attention_pool_reference import attention_pool_grad as reference_grad
from engine.ops.attention_pool_reference import enlarge, shrink
from engine.ops.attention_pool_reference import pixel_norms as reference_norms
from engine.ops.backend import backend
from engine.ops.upsample_reference import upsample_bilinear
from tests.engine.ops.attention_samples import SHAPES, norm_bound, pool_bounds, pool_inputs


def within(found, exact, bound) -> bool:
    return found.dtype == np.float32 and bool((np.abs(found - exact) <= bound + 1e-37).all())  # 1e-37: what underflows


def check(inputs, gradient, normalize, threads=None):
    norms = pixel_norms_host(inputs.features, threads=threads)
    assert within(norms, reference_norms(inputs.features), norm_bound(inputs.features))
    bounds = pool_bounds(inputs, gradient, normalize)
    assert within(attention_pool_host(*inputs, normalize, threads=threads), reference(*inputs, normalize), bounds.pooled)
    exact = reference_grad(*inputs, gradient, normalize)
    found = attention_pool_grad_host(*inputs, gradient, normalize, threads=threads)
    for ours, right, bound in zip(found, exact, bounds[1:]):
        assert within(ours, right, bound)
    without = attention_pool_grad_host(*inputs, gradient, normalize, norms=norms, features_wanted=False, threads=threads)
    assert without[0] is None and all(np.array_equal(a, b) for a, b in zip(without[1:], found[1:]))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 3), st.integers(1, 40), st.integers(1, 9), st.integers(1, 9), st.booleans(), st.sampled_from([1, 2, 3]))
def test_host_path_equals_the_reference(seed, n, c, h, w, normalize, threads):
    inputs = pool_inputs(seed, n, c, h, w)
    check(inputs, np.random.default_rng(seed).standard_normal((n, c)).astype(np.float32), normalize, threads)


@pytest.mark.parametrize("shape", [(2, 512, 7, 7), (1, 2048, 7, 7), (1, 64, 25, 17)])
def test_the_sizes_of_the_method(shape):
    inputs = pool_inputs(1, *shape)
    check(inputs, np.ones(shape[:2], np.float32), True)


@pytest.mark.parametrize("normalize", [False, True])
def test_the_number_of_threads_changes_no_bit(normalize):
    inputs = pool_inputs(4, 2, 37, 5, 6)
    gradient = np.random.default_rng(0).standard_normal((2, 37)).astype(np.float32)
    one, three = (attention_pool_grad_host(*inputs, gradient, normalize, threads=threads) for threads in (1, 3))
    assert all(a.tobytes() == b.tobytes() for a, b in zip(one, three))
    one, three = (attention_pool_host(*inputs, normalize, threads=threads) for threads in (1, 3))
    assert one.tobytes() == three.tobytes()
    assert pixel_norms_host(inputs.features, threads=1).tobytes() == pixel_norms_host(inputs.features, threads=5).tobytes()


def test_reference_enlarges_as_interpolation_does_and_shrinks_by_its_transpose():
    x, y = np.random.default_rng(0).standard_normal((1, 2, 3, 5)), np.random.default_rng(1).standard_normal((1, 2, 12, 20))
    np.testing.assert_allclose(enlarge(x), upsample_bilinear(x, (12, 20)), atol=1e-14)
    np.testing.assert_allclose((enlarge(x) * y).sum(), (x * shrink(y)).sum(), atol=1e-12)


@pytest.mark.parametrize("normalize", [False, True])
def test_reference_gradient_equals_finite_differences(normalize):
    inputs = [array.astype(np.float64) for array in pool_inputs(2, 2, 3, 2, 3)]
    gradient = np.random.default_rng(3).standard_normal((2, 3))
    found = reference_grad(*inputs, gradient, normalize)
    for place in range(3):
        direction = np.random.default_rng(place).standard_normal(inputs[place].shape)
        ends = []
        for step in (-1e-5, 1e-5):
            moved = list(inputs)
            moved[place] = moved[place] + step * direction
            ends.append((gradient * reference(*moved, normalize)).sum())
        np.testing.assert_allclose((ends[1] - ends[0]) / 2e-5, (found[place] * direction).sum(), rtol=1e-6)  # error of order step^2


def test_pixels_without_length_stay_zero_and_extreme_logits_are_0_and_1():
    inputs = pool_inputs(0, 1, 2, 2, 2)
    inputs.features[:] = 0
    inputs.features[0, 0, 1, 1] = 2e-20  # its squares underflow: shorter than the least norm in any case
    assert (pixel_norms_host(inputs.features) == np.float32(1e-12)).all()
    found = attention_pool_host(*inputs)
    assert np.abs(found - reference(*inputs)).max() <= 1e-6 * 2e-8
    gradients = attention_pool_grad_host(*inputs, np.ones((1, 2), np.float32))
    exact = reference_grad(*inputs, np.ones((1, 2)))
    assert all(np.allclose(ours, right, rtol=1e-5, atol=1e-20) for ours, right in zip(gradients, exact))  # 64 roundings at most
    inputs = pool_inputs(0, 1, 2, 2, 2)
    for value, share in ((np.inf, 1), (-np.inf, 0), (1e30, 1), (-1e30, 0), (200, 1), (-200, 0)):
        inputs.logits[:] = value
        found = attention_pool_host(*inputs, False)
        np.testing.assert_allclose(found, share * enlarge(inputs.features).mean((2, 3)), atol=1e-6)
        assert np.abs(attention_pool_grad_host(*inputs, np.ones((1, 2), np.float32), False)[1]).max() < 1e-30


@pytest.mark.parametrize("where", ["features", "logits", "threshold"])
@pytest.mark.parametrize("normalize", [False, True])
def test_nan_goes_where_the_reference_says(where, normalize):
    inputs = pool_inputs(5, 2, 4, 3, 3)
    getattr(inputs, where)[{"features": (1, 2, 0, 1), "logits": (0, 3, 7, 11), "threshold": 1}[where]] = np.nan
    gradient = np.ones((2, 4), np.float32)
    assert np.array_equal(np.isnan(attention_pool_host(*inputs, normalize)), np.isnan(reference(*inputs, normalize)))
    assert np.array_equal(np.isnan(pixel_norms_host(inputs.features)), np.isnan(reference_norms(inputs.features)))
    ours, right = attention_pool_grad_host(*inputs, gradient, normalize), reference_grad(*inputs, gradient, normalize)
    assert np.array_equal(np.isnan(ours[1]), np.isnan(right[1])) and np.array_equal(np.isnan(ours[2]), np.isnan(right[2]))


def test_no_images_and_no_channels():
    for n, c in ((0, 3), (2, 0)):
        inputs = pool_inputs(0, n, c, 2, 3)
        assert attention_pool_host(*inputs).shape == (n, c)
        gradients = attention_pool_grad_host(*inputs, np.zeros((n, c), np.float32))
        assert gradients[1].shape == (n, c, 8, 12) and np.array_equal(gradients[2], np.zeros(c))
    assert pixel_norms_host(pool_inputs(0, 0, 3, 2, 3).features).shape == (0, 1, 8, 12)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("normalize", [False, True])
def test_jittor_gives_the_same_with_gradients(shape, normalize):
    from engine.runtime import jt

    inputs = pool_inputs(7, *shape)
    gradient = np.random.default_rng(1).standard_normal(shape[:2]).astype(np.float32)
    given = [jt.array(array) for array in inputs]
    out = attention_pool(*given, normalize)
    assert np.array_equal(out.numpy(), attention_pool_host(*inputs, normalize))
    found = jt.grad((out * jt.array(gradient)).sum(), given)
    for ours, right in zip(found, attention_pool_grad_host(*inputs, gradient, normalize)):
        assert np.array_equal(ours.numpy(), right)
    assert np.array_equal(pixel_norms(given[0]).numpy(), pixel_norms_host(inputs.features))


def test_jittor_frozen_features_and_given_norms():
    from engine.runtime import jt

    inputs = pool_inputs(8, 2, 6, 3, 3)
    features, logits, threshold = (jt.array(array) for array in inputs)
    features.stop_grad()
    out = attention_pool(features, logits, threshold, norms=pixel_norms(features))
    assert np.array_equal(out.numpy(), attention_pool_host(*inputs))
    d_logits, d_threshold = jt.grad(out.sum(), [logits, threshold])
    _, right_logits, right_threshold = attention_pool_grad_host(*inputs, np.ones((2, 6), np.float32), features_wanted=False)
    assert np.array_equal(d_logits.numpy(), right_logits) and np.array_equal(d_threshold.numpy(), right_threshold)


def test_the_reference_backend_is_the_reference():
    from engine.runtime import jt

    inputs = pool_inputs(9, 1, 3, 2, 2)
    with backend("reference"):
        given = [jt.array(array) for array in inputs]
        out = attention_pool(*given)
        assert np.array_equal(out.numpy(), reference(*inputs).astype(np.float32))
        assert np.array_equal(pixel_norms(given[0]).numpy(), reference_norms(inputs.features).astype(np.float32))
        found = jt.grad(out.sum(), given)
        for ours, right in zip(found, reference_grad(*inputs, np.ones((1, 3)))):
            assert np.array_equal(ours.numpy(), right.astype(np.float32))


def test_what_does_not_fit_is_refused():
    inputs = pool_inputs(0, 2, 3, 2, 2)
    features, logits, threshold = inputs
    for changed, message in (
        ((features[0], logits, threshold), r"features: expected \(n, c, h, w\) float32 .*, found \(3, 2, 2\) float32"),
        ((features.astype(np.float64), logits, threshold), "features: expected .* float64"),
        ((features[:, :, :0], logits, threshold), r"features: expected .* found \(2, 3, 0, 2\)"),
        ((features, logits[:, :, 1:], threshold), r"logits: expected \(2, 3, 8, 8\) float32, found \(2, 3, 7, 8\)"),
        ((features, logits, threshold[None]), r"threshold: expected \(3,\) float32, found \(1, 3\)"),
    ):
        with pytest.raises(ValueError, match=message):
            attention_pool_host(*changed)
    with pytest.raises(ValueError, match=r"norms: expected \(2, 1, 8, 8\) float32, found \(2, 8, 8\)"):
        attention_pool_host(*inputs, norms=np.ones((2, 8, 8), np.float32))
    with pytest.raises(ValueError, match=r"gradient: expected \(2, 3\)"):
        attention_pool_grad_host(*inputs, np.ones((3, 2), np.float32))
    with pytest.raises(ValueError, match="threads=0"):
        attention_pool_host(*inputs, threads=0)
