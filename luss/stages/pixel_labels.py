"""Stages 2.3 and 2.4: label maps from attention and centroids, and the choice of the attention threshold (spec/pass.md 6)."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from engine.data import Manifest
from engine.ops.pixel_nearest_centroid import pixel_nearest_centroid
from engine.ops.upsample_argmax import enlarge_map
from engine.runtime import LussError, interrupt, jt
from engine.runtime.processes import barrier, rank
from engine.storage.atomic import atomic_file, write_json
from luss.benchmark.evaluate import curve_folder
from luss.models.build import attention_net, load
from luss.models.layers import set_training

from .common import Job, evaluation_workers, has_masks, images, map_progress, say, stage_weights, whole_images
from .writing import MapWriter, map_path


def image_labels(net, x, sizes: np.ndarray, centroids: np.ndarray, threshold: float) -> tuple[list[np.ndarray], jt.Var]:
    """Normalised (n, 3, h, w) Var and the images' sizes (n, 2) -> n maps (H, W) int32 and the attention (n, 4h', 4w') float32 Var.

    An id is the cluster 1..K whose centroid, of (K, C4), has the largest cosine on the attention's grid, or 0 where the attention, enlarged
    to the image's size, is below float32(threshold).
    """
    with jt.no_grad():
        features, attention = net.attention(x)
        attention = attention[:, 0]
        return pixel_nearest_centroid(features, centroids, sizes, attention=attention, threshold=threshold), attention


def _network(job: Job):
    net = attention_net(job.settings)
    load(net, stage_weights(job, "attend"), required=("",), source="the checkpoint of stage 2.1")
    set_training(net, False)
    centroids = np.load(job.workspace.stage("cluster").path / "centroids.npy")
    return net, centroids


def _write_maps(job: Job, folder: Manifest, target: Path, threshold: float, keep_attention: bool, title: str) -> None:
    s = job.settings
    net, centroids = _network(job)
    ready = {i for i, item in enumerate(folder.items) if map_path(target, item.key).exists()}  # maps appear whole: these are from before a stop
    with map_progress(title, len(folder.items), ready) as progress, MapWriter(s) as writer:
        for positions, batch, sizes in whole_images(job, folder, s.label.resize, s.label.batch_size, ready):
            maps, attention = image_labels(net, batch, sizes, centroids, threshold)
            for position, ids, m, size in zip(positions, maps, attention, sizes):
                path = map_path(target, folder.items[position].key)
                if keep_attention:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    with atomic_file(str(path.with_suffix(".npy")), durable=False) as stream:
                        np.save(stream, enlarge_map(m.numpy(), (int(size[0]), int(size[1]))))
                writer.put(path, ids)
            progress.update(len(positions))
            if interrupt.stop_requested():
                raise interrupt.Interrupted(f"{title} stopped; maps written so far are kept, the same command continues")


def choose_threshold(job: Job) -> dict:
    """Stage 2.3: maps and attention of the evaluation split without threshold, then the threshold with the best mIoU.

    This looks at the masks of the evaluation split, as the published method does. Without masks Otsu's threshold of the
    attention is taken.
    """
    s = job.settings
    split = s.data.evaluation_split
    fixed = s.label.threshold
    target = job.path / split
    if not os.path.isdir(os.path.join(s.data.root, split)):
        split, target = "train", job.path / "train"  # a folder of images alone
    folder = images(job, split)
    _write_maps(job, folder, target, 0.0, True, f"attention of {split}")
    barrier()
    if rank() != 0:
        return {}
    curve: dict = {"thresholds": [], "miou": [], "best_threshold": fixed, "best_miou": None, "rule": "label.threshold"}
    if has_masks(s, split):
        thresholds = [k / 100 for k in range(s.label.curve_min, s.label.curve_max + 1)]
        workers = evaluation_workers(s)
        found = curve_folder(str(target), s.data.root, split, len(folder.classes), thresholds, workers, num_clusters=s.cluster.clusters)
        curve.update({key: found[key] for key in ("thresholds", "miou", "best_threshold", "best_miou")}, rule="best mIoU of the curve")
        if fixed >= 0:
            curve.update(best_threshold=fixed, rule="label.threshold")
    elif fixed < 0:
        curve.update(best_threshold=_otsu(target, folder), rule="Otsu's threshold of the attention: there are no masks to choose by")
    write_json(str(job.path / "curve.json"), curve)
    gain = "" if curve["best_miou"] is None else f", mIoU {curve['best_miou']:.2f} on {split}"
    say(f"threshold: {curve['best_threshold']:.2f} ({curve['rule']}{gain})")
    return {key: curve[key] for key in ("best_threshold", "best_miou", "rule")}


def _otsu(target: Path, folder: Manifest, bins: int = 256) -> float:
    """Threshold in 0..1 that separates the attention values into the two most compact groups (Otsu 1979)."""
    counts = np.zeros(bins, np.int64)
    for item in folder.items:
        path = map_path(target, item.key).with_suffix(".npy")
        if path.exists():
            counts += np.histogram(np.load(path), bins=bins, range=(0, 1))[0]
    if not counts.sum():
        raise LussError(f"{target}: no attention map to choose a threshold from")
    p = counts / counts.sum()
    centre = (np.arange(bins) + 0.5) / bins
    weight, mean = np.cumsum(p), np.cumsum(p * centre)
    between = np.zeros(bins)
    inside = (weight > 0) & (weight < 1)
    between[inside] = (mean[-1] * weight[inside] - mean[inside]) ** 2 / (weight[inside] * (1 - weight[inside]))
    return float((np.argmax(between) + 1) / bins)


def label_training_images(job: Job) -> dict:
    """Stage 2.4: pseudo labels of all training images at the chosen threshold."""
    from engine.storage.atomic import read_json

    threshold = read_json(str(job.workspace.stage("threshold").path / "curve.json"))["best_threshold"]
    folder = images(job, "train")
    _write_maps(job, folder, job.path / "train", float(threshold), False, "pseudo labels")
    return {"threshold": threshold, "images": len(folder.items)}
