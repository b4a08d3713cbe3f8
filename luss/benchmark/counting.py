"""Count label maps against masks, file by file, in worker processes; also a share of the files, for several machines."""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from engine.runtime.errors import LussError
from luss import __version__
from luss.benchmark.counts import ImageCounts, count_image, counts_follow
from luss.benchmark.curve import CurveCounts, CurveSums, apply_threshold, count_attention, count_checked
from luss.benchmark.folders import check_ids, check_shapes, list_masks, map_in_order, mask_folder
from luss.benchmark.matching import apply_match
from luss.benchmark.sources import MapFile, MapFolder, read_attention, read_ids

Progress = Callable[[int, int], object]


@dataclass(frozen=True)
class Rules:
    """What a worker needs to know of the evaluation.

    Attributes:
        num_classes: K; the masks may hold no larger id but ignore.
        limit: largest id a prediction may hold, None = any.
        table: `match_table` of a match that is known beforehand; every predicted id must have an entry.
        boundary_after: boundaries are to be taken after renaming through `table`.
        threshold: predictions become 0 where their attention is below it; None = as they are.
        skip_bad: a bad prediction counts as empty and is reported.
        edges: `threshold_edges` of a curve to be counted along, of the maps without threshold; None = no curve.
    """

    num_classes: int
    limit: int | None = None
    table: np.ndarray | None = None
    boundary_after: bool = False
    threshold: float | None = None
    skip_bad: bool = False
    edges: np.ndarray | None = None


@dataclass(frozen=True)
class Counted:
    """Counts of one image.

    Attributes:
        counts: with the ids of the label map.
        renamed: those of the renamed map, where ids of this image share a class and boundaries vanish; else None.
        problem: why the prediction counts as empty; "" = it was good.
        curve: for a curve, where one was asked for.
    """

    counts: ImageCounts
    renamed: ImageCounts | None = None
    problem: str = ""
    curve: CurveCounts | None = None


@dataclass(frozen=True)
class Files:
    """The files of an evaluation, or of one share of it; positions are those in `keys`.

    Attributes:
        keys: "<class>/<stem>.png" of each mask, in order.
        jobs: (prediction, its attention, mask path, name of the prediction); None = missing, or not needed.
        extra: keys of predictions that have no mask.
        record: provenance, see `find_files`.
    """

    keys: tuple[str, ...]
    jobs: tuple[tuple[MapFile | None, MapFile | None, str, str], ...]
    extra: tuple[str, ...]
    record: dict


def find_files(
    pred_root: str, data_root: str, split: str, *, attention: bool = False, skip_bad: bool = False, shard: tuple[int, int] = (0, 1)
) -> Files:
    """All files of an evaluation; the masks' names say which.

    Args:
        attention: every prediction needs its <stem>.npy.
        skip_bad: missing predictions are left to `count_files`.
        shard: (index, number of shards): every number-th image from index on. Missing files are looked for in all of them.

    Returns:
        Files; its record holds "luss" (version), "predictions", "data", "split", "class_folders" and "checksums": SHA-256 of the masks' names.

    Raises:
        LussError: no masks, no such folder of predictions, or files that are missing; counts and names them.
    """
    keys = list_masks(data_root, split)
    masks = mask_folder(data_root, split)
    folder = MapFolder(pred_root, split)
    predictions = folder.find(keys) if skip_bad else folder.require(keys, "prediction")
    maps: list[MapFile | None] = [None] * len(keys)
    if attention:
        names = [key[: -len(".png")] + ".npy" for key in keys]
        maps = folder.find(names, "attention") if skip_bad else folder.require(names, "attention")
    jobs = [(prediction, one, os.path.join(masks, *key.split("/")), str(folder.file(key))) for key, prediction, one in zip(keys, predictions, maps)]
    record = {
        "luss": __version__,
        "predictions": os.path.abspath(pred_root),
        "data": os.path.abspath(data_root),
        "split": split,
        "class_folders": sorted({key.rpartition("/")[0] for key in keys}),
        "checksums": {"mask_names": hashlib.sha256("\n".join(keys).encode("utf-8", "surrogateescape")).hexdigest()},
    }
    index, number = shard
    if not 0 <= index < number or number > len(keys):
        raise LussError(f"shard {index} of {number}: expected 0 <= shard < shards, and no more shards than the {len(keys)} images")
    return Files(tuple(keys[index::number]), tuple(jobs[index::number]), tuple(folder.extra(keys)), record)


