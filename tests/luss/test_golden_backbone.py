"""What test_golden_forward leaves of golden set A, 01: the pooled output, and the statistics of a shortcut's BatchNorm."""

import pytest

from tests.luss.golden import SEED, fill_net

pytestmark = pytest.mark.golden


@pytest.mark.parametrize("tag, shape", [("sq64", (4, 3, 64, 64)), ("rect", (2, 3, 64, 96))])
def test_pooled_and_shortcut_statistics(golden_pass, tag, shape):
    from engine.runtime import jt
    from luss.models.layers import global_mean
    from luss.models.networks import PretrainNet

    init, check = golden_pass
    golden = check.Golden("01_backbone")
    x = jt.array(init.make_input(f"bb/{tag}", shape, SEED))
    start = f"resnet18/pretrain/{tag}/"
    still = fill_net(PretrainNet("resnet18", 64, 32, 16, 20, (3,)), init, training=False)
    assert golden.check(start + "eval/pooled", global_mean(still.features(x)).numpy())
    moving = fill_net(PretrainNet("resnet18", 64, 32, 16, 20, (3,)), init, training=True)
    moving.features(x).sync()
    state = moving.state_dict()
    for name in ("layer2.0.downsample.1.running_mean", "layer2.0.downsample.1.running_var"):
        assert golden.check(start + "train/" + name, state[name].numpy())
