"""Stage 3: train a segmentation network of K + 1 classes on the pseudo labels (spec/pass.md 7)."""

from __future__ import annotations

from engine.data import PseudoLabelDataset
from engine.ops.upsample_cross_entropy import upsample_cross_entropy
from engine.runtime.seeding import seed_everything
from engine.training.larc import LarcSGD
from engine.training.loop import TrainingRun
from engine.training.schedule import cosine_schedule
from luss.images import training_images
from luss.losses import shrink_labels
from luss.models.build import finetune_net, load, parameters, variables
from luss.models.layers import set_training

from .common import Job, batch_size, labelled_crops, optimizer_kind, run_options, stage_weights, training_loader


def finetune_step(net, optimizer: LarcSGD, x, labels, lr: float) -> dict:
    """One step: normalised images (b, 3, s, s) and shrunk labels (b, h, w) int32."""
    loss, accuracy = upsample_cross_entropy(net(x), labels)
    optimizer.step(loss, lr)
    return {"loss": loss, "accuracy": accuracy}


def run(job: Job) -> dict:
    s, f = job.settings, job.settings.finetune
    seed_everything(s.run.seed + 2)
    net = finetune_net(s)
    set_training(net, True)
    load(net, stage_weights(job, "pretrain"), source="the checkpoint of stage 1")
    folder = training_images(job.workspace, s, "finetune")
    dataset = PseudoLabelDataset(folder, str(job.workspace.stage("label").path / "train"), s.run.seed + 2, f.size, (f.min_scale, f.max_scale))
    o = s.optimizer
    optimizer = LarcSGD(parameters(net), optimizer_kind(s), o.momentum, o.weight_decay, o.trust)
    with training_loader(job, dataset, folder, batch_size(f.batch_size, "finetune.batch_size"), s.run.seed + 2) as loader:
        loop = TrainingRun(
            job.path,
            title="finetune",
            variables=variables(net),
            optimizer=optimizer,
            loader=loader,
            epochs=f.epochs,
            schedule=cosine_schedule(f.base_lr, f.final_lr, f.epochs, loader.steps_per_epoch),
            prepare=lambda batch: labelled_crops(batch, f.size),
            **run_options(s),
        )
        for step in loop.steps():
            x, ids = step.inputs
            loop.after(step, finetune_step(net, optimizer, x, shrink_labels(ids, f.label_scale, s.run.published_quirks), step.lr))
    return loop.figures()
