"""Stage 1: self-supervised pre-training with SwAV, pixel-to-pixel and deep-to-shallow losses (spec/pass.md 3)."""

from __future__ import annotations

from engine.data import MultiCropDataset
from engine.runtime import jt
from engine.runtime.processes import world_size
from engine.runtime.seeding import seed_everything
from engine.training.larc import LarcSGD
from engine.training.loop import TrainingRun
from engine.training.schedule import cosine_schedule
from luss.images import training_images
from luss.losses import EmbeddingQueue, assign_codes, deep_to_shallow, pixel_to_pixel, swapped_prediction
from luss.models.build import load, parameters, pretrain_net, variables
from luss.models.layers import l2_normalize, set_training
from luss.models.state_dict import read_state_dict
from luss.settings import Settings

from .common import Job, batch_size, crop_groups, optimizer_kind, run_options, say, training_loader, training_std


def normalize_prototypes(net) -> None:
    """Make each prototype a unit vector, in place, before the forward pass.

    The gradient has to be switched on again between the assignment and the forward pass: in the published Jittor branch
    it is switched on after it, and the prototypes are never trained (spec/pass.md 12.2, J1).
    """
    weight = net.prototypes.weight
    weight.update(l2_normalize(weight.detach()))
    weight.start_grad()


def pretrain_step(net, optimizer: LarcSGD, groups, grid_q, grid_k, queue, lr: float, settings: Settings, frozen: bool) -> dict:
    """One optimisation step on normalised crops; returns the figures (Vars) loss, i2i, p2p and one d2s a shallow stage.

    groups: one (n_g b, 3, s, s) Var a resolution, crop-major. `frozen`: the prototypes get no update in this step.
    """
    p, swav = settings.pretrain, settings.swav
    batch = groups[0].shape[0] // 2
    crops = sum(g.shape[0] for g in groups) // batch
    normalize_prototypes(net)
    embedding, scores, z, prediction = net(groups, grid_q, grid_k)
    codes = assign_codes(embedding, scores, batch, net.prototypes.weight, queue, swav.epsilon, swav.sinkhorn_iterations)
    i2i = swapped_prediction(codes, scores, batch, crops, swav.temperature)
    d2s = deep_to_shallow(codes, scores, batch, crops, len(settings.model.shallow), swav.temperature)
    p2p = pixel_to_pixel(z, prediction)
    image_loss = i2i * p.weights[0]
    for weight, term in zip(p.weights[1:], d2s):
        image_loss = image_loss + term * weight
    loss = image_loss / sum(p.weights) + p2p * p.p2p_weight
    skip = {name for name in optimizer.parameters if "prototypes" in name} if frozen else frozenset()
    optimizer.step(loss, lr, skip)
    return {"loss": loss, "i2i": i2i, "p2p": p2p, **{f"d2s{s}": term for s, term in zip(settings.model.shallow, d2s)}}


def run(job: Job) -> dict:
    """Train, resuming from the stage's checkpoint; returns figures for DONE.json."""
    s, p = job.settings, job.settings.pretrain
    seed_everything(s.run.seed)
    net = pretrain_net(s)
    set_training(net, True)
    if s.model.weights:
        report = load(net, read_state_dict(s.model.weights), source=s.model.weights)
        say(f"{s.model.weights}: {report.describe()}")
    folder = training_images(job.workspace, s, "pretrain")
    batch = batch_size(p.batch_size, "pretrain.batch_size")
    dataset = MultiCropDataset(folder, s.run.seed, p.crops, p.sizes, p.min_scale, p.max_scale, p.jitter, True)
    epochs = 0 if job.untrained else p.epochs
    optimizer = LarcSGD(parameters(net), optimizer_kind(s), s.optimizer.momentum, s.optimizer.weight_decay, s.optimizer.trust)
    length = p.queue_length // (batch * world_size()) * batch
    queues: list[EmbeddingQueue] = []

    def restore(arrays: dict, epoch: int) -> None:
        if "queue" in arrays:
            queues.append(EmbeddingQueue(length, s.model.feat_dim, arrays["queue"]))

    with training_loader(job, dataset, folder, batch, s.run.seed) as loader:
        o, std = s.optimizer, training_std(s)
        schedule = cosine_schedule(o.base_lr, o.final_lr, epochs, loader.steps_per_epoch, min(o.warmup_epochs, epochs), o.start_warmup)
        loop = TrainingRun(
            job.path,
            title="pretrain",
            variables=variables(net),
            optimizer=optimizer,
            loader=loader,
            epochs=epochs,
            schedule=schedule,
            prepare=lambda batch: crop_groups(batch, p.crops, p.sizes, std),
            extra=lambda: {"queue": queues[0].rows.numpy()} if queues else {},
            restore_extra=restore,
            **run_options(s),
        )
        for step in loop.steps():
            if not queues and length and step.epoch >= p.queue_start_epoch:
                queues.append(EmbeddingQueue(length, s.model.feat_dim))
            grids = jt.array(step.batch["grid_q"]), jt.array(step.batch["grid_k"])
            figures = pretrain_step(net, optimizer, step.inputs, *grids, queues[0] if queues else None, step.lr, s, step.index < p.freeze_prototypes)
            loop.after(step, figures)
    return loop.figures()
