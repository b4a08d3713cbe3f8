"""Stage 2.2: attention-pooled features of every image, k-means, and the assignment of both splits (spec/pass.md 5)."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from engine.clustering.agreement import matched_accuracy, normalized_mutual_information
from engine.clustering.faiss_kmeans import kmeans, nearest, unit_rows
from engine.data import CenterCropDataset, ImageFolder, Loader, normalize
from engine.runtime import LussError, interrupt, jt
from engine.storage.atomic import atomic_file, write_bytes, write_json
from engine.training.progress import Progress
from luss.models.build import attention_net, load
from luss.models.layers import set_training

from .common import Job, images, say, stage_weights, workers

SHARD = 2048  # images; features of a shard are written at once, and not computed again after a kill


def extract(net, x: np.ndarray) -> np.ndarray:
    """(n, s, s, 3) uint8 -> (n, C4) float32 attention-pooled features, not normalised."""
    with jt.no_grad():
        return net.pool(jt.array(normalize(x))).numpy()


def run(job: Job) -> dict:
    s, c = job.settings, job.settings.cluster
    net = attention_net(s)
    load(net, stage_weights(job, "attend"), required=("",), source="the checkpoint of stage 2.1")
    set_training(net, False)
    train = images(s, "train")
    features, positions = _features(job, net, train, "train")
    if len(features) < c.clusters:
        raise LussError(f"cluster.clusters = {c.clusters}, but only {len(features)} training images could be read")
    seed = int(np.random.default_rng(s.run.seed).integers(1234))  # as published: below 1234
    centroids, records = kmeans(unit_rows(features), c.clusters, iterations=c.iterations, restarts=c.restarts, seed=seed)
    with atomic_file(str(job.path / "centroids.npy")) as stream:
        np.save(stream, centroids)
    report = {"seed": seed, "objective": min(r["objective"] for r in records), "iterations": records}
    report.update(_assign(job, train, features, positions, centroids, "train_labeled.txt"))
    if _exists(s, s.data.evaluation_split):
        validation = images(s, s.data.evaluation_split)
        v_features, v_positions = _features(job, net, validation, "validation")
        _assign(job, validation, v_features, v_positions, centroids, "val_labeled.txt")
    write_json(str(job.path / "report.json"), report)
    agreement = "" if report["nmi"] is None else f", NMI {report['nmi']:.3f}, accuracy {report['accuracy']:.3f} against the class folders"
    say(f"cluster: {len(features)} images in {c.clusters} clusters{agreement}")
    return {key: report[key] for key in ("nmi", "accuracy", "objective")}


def _exists(s, split: str) -> bool:
    return os.path.isdir(os.path.join(s.data.root, split))


def _assign(job: Job, folder: ImageFolder, features, positions, centroids, name: str) -> dict:
    labels, _ = nearest(unit_rows(features), centroids)
    lines = "\n".join(f"{folder.items[p].key} {label}" for p, label in zip(positions, labels))
    write_bytes(str(job.path / name), lines.encode())
    classes = np.array([folder.items[p].class_index for p in positions])
    known = len(classes) > 0 and classes.min() >= 0 and len(folder.classes) > 1
    return {
        "nmi": normalized_mutual_information(labels, classes) if known else None,
        "accuracy": matched_accuracy(labels, classes) if known else None,
        "sizes": np.bincount(labels, minlength=len(centroids)).tolist(),
        "train_images": len(labels),
    }


def _features(job: Job, net, folder: ImageFolder, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Features (n, C4) and their positions in `folder`, from shards that are made where they are missing."""
    s, c = job.settings, job.settings.cluster
    shards: Path = job.path / "shards"
    shards.mkdir(exist_ok=True)
    dataset = CenterCropDataset(folder.items, c.resize, c.crop, s.run.published_quirks)
    paths = []
    with Progress(f"features of {name}", len(folder.items), unit="image", quiet=os.environ.get("LUSS_QUIET") == "1") as progress:
        for first in range(0, len(folder.items), SHARD):
            part = range(first, min(first + SHARD, len(folder.items)))
            path = shards / f"{name}-{first // SHARD:05d}.npz"
            paths.append(path)
            if path.exists():
                progress.update(len(part))
                continue
            rows, positions = [], []
            loader = Loader(
                _Range(dataset, part),
                min(c.batch_size, len(part)),
                seed=0,
                workers=workers(s),
                shuffle=False,
                drop_last=False,
                on_bad=job.bad_images(folder).record,
            )
            with loader:
                for batch in loader.epoch(0):
                    rows.append(extract(net, batch["image"]))
                    positions.append(batch["index"] + first)
                    progress.update(len(batch["index"]))
                    if interrupt.stop_requested():
                        raise interrupt.Interrupted("cluster stopped; finished shards of features are kept, the same command continues")
            if not rows:
                raise LussError(
                    f"{folder.root}: none of images {part.start} to {part.stop - 1} of {name} could be read; see {job.path / 'bad_images.csv'}"
                )
            with atomic_file(str(path)) as stream:
                np.savez(stream, features=np.concatenate(rows), positions=np.concatenate(positions))
    loaded = []
    for path in paths:
        with np.load(path) as shard:
            loaded.append((shard["features"], shard["positions"]))
    features = np.concatenate([f for f, _ in loaded])
    with atomic_file(str(job.path / f"features-{name}.npy")) as stream:
        np.save(stream, features)
    return features, np.concatenate([p for _, p in loaded])


class _Range:
    """A stretch of a dataset; picklable."""

    def __init__(self, dataset, part: range):
        self.dataset, self.part = dataset, part

    def __len__(self) -> int:
        return len(self.part)

    def load(self, epoch: int, index: int) -> dict:
        return self.dataset.load(epoch, self.part[index])
