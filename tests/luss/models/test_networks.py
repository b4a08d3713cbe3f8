"""Sizes and names of the networks: what a published checkpoint of the same architecture holds."""

import numpy as np
import pytest

from engine.runtime import jt
from luss.models.networks import AttentionNet, FinetuneNet, PretrainNet
from luss.models.resnet import ResNet, channels_of


def count(net, start=""):
    return sum(int(np.prod(value.shape)) for name, value in net.state_dict().items() if name.startswith(start) and "running_" not in name)


@pytest.mark.parametrize("arch, parameters", [("resnet18", 11_176_512), ("resnet50", 23_508_032)])
def test_encoders_have_as_many_parameters_as_torchvisions_without_fc(arch, parameters):
    assert count(ResNet(arch)) == parameters


def test_wider_encoders_scale_every_stage():
    assert channels_of("resnet50") == (256, 512, 1024, 2048)
    assert channels_of("resnet50w2") == (512, 1024, 2048, 4096)
    assert channels_of("resnet50w5")[3] == 10240


def test_pretrain_net_keys():
    net = PretrainNet("resnet18", 64, 512, 128, 500, shallow=(3, 2))
    names = set(net.state_dict())
    for start in ("projection_head.3.weight", "projection_head_pixel.6.weight", "predictor_head_pixel.3.bias", "prototypes.weight"):
        assert start in names
    for stage in (2, 3):
        assert f"projection_head_shallow.projection_head_shallow{stage}.0.weight" in names
        assert f"projection_head_pixel_shallow.projection_head_pixel{stage}.0.weight" in names
    assert "projection_head.4.weight" not in names  # the last BatchNorm of a head has no scale
    assert count(net, "projection_head.") == 512 * 512 + 512 + 2 * 512 + 512 * 128 + 128
    assert count(net, "prototypes") == 128 * 500


def test_attention_and_finetune_keys():
    attention = AttentionNet("resnet18", 64, 512, 128, 500)
    assert count(attention, "fbg") == 512 + 2 * (512 * 512 + 512) + 4 * 512
    assert tuple(attention.fbg.threshold.shape) == (1, 512, 1, 1)
    assert count(FinetuneNet("resnet18", 64, 50), "last_layer") == 51 * 512 + 51


@pytest.mark.parametrize("side, out", [(64, 2), (65, 3), (97, 4)])
def test_the_map_has_a_thirtysecond_of_the_side_rounded_up(side, out):
    with jt.no_grad():
        maps = ResNet("resnet18", 16).stages(jt.ones((1, 3, side, 64)))
    assert [tuple(m.shape) for m in maps][3] == (1, 128, out, 2)


@pytest.mark.parametrize("arch", ["resnet18", "resnet50"])
def test_output_stride_16_has_the_same_weights_and_twice_the_map(arch):
    from engine.runtime import jt
    from luss.models.networks import FinetuneNet

    wide, narrow = FinetuneNet(arch, 8, 5), FinetuneNet(arch, 8, 5, output_stride=16)
    shapes = {key: tuple(value.shape) for key, value in wide.state_dict().items()}
    assert shapes == {key: tuple(value.shape) for key, value in narrow.state_dict().items()}
    x = jt.zeros((1, 3, 96, 64))
    assert wide(x).shape == [1, 6, 3, 2] and narrow(x).shape == [1, 6, 6, 4]


def test_layer_rates_follow_the_published_layer_numbers():
    from luss.models.build import layer_rates

    names = ["conv1.weight", "bn1.bias", "layer1.0.conv1.weight", "layer2.1.downsample.0.weight", "layer4.2.bn3.weight", "last_layer.weight"]
    # ResNet-50: blocks 3, 4, 6, 3; stem 0, block j -> j + 1, head n = 17
    assert layer_rates("resnet50", names, 0.5) == dict(zip(names, (0.5**17, 0.5**17, 0.5**16, 0.5**12, 0.5**1, 1.0)))