def count_files(
    files: Files,
    rules: Rules,
    positions: Sequence[int] | None = None,
    *,
    sums: CurveSums | None = None,
    workers: int | None = 0,
    progress: Progress | None = None,
) -> list[Counted]:
    """Counts of the images at `positions` (None = all), in this order.

    Args:
        sums: where a curve's counts are added up as they come; they are too large to be kept.

    Raises:
        LussError: a bad file or an unexpected id, unless the rules skip bad predictions; a bad mask always.
    """
    jobs = files.jobs if positions is None else [files.jobs[position] for position in positions]
    results = []
    for counted in map_in_order(functools.partial(_count, rules=rules), jobs, workers, progress):
        if sums is not None:
            sums.add(counted.curve)
            counted = replace(counted, curve=None)
        results.append(counted)
    return results


def count_arrays(pred: np.ndarray, gt: np.ndarray, rules: Rules, pred_name: str, gt_name: str) -> Counted:
    """Counts of one image; errors carry the names given."""
    check_shapes(pred, gt, pred_name, gt_name)
    counts = count_image(pred, gt)
    check_ids(counts.true_ids(), rules.num_classes, gt_name, "class", "is the number of classes that of this data set?")
    if rules.limit is not None:
        advice = "these are class ids of another data set, or generated ids: give their number, or a match"
        check_ids(counts.predicted_ids(), rules.limit, pred_name, "predicted", advice)
    if rules.table is None:
        return Counted(counts)
    try:
        renamed = apply_match(pred, rules.table)
    except ValueError as error:
        raise LussError(f"{pred_name}: {error}; is it the match of these predictions?") from error
    if not rules.boundary_after or counts_follow(counts, rules.table):
        return Counted(counts)
    return Counted(counts, count_image(renamed, gt))


def count_curve(files: Files, rules: Rules, sums: CurveSums, *, workers: int | None = 0, progress: Progress | None = None) -> None:
    """Adds the curve's counts of every image, and counts nothing else; `rules` name the edges."""
    for curve in map_in_order(functools.partial(_count_curve, rules=rules), files.jobs, workers, progress):
        sums.add(curve)


def _count(job: tuple, rules: Rules) -> Counted:
    """Job of a worker process."""
    gt_path, name = job[2:]
    gt = read_ids(MapFile(gt_path))
    try:
        labels, attention = _read_prediction(job, rules)
        curve = None if rules.edges is None else count_attention(labels, attention, gt, rules.edges)
        counted = count_arrays(labels if rules.threshold is None else apply_threshold(labels, attention, rules.threshold), gt, rules, name, gt_path)
        if curve is not None and rules.limit is not None and labels.max() > rules.limit:  # ids that the threshold hides count in the curve
            check_ids(np.unique(labels), rules.limit, name, "generated", "is the number of generated categories right?")
        return replace(counted, curve=curve)
    except LussError as error:
        if not rules.skip_bad:
            raise
        problem = str(error)
    # Once more with an empty prediction: what is wrong with the mask is still an error.
    empty = np.zeros_like(gt)
    curve = None if rules.edges is None else count_attention(empty, empty.astype(np.float32), gt, rules.edges)
    return Counted(count_arrays(empty, gt, rules, name, gt_path).counts, None, problem, curve)


def _count_curve(job: tuple, rules: Rules) -> CurveCounts:
    """Job of a worker process."""
    gt_path, name = job[2:]
    gt = read_ids(MapFile(gt_path))
    try:
        labels, attention = _read_prediction(job, rules)
        return count_checked(labels, attention, gt, rules.edges, rules.limit, rules.num_classes, name, gt_path)
    except LussError:
        if not rules.skip_bad:
            raise
    empty = np.zeros_like(gt)
    return count_checked(empty, empty.astype(np.float32), gt, rules.edges, rules.limit, rules.num_classes, name, gt_path)


def _read_prediction(job: tuple, rules: Rules) -> tuple[np.ndarray, np.ndarray | None]:
    """Ids, and the attention where a threshold or a curve needs it."""
    pred_file, attention_file, _, name = job
    if pred_file is None:
        raise LussError(f"{name}: no such file; expected a prediction for each mask, with its folder and name")
    labels = read_ids(pred_file)
    if rules.threshold is None and rules.edges is None:
        return labels, None
    if attention_file is None:
        raise LussError(f"{name}: its attention map, a .npy file beside it, is missing; a threshold needs it")
    attention = read_attention(attention_file)
    check_shapes(attention, labels, str(attention_file), name)
    return labels, attention
