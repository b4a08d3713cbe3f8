"""Semi-supervised protocol: fine-tune the encoder of stage 1 on the masks of train-semi, and predict class ids (spec/benchmark.md 6)."""

from __future__ import annotations

import os

import numpy as np

from engine.data import AnnotatedDataset
from engine.ops.label_maps import enlarge_labels
from engine.ops.upsample_cross_entropy import upsample_cross_entropy
from engine.runtime import LussError, jt
from engine.runtime.seeding import seed_everything
from engine.training.adamw import AdamW
from engine.training.loop import TrainingRun
from engine.training.schedule import half_cosine_schedule
from luss.benchmark.label_map import IGNORE
from luss.models.build import layer_rates, load, parameters, semi_net, variables
from luss.models.layers import set_training

from .common import Job, batch_size, images, labelled_crops, run_options, stage_weights, training_loader
from .predict import maps_from_logits, write_predictions

ENLARGE = 2  # the published network returns its logits at twice its resolution


def semi_step(net, optimizer: AdamW, x, labels: np.ndarray, lr: float, micro_batch: int) -> dict:
    """One step over micro-batches, whose gradients are averaged.

    Args:
        x: normalised (b, 3, s, s) Var. labels: (b, s, s) int32 ids, 1000 = ignore; shrunk by nearest to four times the network's resolution.
    """
    parts = range(0, x.shape[0], micro_batch)
    total, figures = {}, {"loss": 0.0, "accuracy": 0.0}
    for first in parts:
        logits = net(x[first : first + micro_batch])
        middle = (ENLARGE * logits.shape[2], ENLARGE * logits.shape[3])
        size = (2 * middle[0], 2 * middle[1])
        small = np.stack([enlarge_labels(ids, size) for ids in labels[first : first + micro_batch]])
        loss, accuracy = upsample_cross_entropy(logits, small, IGNORE, middle)
        for name, gradient in optimizer.gradients(loss).items():
            total[name] = gradient / len(parts) + total[name] if name in total else gradient / len(parts)
        jt.sync_all()  # else the graphs of all micro-batches are held until the update
        figures["loss"] += float(loss.item()) / len(parts)
        figures["accuracy"] += float(accuracy.item()) / len(parts)
    optimizer.apply(total, lr)
    return figures


def run(job: Job) -> dict:
    """Train, resuming from the stage's checkpoint."""
    s, o = job.settings, job.settings.semi
    seed_everything(s.run.seed + 3)
    folder = images(job, "train-semi")
    net = semi_net(s, len(folder.classes))
    set_training(net, True)
    load(net, stage_weights(job, "pretrain"), source="the checkpoint of stage 1")
    mask_root = os.path.join(s.data.root, "train-semi-segmentation")
    if not os.path.isdir(mask_root):
        raise LussError(
            f"{mask_root}: no such folder; the semi-supervised protocol trains on the masks of train-semi: prepare the data set with them"
        )
    scale = (o.min_scale, o.max_scale)
    dataset = AnnotatedDataset(folder, mask_root, s.run.seed + 3, o.size, scale, o.jitter, o.grey, o.blur)
    trained = parameters(net)
    optimizer = AdamW(trained, o.weight_decay, layer_rates(s.model.arch, trained, o.layer_decay))
    with training_loader(job, dataset, folder, batch_size(o.batch_size, "semi.batch_size"), s.run.seed + 3, drop_last=False) as loader:
        rate = o.base_lr * o.batch_size / 256
        loop = TrainingRun(
            job.path,
            title="semi",
            variables=variables(net),
            optimizer=optimizer,
            loader=loader,
            epochs=o.epochs,
            schedule=half_cosine_schedule(rate, o.final_lr, o.epochs, loader.steps_per_epoch, o.warmup_epochs),
            prepare=lambda batch: labelled_crops(batch, o.size),
            **run_options(s),
        )
        for step in loop.steps():
            loop.after(step, semi_step(net, optimizer, *step.inputs, step.lr, o.micro_batch))
    return {**loop.figures(), "images": len(folder.items)}


def predict(job: Job) -> dict:
    """Label maps of every split in predict.splits, in class ids."""
    s = job.settings
    net = semi_net(s, len(images(job, "train-semi").classes))
    load(net, stage_weights(job, "semi"), required=("",), source="the checkpoint of the semi-supervised fine-tuning")
    set_training(net, False)
    return {"images": write_predictions(job, s.predict.resize, s.predict.batch_size, maps_from_logits(net, s.predict.max_res, ENLARGE))}
