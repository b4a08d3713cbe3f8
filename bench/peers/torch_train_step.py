"""The three training steps of PASS in plain PyTorch, for comparison. Run by bench_train_step.py, in a process of its own.

    python bench/peers/torch_train_step.py FOLDER STAGE STEPS

FOLDER holds what our side wrote: STAGE.pth (weights) and STAGE.npz (one batch). Prints one JSON line: seconds of each
step, the loss of each step, peak memory. The code is what a user would write: nn modules, autograd, channels last.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn


class Block(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs)
        self.conv2, self.bn2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs)
        self.downsample = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)), inplace=True)))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)), inplace=True)


class ResNet18(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.bn1, self.maxpool = nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.MaxPool2d(3, 2, 1)
        for stage in range(4):
            inputs, outputs = 64 * 2 ** max(stage - 1, 0), 64 * 2**stage
            setattr(self, f"layer{stage + 1}", nn.Sequential(Block(inputs, outputs, 1 if stage == 0 else 2), Block(outputs, outputs, 1)))

    def maps(self, x):
        x = self.maxpool(F.relu(self.bn1(self.conv1(x)), inplace=True))
        c3 = self.layer3(self.layer2(self.layer1(x)))
        return c3, self.layer4(c3)


def head(inputs, hidden, outputs):
    layers = nn.Linear(inputs, hidden), nn.BatchNorm1d(hidden), nn.ReLU(True), nn.Linear(hidden, outputs)
    return nn.Sequential(*layers, nn.BatchNorm1d(outputs, affine=False))


def pixel_head(inputs, hidden, outputs):
    layers = []
    for before in (inputs, hidden):
        layers += [nn.Conv2d(before, hidden, 1, bias=False), nn.BatchNorm2d(hidden), nn.ReLU(True)]
    return nn.Sequential(*layers, nn.Conv2d(hidden, outputs, 1, bias=False), nn.BatchNorm2d(outputs, affine=False))


class Pretrain(ResNet18):
    def __init__(self, config):
        super().__init__()
        hidden, dim = config["hidden"], config["dim"]
        self.projection_head = head(512, hidden, dim)
        self.projection_head_shallow = nn.ModuleDict({"projection_head_shallow3": head(256, hidden, dim)})
        self.projection_head_pixel_shallow = nn.ModuleDict({"projection_head_pixel3": pixel_head(256, hidden, 256)})
        self.projection_head_pixel = pixel_head(512, hidden, dim)
        self.predictor_head_pixel = nn.Sequential(nn.Conv2d(dim, dim, 1, bias=False), nn.BatchNorm2d(dim), nn.ReLU(True), nn.Conv2d(dim, dim, 1))
        self.prototypes = nn.Linear(dim, config["prototypes"], bias=False)

    def loss(self, batch):
        with torch.no_grad():
            self.prototypes.weight.copy_(F.normalize(self.prototypes.weight))
        groups = [batch[key] for key in sorted(batch) if key.startswith("crops")]
        b = len(groups[0]) // 2
        c3, c4 = self.maps(groups[0])
        z = F.grid_sample(self.projection_head_pixel(c4), torch.cat([batch["grid_q"], batch["grid_k"]]), align_corners=False)
        p = self.predictor_head_pixel(z)
        pooled = torch.cat([c4.mean((2, 3))] + [self.maps(x)[1].mean((2, 3)) for x in groups[1:]])
        scores = self.prototypes(F.normalize(self.projection_head(pooled)))
        shallow = self.projection_head_pixel_shallow["projection_head_pixel3"](c3).mean((2, 3))
        shallow = F.normalize(self.projection_head_shallow["projection_head_shallow3"](shallow)) @ self.prototypes.weight.detach().T
        codes = [sinkhorn(scores[i * b : (i + 1) * b].detach()) for i in (0, 1)]
        crops = scores.split(b)
        i2i = sum(sum(cross(codes[i], crops[v]) for v in range(len(crops)) if v != i) / (len(crops) - 1) for i in (0, 1)) / 2
        d2s = (cross(codes[0], shallow[b:]) + cross(codes[1], shallow[:b])) / 2
        p2p = -(F.cosine_similarity(p[:b], z[b:].detach()).mean() + F.cosine_similarity(p[b:], z[:b].detach()).mean()) / 2
        return (i2i + d2s) / 2 + p2p


class Attend(ResNet18):
    def __init__(self, config):
        super().__init__()
        self.projection_head = head(512, config["hidden"], config["dim"])
        self.prototypes = nn.Linear(config["dim"], config["prototypes"], bias=False)
        self.fbg = nn.Module()
        self.fbg.threshold = nn.Parameter(torch.zeros(1, 512, 1, 1))
        self.fbg.atten = nn.Sequential(nn.Conv2d(512, 512, 1), nn.BatchNorm2d(512), nn.ReLU(True), nn.Conv2d(512, 512, 1), nn.BatchNorm2d(512))

    def loss(self, batch):
        with torch.no_grad():
            self.prototypes.weight.copy_(F.normalize(self.prototypes.weight))
            unit = F.normalize(F.interpolate(self.maps(batch["crops0"])[1], scale_factor=4, mode="bilinear", align_corners=False))
        pooled = (unit * torch.sigmoid(self.fbg.atten(unit) + self.fbg.threshold)).mean((2, 3))
        scores = self.prototypes(F.normalize(self.projection_head(pooled))).chunk(2)
        return (cross(sinkhorn(scores[0].detach()), scores[1]) + cross(sinkhorn(scores[1].detach()), scores[0])) / 2


class Finetune(ResNet18):
    def __init__(self, config):
        super().__init__()
        self.last_layer = nn.Conv2d(512, config["classes"], 1)

    def loss(self, batch):
        labels = batch["labels"]
        logits = F.interpolate(self.last_layer(self.maps(batch["image"])[1]), size=labels.shape[1:], mode="bilinear", align_corners=False)
        return F.cross_entropy(logits, labels.long())


STAGES = {"pretrain": Pretrain, "attend": Attend, "finetune": Finetune}
TRAINED = {"attend": ("fbg", "prototypes")}


def cross(codes, scores):
    return -(codes * F.log_softmax(scores / 0.1, dim=1)).sum(1).mean()


@torch.no_grad()
def sinkhorn(scores):
    q = torch.exp(scores / 0.05).T
    q /= q.sum()
    for _ in range(3):
        q /= q.sum(1, keepdim=True) * q.shape[0]
        q /= q.sum(0, keepdim=True) * q.shape[1]
    return (q * q.shape[1]).T


@torch.no_grad()
def larc_(parameters, trust=0.001, decay=1e-6):
    """Scale gradients in place, as apex LARC without clipping does."""
    for p in parameters:
        p_norm, g_norm = p.norm(), p.grad.norm()
        if p_norm != 0 and g_norm != 0:
            p.grad.add_(p, alpha=decay).mul_(trust * p_norm / (g_norm + decay * p_norm + 1e-8))


def main():
    folder, stage, steps = sys.argv[1], sys.argv[2], int(sys.argv[3])
    config = json.load(open(os.path.join(folder, "config.json")))
    torch.set_num_threads(config["threads"])
    model = STAGES[stage](config)
    found = model.load_state_dict(torch.load(os.path.join(folder, f"{stage}.pth"), weights_only=True), strict=False)
    assert not found.unexpected_keys and all(key.endswith("num_batches_tracked") for key in found.missing_keys), found
    model.train().to(memory_format=torch.channels_last)
    trained = [p for name, p in model.named_parameters() if name.startswith(TRAINED.get(stage, ""))]
    for p in model.parameters():
        p.requires_grad_(any(p is t for t in trained))
    optimizer = torch.optim.SGD(trained, lr=config["lr"], momentum=0.9)
    raw = np.load(os.path.join(folder, f"{stage}.npz"))
    batch = {key: torch.from_numpy(raw[key]) for key in raw.files}
    batch = {key: x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 and x.shape[1] == 3 else x for key, x in batch.items()}
    seconds, losses = [], []
    for _ in range(steps):
        begin = time.perf_counter()
        loss = model.loss(batch)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        larc_(trained)
        optimizer.step()
        losses.append(loss.item())
        seconds.append(time.perf_counter() - begin)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "losses": losses, "peak_mib": peak, "version": f"PyTorch {torch.__version__}"}))


if __name__ == "__main__":
    main()
