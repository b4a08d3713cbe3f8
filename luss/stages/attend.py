"""Stage 2.1: train the pixel-attention head and the prototypes on the frozen encoder (spec/pass.md 4)."""

from __future__ import annotations

from engine.data import MultiCropDataset
from engine.runtime.processes import world_size
from engine.runtime.seeding import seed_everything
from engine.training.larc import LarcSGD
from engine.training.loop import TrainingRun
from engine.training.schedule import cosine_schedule
from luss.images import training_images
from luss.losses import EmbeddingQueue, assign_codes, swapped_prediction
from luss.models.build import attention_net, load, parameters, variables
from luss.models.layers import set_training
from luss.settings import Settings

from .common import Job, batch_size, crop_groups, optimizer_kind, run_options, stage_weights, training_loader, training_std
from .pretrain import normalize_prototypes

TRAINABLE = ("fbg", "prototypes")


def attend_step(net, optimizer: LarcSGD, groups, queue, lr: float, settings: Settings, frozen: bool = False) -> dict:
    """One step on normalised crops (crop-major groups); all BatchNorm layers use and update batch statistics, as published."""
    swav = settings.swav
    crops = 2
    batch = sum(g.shape[0] for g in groups) // crops
    normalize_prototypes(net)
    embedding, scores = net(groups)
    codes = assign_codes(embedding, scores, batch, net.prototypes.weight, queue, swav.epsilon, swav.sinkhorn_iterations)
    loss = swapped_prediction(codes, scores, batch, crops, swav.temperature)
    skip = {name for name in optimizer.parameters if "prototypes" in name} if frozen else frozenset()
    optimizer.step(loss, lr, skip)
    return {"loss": loss}


def run(job: Job) -> dict:
    s, a = job.settings, job.settings.attend
    seed_everything(s.run.seed + 1)
    net = attention_net(s)
    set_training(net, True)
    load(net, stage_weights(job, "pretrain"), source="the checkpoint of stage 1")
    folder = training_images(job.workspace, s, "attend")
    batch = batch_size(a.batch_size, "attend.batch_size")
    dataset = MultiCropDataset(folder, s.run.seed + 1, (2,), (a.size,), (a.min_scale,), (a.max_scale,), s.pretrain.jitter, False)
    o = s.optimizer
    optimizer = LarcSGD(parameters(net, TRAINABLE), optimizer_kind(s), o.momentum, o.weight_decay, o.trust)
    length = a.queue_length // (batch * world_size()) * batch
    queue = [EmbeddingQueue(length, s.model.feat_dim) if length else None]

    def restore(arrays: dict, epoch: int) -> None:
        if "queue" in arrays:
            queue[0] = EmbeddingQueue(length, s.model.feat_dim, arrays["queue"])

    std = training_std(s)
    with training_loader(job, dataset, folder, batch, s.run.seed + 1) as loader:
        loop = TrainingRun(
            job.path,
            title="attend",
            variables=variables(net),
            optimizer=optimizer,
            loader=loader,
            epochs=a.epochs,
            schedule=cosine_schedule(a.base_lr, a.final_lr, a.epochs, loader.steps_per_epoch),
            prepare=lambda batch: crop_groups(batch, (2,), (a.size,), std),
            extra=lambda: {"queue": queue[0].rows.numpy()} if queue[0] else {},
            restore_extra=restore,
            **run_options(s),
        )
        for step in loop.steps():
            loop.after(step, attend_step(net, optimizer, step.inputs, queue[0], step.lr, s, step.index < a.freeze_prototypes))
    return loop.figures()
