"""upsample_cross_entropy through the C interface, emulated: the reference's figures within float32's rounding."""

import numpy as np
import pytest

from engine import capi
from engine.ops.upsample_cross_entropy_reference import upsample_cross_entropy as reference
from tests.engine.capi.emulated import on_gpu, set_order, use_emulation


@pytest.fixture(autouse=True)
def emulation(monkeypatch):
    use_emulation(monkeypatch)


def sample(dtype="float32", classes=5, seed=3):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((2, classes, 3, 2)).astype(dtype), rng.integers(0, classes, (2, 9, 7)).astype(np.int32)


@pytest.mark.parametrize("order", ["forward", "reverse", "random"])
@pytest.mark.parametrize(("dtype", "options"), [("float32", {}), ("float16", {"ignore": 2}), ("float32", {"middle": (5, 4)})])
def test_loss_accuracy_and_gradient(dtype, options, order):
    set_order(order)
    logits, labels = sample(dtype)
    loss, accuracy, gradient = capi.upsample_cross_entropy(on_gpu(logits), on_gpu(labels), **options)
    exact = reference(logits, labels, **options)
    # logits of about 3: a value, its exponential and a sum of 5 take some 30 roundings of numbers of that size; a pixel's share of the gradient
    # is at most 1 / 126, and about 63 of them meet in a source pixel
    assert abs(loss.values[0] - exact[0]) <= 30 * 3 * 2.0**-24 * 4
    assert accuracy.values[0] == pytest.approx(exact[1], abs=1e-7)  # no two logits are as close as rounding
    assert np.abs(gradient.values - exact[2]).max() <= 30 * 3 * 2.0**-24 * 63 / 126
    alone = capi.upsample_cross_entropy(on_gpu(logits), on_gpu(labels), gradient=False, checked=False, **options)
    assert alone[2] is None and alone[0].values.tobytes() == loss.values.tobytes()


def test_wrong_labels_are_counted():
    logits, labels = sample()
    labels[0, 0, :3] = -1, 5, 255
    with pytest.raises(ValueError, match="labels: expected ids in 0..4, found 3 others"):
        capi.upsample_cross_entropy(on_gpu(logits), on_gpu(labels))
    with pytest.raises(ValueError, match="labels: expected ids in 0..4 or 255, found 2 others"):
        capi.upsample_cross_entropy(on_gpu(logits), on_gpu(labels), ignore=255)
    with pytest.raises(ValueError, match=r"labels: expected \(2, H, W\) int32, found \(2, 9, 7\) int64"):
        capi.upsample_cross_entropy(on_gpu(logits), on_gpu(labels.astype(np.int64)))
    with pytest.raises(ValueError, match="middle_h: expected 3..32768, found 2"):
        capi.upsample_cross_entropy(on_gpu(logits), on_gpu(labels * 0), middle=(2, 2))
