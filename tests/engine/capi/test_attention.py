"""The attention's pooling through the C interface, emulated: within the bounds of float32 arithmetic of the float64 reference."""

import numpy as np
import pytest

from engine import capi
from engine.ops.attention_head import HeadWeights
from engine.ops.attention_head_reference import attention_head as head_reference
from engine.ops.attention_pool_reference import attention_pool as reference
from engine.ops.attention_pool_reference import attention_pool_grad as reference_grad
from engine.ops.attention_pool_reference import pixel_norms as reference_norms
from tests.engine.capi.emulated import on_gpu, set_order, use_emulation
from tests.engine.ops.attention_samples import head_bounds, head_inputs, norm_bound, pool_bounds, pool_inputs
from tests.engine.ops.test_attention_head_cuda import half_bounds


@pytest.fixture(autouse=True)
def emulation(monkeypatch):
    use_emulation(monkeypatch)


def within(found, exact, bound):
    return found.shape == exact.shape and (np.abs(found.values - exact) <= bound).all()


@pytest.mark.parametrize("order", ["forward", "reverse", "random"])
@pytest.mark.parametrize("normalize", [False, True])
def test_pooling_and_its_gradients(normalize, order):
    set_order(order)
    inputs = pool_inputs(2, 2, 5, 3, 4)
    gradient = np.random.default_rng(0).standard_normal((2, 5)).astype(np.float32)
    bounds = pool_bounds(inputs, gradient, normalize)
    features, logits, threshold = map(on_gpu, inputs)
    norms = capi.pixel_norms(features)
    assert within(norms, reference_norms(inputs.features), norm_bound(inputs.features))
    assert within(capi.attention_pool(features, logits, threshold, normalize, norms=norms), reference(*inputs, normalize), bounds.pooled)
    found = capi.attention_pool_grad(features, logits, threshold, on_gpu(gradient), normalize)
    for ours, right, bound in zip(found, reference_grad(*inputs, gradient, normalize), bounds[1:]):
        assert within(ours, right, bound)
    without = capi.attention_pool_grad(features, logits, threshold, on_gpu(gradient), normalize, features_wanted=False)
    assert without[0] is None and all(np.array_equal(a.values, b.values) for a, b in zip(without[1:], found[1:]))


def test_the_head():
    features, weights = head_inputs(2, 2, 13, 3, 4)
    given = on_gpu(features), HeadWeights(*map(on_gpu, weights))
    bounds, both = head_bounds(features, weights), capi.attention_head(*given)
    for ours, right, bound in zip(both, head_reference(features, weights), bounds):
        assert within(ours, right, bound)
    rounded = weights._replace(weight2=weights.weight2.astype(np.float16).astype(np.float32))
    halves = capi.attention_head(on_gpu(features), HeadWeights(*map(on_gpu, rounded)), products="float16")
    for ours, right, bound in zip(halves, head_reference(features, rounded), half_bounds(features, rounded)):
        assert within(ours, right, bound)
    with pytest.raises(ValueError, match="products: expected one of float32, float16, found 'int8'"):
        capi.attention_head(*given, products="int8")
    alone = capi.attention_head(*given, pooled=False)
    assert alone[0] is None and np.array_equal(alone[1].values, both[1].values)


def test_no_images_have_no_gradient():
    inputs = pool_inputs(2, 0, 5, 3, 4)
    found = capi.attention_pool_grad(*map(on_gpu, inputs), on_gpu(np.zeros((0, 5), np.float32)))
    assert found[0].shape == (0, 5, 3, 4) and found[1].shape == (0, 5, 12, 16) and (found[2].values == 0).all()
    assert capi.attention_pool(*map(on_gpu, inputs)).shape == (0, 5)


def test_what_does_not_fit_is_named():
    features, logits, threshold = map(on_gpu, pool_inputs(2, 2, 5, 3, 4))
    with pytest.raises(ValueError, match=r"logits: expected \(2, 5, 12, 16\) float32, found \(2, 5, 3, 4\) float32"):
        capi.attention_pool(features, features, threshold)
    with pytest.raises(ValueError, match=r"threshold: expected \(5,\) float32, found \(2, 5, 3, 4\)"):
        capi.attention_pool(features, logits, features)
    with pytest.raises(ValueError, match=r"features: expected \(n, c, h, w\) float32, found \(5,\)"):
        capi.pixel_norms(threshold)
    with pytest.raises(ValueError, match=r"h: expected 1..4096, found 0"):
        capi.pixel_norms(on_gpu(np.zeros((1, 1, 0, 2), np.float32)))
    _, weights = head_inputs(2, 1, 4, 1, 1)
    with pytest.raises(ValueError, match=r"weight1: expected \(5, 5\) float32, found \(4, 4\)"):
        capi.attention_head(features, HeadWeights(*map(on_gpu, weights)))
