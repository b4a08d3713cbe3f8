"""Stage 2.2, second half: k-means over the features of the training images, and the assignment of both splits (spec/pass.md 5)."""

from __future__ import annotations

import numpy as np

from engine.clustering.agreement import matched_accuracy, normalized_mutual_information
from engine.clustering.faiss_kmeans import kmeans, nearest, unit_rows
from engine.data import Manifest
from engine.runtime import LussError
from engine.storage.atomic import atomic_file, write_bytes, write_json
from luss.feature_files import open_features, splits_of

from .common import Job, images, say


def run(job: Job) -> dict:
    s, c = job.settings, job.settings.cluster
    train = images(job, "train")
    features, positions = _features(job, "train")
    if len(features) < c.clusters:
        raise LussError(f"cluster.clusters = {c.clusters}, but only {len(features)} training images could be read")
    seed = int(np.random.default_rng(s.run.seed).integers(1234))  # as published: below 1234
    centroids, records = kmeans(unit_rows(features), c.clusters, iterations=c.iterations, restarts=c.restarts, seed=seed)
    with atomic_file(str(job.path / "centroids.npy")) as stream:
        np.save(stream, centroids)
    report = {"seed": seed, "objective": min(r["objective"] for r in records), "iterations": records}
    report.update(_assign(job, train, features, positions, centroids, "train_labeled.txt"))
    for split in splits_of(s)[1:]:
        _assign(job, images(job, split), *_features(job, split), centroids, "val_labeled.txt")
    write_json(str(job.path / "report.json"), report)
    agreement = "" if report["nmi"] is None else f", NMI {report['nmi']:.3f}, accuracy {report['accuracy']:.3f} against the class folders"
    say(f"cluster: {len(features)} images in {c.clusters} clusters{agreement}")
    return {key: report[key] for key in ("nmi", "accuracy", "objective")}


def _features(job: Job, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Features (n, C4) float32 of all readable images in their order, and their positions in the split."""
    cache = open_features(job.workspace, split)
    return cache.load().astype(np.float32, copy=False), cache.ids


def _assign(job: Job, folder: Manifest, features, positions, centroids, name: str) -> dict:
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
