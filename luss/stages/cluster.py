"""Stage 2.2, second half: k-means over the features of the training images, and the assignment of both splits (spec/pass.md 5).

All processes share the passes over the cache; the first one writes.
"""

from __future__ import annotations

import os

import numpy as np

from engine.clustering.agreement import agreement
from engine.clustering.records import Clustering
from engine.runtime import LussError
from engine.runtime.exchange import Exchange, for_processes
from engine.storage.atomic import read_json, write_bytes, write_json
from luss.clustering import REPORT, Work, cluster, labels_of, size_figures
from luss.feature_files import open_features, splits_of

from .common import Job, images, say


def run(job: Job) -> dict:
    s, c = job.settings, job.settings.cluster
    features = open_features(job.workspace, "train")
    if len(features) < c.clusters:
        raise LussError(f"cluster.clusters = {c.clusters}, but only {len(features)} training images could be read")
    seed = int(np.random.default_rng(s.run.seed).integers(1234))  # as published: below 1234
    work = Work(c, seed, quiet=os.environ.get("LUSS_QUIET") == "1")
    exchange = for_processes()
    clustering = cluster(features, work, job.path, exchange)
    figures = _assign(job, "train", work, clustering, exchange, "train_labeled.txt")
    for split in splits_of(s)[1:]:
        _assign(job, split, work, clustering, exchange, "val_labeled.txt")
    report = {**read_json(job.path / REPORT), **figures}
    if exchange.rank == 0:
        write_json(job.path / REPORT, report)
    against = "" if report["nmi"] is None else f", NMI {report['nmi']:.3f}, accuracy {report['accuracy']:.3f} against the class folders"
    say(f"cluster: {len(features)} images in {c.clusters} clusters{against}")
    return {key: report[key] for key in ("nmi", "accuracy", "objective", "engine")}


def _assign(job: Job, split: str, work: Work, clustering: Clustering, exchange: Exchange, name: str) -> dict:
    """Write the labels of a split, "class/image label" a line, in the order of its images; returns what the report says of them."""
    folder, cache = images(job, split), open_features(job.workspace, split)
    labels, sizes = labels_of(cache, clustering, work, f"clusters of {split}", exchange)
    if exchange.rank == 0:
        lines = "\n".join(f"{folder.items[p].key} {label}" for p, label in zip(cache.ids, labels))
        write_bytes(str(job.path / name), lines.encode())
    classes = np.array([folder.items[p].class_index for p in cache.ids])
    known = len(classes) > 0 and classes.min() >= 0 and len(folder.classes) > 1
    nmi, accuracy = agreement(labels, classes) if known else (None, None)
    return {"nmi": nmi, "accuracy": accuracy, **size_figures(sizes), "train_images": len(labels)}
