"""ResNet encoders of PASS: output stride 32, bias-free convolutions, no zero-init of residual branches (spec/pass.md 2.1)."""

from __future__ import annotations

from engine.runtime import jt
from engine.runtime.errors import LussError

from .layers import BatchNorm, conv

nn = jt.nn

ARCHITECTURES = {  # name: (block, blocks a stage, factor on the width)
    "resnet18": ("basic", (2, 2, 2, 2), 1),
    "resnet50": ("bottleneck", (3, 4, 6, 3), 1),
    "resnet50w2": ("bottleneck", (3, 4, 6, 3), 2),
    "resnet50w4": ("bottleneck", (3, 4, 6, 3), 4),
    "resnet50w5": ("bottleneck", (3, 4, 6, 3), 5),
}


class BasicBlock(nn.Module):
    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int, downsample, dilation: int = 1):
        self.conv1, self.bn1 = conv(inputs, width, 3, stride, dilation, dilation=dilation), BatchNorm(width)
        self.conv2, self.bn2 = conv(width, width, 3, 1, dilation, dilation=dilation), BatchNorm(width)
        self.downsample = downsample

    def execute(self, x):
        y = nn.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return nn.relu(y + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(nn.Module):
    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int, downsample, dilation: int = 1):
        self.conv1, self.bn1 = conv(inputs, width, 1), BatchNorm(width)
        self.conv2, self.bn2 = conv(width, width, 3, stride, dilation, dilation=dilation), BatchNorm(width)  # "v1.5": the stride is on the 3x3
        self.conv3, self.bn3 = conv(width, 4 * width, 1), BatchNorm(4 * width)
        self.downsample = downsample

    def execute(self, x):
        y = nn.relu(self.bn1(self.conv1(x)))
        y = nn.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return nn.relu(y + (x if self.downsample is None else self.downsample(x)))


def channels_of(arch: str, width: int = 64) -> tuple[int, int, int, int]:
    """Output channels of the four stages."""
    block, _, factor = _architecture(arch)
    expansion = 4 if block == "bottleneck" else 1
    return tuple(width * factor * 2**stage * expansion for stage in range(4))


def blocks_of(arch: str) -> tuple[int, int, int, int]:
    """Residual blocks of the four stages."""
    return _architecture(arch)[1]


def _architecture(arch: str):
    if arch not in ARCHITECTURES:
        raise LussError(f"model.arch = {arch}: expected one of {', '.join(ARCHITECTURES)}")
    return ARCHITECTURES[arch]


class ResNet(nn.Module):
    """Input (N, 3, H, W) float32, normalised. Keys of its state are those of torchvision's ResNet without `fc`.

    output_stride 16: the last stage keeps the resolution, and its blocks from the second on are dilated by 2 ("D16").
    """

    def __init__(self, arch: str = "resnet18", width: int = 64, output_stride: int = 32):
        kind, blocks, factor = _architecture(arch)
        block = BasicBlock if kind == "basic" else Bottleneck
        width *= factor
        self.channels = channels_of(arch, width // factor)
        self.conv1, self.bn1 = conv(3, width, 7, 2, 3), BatchNorm(width)
        self.maxpool = nn.Pool(3, 2, 1, op="maximum")
        inputs = width
        for stage, count in enumerate(blocks):
            dilated = stage == 3 and output_stride == 16
            layers, inputs = self._stage(block, inputs, width * 2**stage, count, 1 if stage == 0 or dilated else 2, 2 if dilated else 1)
            setattr(self, f"layer{stage + 1}", layers)

    @staticmethod
    def _stage(block, inputs: int, width: int, count: int, stride: int, dilation: int = 1):
        outputs, layers = width * block.expansion, []
        for index in range(count):
            step = stride if index == 0 else 1
            down = None
            if step != 1 or inputs != outputs:
                down = nn.Sequential(conv(inputs, outputs, 1, step), BatchNorm(outputs))
            layers.append(block(inputs, width, step, down, dilation if index else 1))
            inputs = outputs
        return nn.Sequential(*layers), outputs

    def stages(self, x):
        """Feature maps (c1, c2, c3, c4) after ReLU, at strides 4, 8, 16 and 32."""
        x = self.maxpool(nn.relu(self.bn1(self.conv1(x))))
        c1 = self.layer1(x)
        c2 = self.layer2(c1)
        c3 = self.layer3(c2)
        return c1, c2, c3, self.layer4(c3)

    def features(self, x):
        """c4 alone: (N, C4, ceil(H / 32), ceil(W / 32))."""
        return self.stages(x)[3]
