"""Scores of predictions that carry class ids: the distance-matching and the semi-supervised protocol."""

from __future__ import annotations

from engine.runtime import LussError
from engine.storage.atomic import write_json
from luss.benchmark.evaluate import evaluate_counts, evaluate_folder
from luss.benchmark.store import load_counts

from .common import Job, evaluation_workers, images, nothing_to_score, say


def evaluate_distance(job: Job) -> dict:
    return evaluate(job, "distance")


def evaluate_semi(job: Job) -> dict:
    return evaluate(job, "semi-predict")


def evaluate(job: Job, stage: str) -> dict:
    """Metrics in percent, ids taken as class ids; "rematched" holds those after matching anew, as the published distance-matching script does."""
    s = job.settings
    split = s.data.evaluation_split
    if nothing_to_score(job, stage):
        return {}
    if split not in s.predict.splits:
        raise LussError(f"predict.splits = {', '.join(s.predict.splits)}: it must contain {split} for the metrics")
    predictions = str(job.workspace.stage(stage).path / split)
    classes = len(images(job, split).classes)
    counts = str(job.path / "counts.npz")
    identity = evaluate_folder(predictions, s.data.root, split, classes, match="identity", save=counts, workers=evaluation_workers(s))
    rematched = evaluate_counts(load_counts(counts), "image")
    metrics = {**identity["metrics"], "IoUs": identity["ious"], "images": identity["images"], "split": split}
    metrics.update({name: identity[name] for name in ("sizes", "extra", "boundary", "notes")}, rematched=rematched["metrics"])
    write_json(str(job.path / "metrics.json"), metrics)
    shown = ", ".join(f"{name} {value:.2f}" for name, value in identity["metrics"].items() if value is not None)
    say(f"{stage}: {split}, {identity['images']} images: {shown}; mIoU matched anew {rematched['metrics']['mIoU']:.2f}")
    return {"mIoU": identity["metrics"]["mIoU"], "mIoU matched anew": rematched["metrics"]["mIoU"]}
