"""Build the networks from settings, and move weights in and out of them."""

from __future__ import annotations

import re

import numpy as np

from engine.runtime import jt
from luss.settings import Settings

from .networks import AttentionNet, FinetuneNet, PretrainNet
from .resnet import blocks_of
from .state_dict import LoadReport, match


def pretrain_net(s: Settings) -> PretrainNet:
    return PretrainNet(s.model.arch, s.model.width, s.model.hidden_mlp, s.model.feat_dim, s.model.prototypes, s.model.shallow)


def attention_net(s: Settings) -> AttentionNet:
    return AttentionNet(s.model.arch, s.model.width, s.model.hidden_mlp, s.model.feat_dim, s.model.prototypes)


def finetune_net(s: Settings) -> FinetuneNet:
    return FinetuneNet(s.model.arch, s.model.width, s.cluster.clusters)


def semi_net(s: Settings, num_classes: int) -> FinetuneNet:
    """Network of the semi-supervised protocol: one output for each class and one for "other"."""
    return FinetuneNet(s.model.arch, s.model.width, num_classes, s.semi.output_stride)


def layer_rates(arch: str, names, decay: float) -> dict[str, float]:
    """Layer-wise rates (spec/benchmark.md 6): decay^(n - i), n = residual blocks + 1; i = 0 for the stem, j + 1 for block j, n for the head."""
    blocks = blocks_of(arch)
    top = sum(blocks) + 1
    rates = {}
    for name in names:
        found = re.match(r"layer(\d+)\.(\d+)\.", name)
        if found:
            layer = sum(blocks[: int(found[1]) - 1]) + int(found[2]) + 1
        else:
            layer = 0 if name.startswith(("conv1.", "bn1.")) else top
        rates[name] = decay ** (top - layer)
    return rates


def variables(net) -> dict:
    """All Vars by the published key, parameters and BatchNorm statistics."""
    return dict(net.state_dict())


def parameters(net, names: tuple[str, ...] = ("",)) -> dict:
    """The trainable Vars whose key contains one of `names`."""
    found = {}
    for key, value in net.state_dict().items():
        if not key.endswith(("running_mean", "running_var")) and any(name in key for name in names):
            found[key] = value
    return found


def load(net, state: dict[str, np.ndarray], *, required: tuple[str, ...] = ("conv1.", "bn1.", "layer"), source: str = "the checkpoint") -> LoadReport:
    """Copy what matches into the network.

    Raises:
        LussError: a shape differs, no backbone key matches, or a key that begins with one of `required` is missing.
    """
    own = variables(net)
    report = match(state, {key: tuple(value.shape) for key, value in own.items()}, required_prefixes=required, source=source)
    for key in report.matched:
        own[key].assign(jt.array(np.ascontiguousarray(state[key], dtype=np.float32)))
    for value in parameters(net).values():
        value.start_grad()
    for key, value in own.items():
        if key.endswith(("running_mean", "running_var")):
            value.stop_grad()
    return report
