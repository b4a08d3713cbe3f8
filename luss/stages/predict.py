"""Stage 4: label maps of the fine-tuned network at image size, matched to categories; and their evaluation (spec/pass.md 8, 10)."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Callable

import numpy as np

from engine.ops.upsample_argmax import upsample_argmax
from engine.runtime import LussError, interrupt, jt
from engine.runtime.processes import barrier, rank
from engine.storage.atomic import write_json
from luss.benchmark.evaluate import evaluate_folder
from luss.benchmark.matching import match_to_json, read_match
from luss.models.build import finetune_net, load
from luss.models.layers import set_training

from .common import Job, evaluation_workers, has_masks, images, map_progress, nothing_to_score, say, stage_weights, whole_images
from .writing import MapWriter, map_path

MapsOf = Callable[[jt.Var, np.ndarray], Iterable[np.ndarray]]  # normalised (n, 3, h, w) and (n, 2) sizes -> n maps (H, W) of ids


def predict_logits(net, x) -> jt.Var:
    """Normalised (n, 3, h, w) Var -> logits (n, K + 1, h', w') float32 at the network's stride."""
    with jt.no_grad():
        return net(x)


def write_predictions(job: Job, resize: int, batch_size: int, maps_of: MapsOf) -> dict[str, int]:
    """Write <stage>/<split>/<class>/<stem>.png of every split in predict.splits; maps that are there already are kept.

    A map is made from the pixels of its image alone: the class folder serves for its name and nothing else.

    Returns: number of images by split.
    """
    s = job.settings
    counts = {}
    for split in s.predict.splits:
        if not os.path.isdir(os.path.join(s.data.root, split)):
            say(f"predict: {s.data.root} has no {split}/; it is left out")
            continue
        folder = images(job, split)
        target = job.path / split
        ready = {i for i, item in enumerate(folder.items) if map_path(target, item.key).exists()}
        with map_progress(f"predict {split}", len(folder.items), ready) as progress, MapWriter(s) as writer:
            for positions, batch, sizes in whole_images(job, folder, resize, batch_size, ready):
                for position, ids in zip(positions, maps_of(batch, sizes)):
                    writer.put(map_path(target, folder.items[position].key), ids)
                progress.update(len(positions))
                if interrupt.stop_requested():
                    raise interrupt.Interrupted("predict stopped; maps written so far are kept, the same command continues")
        counts[split] = len(folder.items)
    return counts


def maps_from_logits(net, max_res: int, factor: int = 1) -> MapsOf:
    """The class of the largest enlarged logit at each pixel. factor: the network's logits are enlarged by it first."""

    def maps(batch, sizes: np.ndarray) -> Iterable[np.ndarray]:
        logits = predict_logits(net, batch)
        middle = (factor * logits.shape[2], factor * logits.shape[3]) if factor > 1 else None
        return upsample_argmax(logits, sizes, middle=middle, max_res=max_res)

    return maps


def run(job: Job) -> dict:
    """Write the maps of every split in predict.splits, and match.json where the evaluation split has masks."""
    s = job.settings
    net = finetune_net(s)
    load(net, stage_weights(job, "finetune"), required=("",), source="the checkpoint of stage 3")
    set_training(net, False)
    counts = write_predictions(job, s.predict.resize, s.predict.batch_size, maps_from_logits(net, s.predict.max_res))
    split = s.data.evaluation_split
    barrier()
    if rank() == 0 and split in counts and has_masks(s, split):
        classes = len(images(job, split).classes)
        found = evaluate_folder(str(job.path / split), s.data.root, split, classes, num_clusters=s.cluster.clusters, workers=evaluation_workers(s))
        write_json(str(job.path / "match.json"), match_to_json(found["match"]))
    return {"images": counts}


def evaluate(job: Job) -> dict:
    """Score the evaluation split with the match that stage 4 wrote; metrics in percent, and the counts that they are from."""
    s = job.settings
    split = s.data.evaluation_split
    if nothing_to_score(job, "evaluate"):
        return {}
    match_file = job.workspace.stage("predict").path / "match.json"
    if not match_file.exists():
        raise LussError(f"{match_file} is missing: predict.splits must contain {split} (found {', '.join(s.predict.splits)})")
    classes = len(images(job, split).classes)
    found = evaluate_folder(
        str(job.workspace.stage("predict").path / split),
        s.data.root,
        split,
        classes,
        match=read_match(match_file, classes),
        num_clusters=s.cluster.clusters,
        save=str(job.path / "counts.npz"),
        workers=evaluation_workers(s),
    )
    metrics = {**found["metrics"], "IoUs": found["ious"], "images": found["images"], "split": split}
    metrics.update({name: found[name] for name in ("sizes", "extra", "boundary", "notes")})
    write_json(str(job.path / "metrics.json"), metrics)
    say(f"evaluate: {split}, {found['images']} images: " + ", ".join(f"{k} {v:.2f}" for k, v in found["metrics"].items() if v is not None))
    return {"mIoU": found["metrics"]["mIoU"]}
