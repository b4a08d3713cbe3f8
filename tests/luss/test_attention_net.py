"""The attention head of the network: folded for inference."""

import numpy as np

from tests.engine.ops.attention_samples import head_inputs


def test_the_folded_network_is_the_unfolded_one():
    """What pool() and attention() compute, against the operations of training with running statistics."""
    from engine.ops.attention_head import attention_head
    from engine.ops.attention_pool import pixel_norms
    from engine.runtime import jt
    from luss.models.layers import set_training
    from luss.models.networks import PixelAttention

    features, _ = head_inputs(7, 2, 24, 3, 4)
    rng = np.random.default_rng(7)
    module = PixelAttention(24)
    for bn in (module.atten[1], module.atten[4]):
        bn.running_mean.assign(jt.array(rng.standard_normal(24).astype(np.float32) / 4))
        bn.running_var.assign(jt.array(rng.uniform(0.25, 2, 24).astype(np.float32)))
        bn.weight.assign(jt.array(rng.uniform(0.5, 1.5, 24).astype(np.float32)))
        bn.bias.assign(jt.array(rng.standard_normal(24).astype(np.float32)))
    module.threshold.assign(jt.array(rng.standard_normal((1, 24, 1, 1)).astype(np.float32)))
    set_training(module, False)
    small = jt.array(features)
    unfolded = jt.sigmoid(module(small, pixel_norms(small)) + module.threshold).numpy().mean(1, keepdims=True)
    found = attention_head(small, module.folded(), pooled=False)[1].numpy()
    np.testing.assert_allclose(found, unfolded, atol=2e-6)  # 24 + 24 roundings of numbers of about 1, behind a slope of 1 / 4
