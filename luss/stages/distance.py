"""Distance matching: a bank of labelled vectors from train-semi, and the vote of its nearest rows at each pixel (spec/benchmark.md 5).

Nothing is trained: the encoder is that of stage 1. Labels serve for the bank alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

import numpy as np

from engine.data import mask_path
from engine.ops.knn_vote import LabelledBank, knn_vote
from engine.ops.label_maps import enlarge_labels
from engine.ops.upsample import upsample_bilinear
from engine.runtime import LussError, interrupt, jt
from engine.runtime.progress import Progress
from engine.storage.atomic import atomic_file
from luss.benchmark.label_map import IGNORE, read_label_map
from luss.models.build import load
from luss.models.layers import set_training
from luss.models.resnet import ResNet

from .common import Job, images, say, stage_weights, whole_images
from .predict import write_predictions

ENLARGE = 4  # vectors lie on a grid of four times the encoder's resolution


def pixel_vectors(net: ResNet, x) -> jt.Var:
    """Normalised (n, 3, h, w) -> stage-4 features, bilinearly enlarged, (n, C, 4h', 4w')."""
    with jt.no_grad():
        c4 = net.features(x)
        return upsample_bilinear(c4, (ENLARGE * c4.shape[2], ENLARGE * c4.shape[3]))


def instance_vectors(vectors: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One vector for each id of an image: its sum over the id's pixels, divided by all pixels.

    Args:
        vectors: (C, h, w) float32. mask: (H, W) ids, shrunk here to (h, w) by nearest; 0 counts as an id, ignored pixels do not.

    Returns: (n, C) float32 and their ids (n,) int64, ascending; n = 0 where all is ignored.
    """
    ids = enlarge_labels(mask, vectors.shape[1:]).ravel()
    present = np.setdiff1d(ids, [IGNORE])
    member = (ids[None] == present[:, None]).astype(np.float32)
    return member @ vectors.reshape(len(vectors), -1).T / np.float32(ids.size), present.astype(np.int64)


def encoder(job: Job) -> ResNet:
    s = job.settings
    net = ResNet(s.model.arch, s.model.width)
    load(net, stage_weights(job, "pretrain"), required=("",), source="the checkpoint of stage 1")
    set_training(net, False)
    return net


def make_bank(job: Job, net: ResNet) -> tuple[np.ndarray, np.ndarray]:
    """Rows (N, C) float32 and class ids (N,) of all train-semi images in their folder order; kept in bank.npz.

    Raises:
        LussError: no train-semi images or masks, or an id above the number of class folders.
    """
    s = job.settings
    kept = job.path / "bank.npz"
    if kept.exists():
        with np.load(kept, allow_pickle=False) as arrays:
            return arrays["rows"], arrays["labels"]
    folder = images(job, "train-semi")
    found: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    with Progress("bank", len(folder.items), unit="image", quiet=os.environ.get("LUSS_QUIET") == "1") as progress:
        # every process needs the whole bank, and train-semi is 1 % of the images: each makes it for itself
        for positions, batch, _ in whole_images(job, folder, s.distance.resize, s.distance.batch_size, share=False):
            for position, vectors in zip(positions, pixel_vectors(net, batch).numpy()):
                path = mask_path(s.data.root, "train-semi", folder.items[position].key)
                found[position] = instance_vectors(vectors, read_label_map(path))
                top = found[position][1].max(initial=0)
                if top > len(folder.classes):
                    raise LussError(f"{path}: id {top}; expected 0 to {len(folder.classes)}, one id for each class folder of train-semi, or 1000")
            progress.update(len(positions))
            if interrupt.stop_requested():
                raise interrupt.Interrupted("the bank is made anew by the same command")
    rows = np.concatenate([found[position][0] for position in sorted(found)])
    labels = np.concatenate([found[position][1] for position in sorted(found)])
    if not len(rows):
        raise LussError(f"{s.data.root}: all masks of train-semi are ignore: there is nothing to match with")
    with atomic_file(str(kept)) as stream:
        np.savez(stream, rows=rows, labels=labels)
    return rows, labels


def vote_maps(net: ResNet, bank: LabelledBank, neighbours: int, temperature: float):
    """A `MapsOf` for `write_predictions`: the vote at each vector's place, enlarged by nearest."""

    def maps(batch, sizes: np.ndarray) -> Iterable[np.ndarray]:
        vectors = pixel_vectors(net, batch)
        n, c, h, w = vectors.shape
        ids = knn_vote(vectors.transpose(0, 2, 3, 1).reshape(n * h * w, c), bank, neighbours, temperature).reshape(n, h, w)
        for grid, size in zip(ids, sizes):
            yield enlarge_labels(grid, (int(size[0]), int(size[1])))

    return maps


def run(job: Job) -> dict:
    """Bank, then label maps of every split in predict.splits, in class ids."""
    s = job.settings
    net = encoder(job)
    rows, labels = make_bank(job, net)
    classes = len(images(job, "train-semi").classes)
    say(f"distance: a bank of {len(rows)} vectors of {len(np.unique(labels))} ids from train-semi")
    bank = LabelledBank(rows, labels, classes + 1)
    counts = write_predictions(job, s.distance.resize, s.distance.batch_size, vote_maps(net, bank, s.distance.neighbours, s.distance.temperature))
    return {"images": counts, "bank": len(rows)}
