"""What a run would do, for --dry-run: stages, steps, and sizes of what will be written."""

from __future__ import annotations

import os

from engine.data import list_images
from engine.storage.atomic import describe_bytes
from luss.settings import Settings
from luss.workspace import Workspace

_EXPANSION = {
    "resnet18": (1, 1, 11_176_512),
    "resnet50": (4, 1, 23_508_032),
    "resnet50w2": (4, 2, 0),
    "resnet50w4": (4, 4, 0),
    "resnet50w5": (4, 5, 0),
}


def describe(space: Workspace, settings: Settings, states: list) -> str:
    """A table: stage, state, work, size. Sizes of checkpoints are estimates from the layer widths; maps count 12 KB each."""
    s = settings
    train = len(list_images(s.data.root, "train").items)
    first = len(list_images(s.data.pretrain_root or s.data.root, "train").items)
    split = s.data.evaluation_split
    held = len(list_images(s.data.root, split).items) if os.path.isdir(os.path.join(s.data.root, split)) else 0
    expansion, factor, backbone = _EXPANSION.get(s.model.arch, (4, 1, 0))
    scale = (s.model.width * factor / 64) ** 2
    backbone = (backbone or 23_508_032) * scale
    c4 = 8 * s.model.width * factor * expansion
    heads = c4 * s.model.hidden_mlp * 4 + s.model.hidden_mlp**2 * 3
    rows = []
    for stage, state, reason in states:
        if stage.name in ("pretrain", "attend", "finetune"):
            section = getattr(s, stage.name)
            count = first if stage.name == "pretrain" else train
            steps = count // section.batch_size
            work = f"{section.epochs} epochs x {steps} steps of {section.batch_size} images"
            extra = {"pretrain": heads, "attend": 2 * c4 * c4 + c4 * s.model.hidden_mlp, "finetune": c4 * (s.cluster.clusters + 1)}[stage.name]
            size = 8 * (backbone + extra)
        elif stage.name == "features":
            value = 2 if s.features.dtype == "float16" else 4
            work, size = f"{train + held} images, {int(c4)} values each", (value * c4 + 4) * (train + held)
        elif stage.name == "cluster":
            work = f"k-means K={s.cluster.clusters}, {s.cluster.restarts} x {s.cluster.iterations}"
            size = 4 * c4 * s.cluster.clusters + 60 * (train + held)
        elif stage.name == "threshold":
            work, size = f"{held} images, {s.label.curve_max - s.label.curve_min + 1} thresholds", held * (12e3 + 4 * 500 * 375)
        elif stage.name == "semi":
            count = len(list_images(s.data.root, "train-semi").items)
            steps = -(-count // s.semi.batch_size)
            work = f"{s.semi.epochs} epochs x {steps} steps of {s.semi.batch_size} images"
            size = 12 * (backbone + c4 * (s.cluster.clusters + 1))
        elif stage.name in ("distance", "semi-predict"):
            work, size = f"label maps of {', '.join(s.predict.splits)}", held * 12e3
        elif stage.name == "label":
            work, size = f"{train} label maps", train * 12e3
        elif stage.name == "predict":
            work, size = f"label maps of {', '.join(s.predict.splits)}", held * 12e3
        else:
            work, size = f"{held} images", 4e3
        rows.append((stage.name, state, work, f"about {describe_bytes(int(size))}", reason))
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)) + f"  {row[4]}" for row in rows]
    return "\n".join([f"workspace {space.path}; images {s.data.root}: {train} train, {held} {split}", *lines])
