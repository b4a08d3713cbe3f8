"""Score predictions against ground truth: folders of label maps, or pairs of arrays.

Order of operations as in the PASS evaluator: decode, rename generated ids to classes, take boundaries on the full frame, drop ignored pixels, count.
The images are read once; only generated ids that share a class cost some images a second reading, because boundaries between them vanish.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Callable, Union

import numpy as np

from engine.runtime.errors import LussError
from luss.benchmark.counts import ImageCounts, count_image, counts_follow, rename_predictions, stack_counts
from luss.benchmark.curve import DEFAULT_THRESHOLDS, CurveCounts, CurveSums, count_checked, threshold_edges
from luss.benchmark.folders import check_ids, check_shapes, list_masks, map_in_order, mask_folder, read_pair, require_files
from luss.benchmark.matching import apply_match, identity_match, match_images, match_table
from luss.benchmark.metrics import compute_metrics

Match = Union[str, Mapping[int, int]]
Progress = Callable[[int, int], object]
Counting = Callable[[Union[Sequence[int], None], Union[np.ndarray, None]], Iterator[ImageCounts]]  # (positions or all, table or none)


def evaluate_folder(
    pred_root: str,
    data_root: str,
    split: str,
    num_classes: int,
    *,
    match: Match = "image",
    num_clusters: int | None = None,
    boundary: str = "after",
    allow_unknown_ids: bool = False,
    workers: int = 0,
    progress: Progress | None = None,
) -> dict:
    """Metrics of the label maps <pred_root>/<class>/<stem>.png for all masks <data_root>/<split>-segmentation/<class>/<stem>.png.

    Other files below `pred_root` are passed over.

    Args:
        num_classes: K.
        match: "image" = best assignment of generated ids to classes on these images; "identity" = the predictions carry class ids; or a dict
            {generated id: class id}, as `match_from_json` gives it.
        num_clusters: with "image", the largest generated id; None = K. With a dict the ids are those that have an entry.
        boundary: take the prediction's boundaries "after" renaming (PASS) or "before" (dataset toolbox). They differ only where several generated ids
            get one class.
        allow_unknown_ids: with "identity", count ids above K as the published evaluators do (missing from every predicted area) and do not refuse.
        workers: processes; 0 = this one. Spawned: a script that calls this needs the usual `if __name__ == "__main__"`.
        progress: called with (done, total) for each image.

    Returns:
        {"metrics": percentages by name (see `compute_metrics`), "match": {generated id: class id}, "images": number, "ious": K + 1 percentages}.

    Raises:
        LussError: missing, damaged, wrongly sized files, or unexpected ids; the message names the file.
    """
    limit = _id_limit(match, num_clusters, num_classes, boundary, allow_unknown_ids)
    keys = list_masks(data_root, split)
    gt_paths = require_files(mask_folder(data_root, split), keys, "mask")
    jobs = list(zip(require_files(pred_root, keys, "prediction"), gt_paths))

    def count(positions: Sequence[int] | None, table: np.ndarray | None) -> Iterator[ImageCounts]:
        function = functools.partial(_count_files, limit=limit, num_classes=num_classes, table=table)
        if positions is None:
            return map_in_order(function, jobs, workers, progress)
        return map_in_order(function, [jobs[position] for position in positions], workers)

    return _score(count, num_classes, num_clusters, match, boundary, lambda number: jobs[number][0])


def evaluate_pairs(
    pairs: Iterable[tuple[np.ndarray, np.ndarray]],
    num_classes: int,
    match: Match = "image",
    *,
    num_clusters: int | None = None,
    boundary: str = "after",
    allow_unknown_ids: bool = False,
) -> dict:
    """Like `evaluate_folder` for (prediction, ground truth) arrays, (H, W) integers each, taken one by one.

    Only "image" with more generated ids than classes may need `pairs` twice: then it must not be an iterator, but e.g. a list.
    """
    limit = _id_limit(match, num_clusters, num_classes, boundary, allow_unknown_ids)
    first = iter(pairs)
    once = first is pairs

    def count(positions: Sequence[int] | None, table: np.ndarray | None) -> Iterator[ImageCounts]:
        if positions is not None and once:
            raise ValueError("pairs: with more generated ids than classes the images are needed twice; give a list, not an iterator")
        wanted = None if positions is None else set(positions)
        for number, (pred, gt) in enumerate(first if positions is None else pairs):
            if wanted is None or number in wanted:
                yield _count_arrays(np.asarray(pred), np.asarray(gt), limit, num_classes, table, f"pairs[{number}][0]", f"pairs[{number}][1]")

    return _score(count, num_classes, num_clusters, match, boundary, lambda number: f"pairs[{number}][0]")


def curve_folder(
    pred_root: str,
    data_root: str,
    split: str,
    num_classes: int,
    thresholds: Sequence[float] = DEFAULT_THRESHOLDS,
    workers: int = 0,
    *,
    num_clusters: int | None = None,
    progress: Progress | None = None,
) -> dict:
    """Threshold curve (see `luss.benchmark.curve.curve`) of <pred_root>/<class>/<stem>.png, labels made without a threshold, and their attention.

    The attention map lies beside its label map as <stem>.npy, float32 (H, W). Other arguments and errors as in `evaluate_folder`.
    """
    sums = CurveSums(thresholds, num_classes if num_clusters is None else num_clusters, num_classes)
    keys = list_masks(data_root, split)
    gt_paths = require_files(mask_folder(data_root, split), keys, "mask")
    pred_paths = require_files(pred_root, keys, "prediction")
    attention_paths = require_files(pred_root, [key[: -len(".png")] + ".npy" for key in keys], "attention")
    function = functools.partial(_count_attention_files, edges=threshold_edges(thresholds), num_clusters=sums.num_clusters, num_classes=num_classes)
    for counts in map_in_order(function, list(zip(pred_paths, attention_paths, gt_paths)), workers, progress):
        sums.add(counts)
    return sums.result()


def _id_limit(match: Match, num_clusters: int | None, num_classes: int, boundary: str, allow_unknown_ids: bool) -> int | None:
    """Largest id a prediction may hold, None = any; checks the arguments on the way."""
    if num_classes < 1:
        raise ValueError(f"num_classes={num_classes}: expected at least 1")
    if num_clusters is not None and num_clusters < 1:
        raise ValueError(f"num_clusters={num_clusters}: expected at least 1, or None")
    if boundary not in ("after", "before"):
        raise ValueError(f"boundary={boundary!r}: expected 'after' or 'before'")
    if isinstance(match, str):
        if match not in ("image", "identity"):
            raise ValueError(f"match={match!r}: expected 'image', 'identity' or a dict")
    elif not isinstance(match, Mapping):
        raise ValueError(f"match: expected 'image', 'identity' or a dict, found {type(match).__name__}")
    elif any(label > num_classes for label in match.values()):
        raise ValueError(f"match: expected class ids up to num_classes={num_classes}, found {max(match.values())}")
    if allow_unknown_ids and match != "identity":
        raise ValueError("allow_unknown_ids: only with match='identity'; other matches must say what each id means")
    if match == "image":
        return num_classes if num_clusters is None else num_clusters
    return num_classes if match == "identity" and not allow_unknown_ids else None


def _score(count: Counting, num_classes: int, num_clusters: int | None, match: Match, boundary: str, name: Callable[[int], str]) -> dict:
    """Count, match, and score; `name` gives the name of an image in errors."""
    if match == "identity":
        counts, match = list(count(None, None)), identity_match(num_classes)
    elif match != "image" and boundary == "after":
        counts = list(count(None, match_table(match)))
    else:
        counts = list(count(None, None))
        if match == "image":
            match = match_images(stack_counts(counts), num_classes if num_clusters is None else num_clusters, num_classes)
        counts = _renamed(counts, count, match_table(match), boundary, name)
    metrics = compute_metrics(stack_counts(counts), num_classes)
    ious = metrics.pop("IoUs")
    return {
        "metrics": metrics,
        "match": {int(cluster): int(match[cluster]) for cluster in sorted(match) if cluster},
        "images": len(counts),
        "ious": ious,
    }


def _renamed(counts: list[ImageCounts], count: Counting, table: np.ndarray, boundary: str, name: Callable[[int], str]) -> list[ImageCounts]:
    """Counts in class ids; images in which boundaries vanish are counted again where these are to be taken after renaming."""
    renamed = []
    for number, image in enumerate(counts):
        try:
            renamed.append(rename_predictions(image, table))
        except ValueError as error:
            raise LussError(f"{name(number)}: {error}; is it the match of these predictions?") from error
    if boundary == "after":
        again = [number for number, image in enumerate(counts) if not counts_follow(image, table)]
        if again:
            for number, image in zip(again, count(again, table)):
                renamed[number] = image
    return renamed


def _count_arrays(
    pred: np.ndarray, gt: np.ndarray, limit: int | None, num_classes: int, table: np.ndarray | None, pred_name: str, gt_name: str
) -> ImageCounts:
    """Counts of one image, renamed through `table` first where there is one."""
    check_shapes(pred, gt, pred_name, gt_name)
    if table is not None:
        try:
            pred = apply_match(pred, table)
        except ValueError as error:
            raise LussError(f"{pred_name}: {error}; is it the match of these predictions?") from error
    counts = count_image(pred, gt)
    if table is None and limit is not None:
        advice = "these are class ids of another data set, or generated ids: give their number, or a match"
        check_ids(counts.predicted_ids(), limit, pred_name, "predicted", advice)
    check_ids(counts.true_ids(), num_classes, gt_name, "class", "is the number of classes that of this data set?")
    return counts


def _count_files(paths: tuple[str, str], limit: int | None, num_classes: int, table: np.ndarray | None) -> ImageCounts:
    """Job of a worker process."""
    return _count_arrays(*read_pair(*paths), limit, num_classes, table, *paths)


def _count_attention_files(paths: tuple[str, str, str], edges: np.ndarray, num_clusters: int, num_classes: int) -> CurveCounts:
    """Job of a worker process."""
    pred_path, attention_path, gt_path = paths
    labels, gt = read_pair(pred_path, gt_path)
    try:
        attention = np.load(attention_path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise LussError(f"{attention_path}: damaged or no NumPy file ({error}); expected float32 (H, W): make it again") from error
    if not isinstance(attention, np.ndarray) or attention.dtype != np.float32 or not np.isfinite(attention).all():
        kind = attention.dtype if isinstance(attention, np.ndarray) else type(attention).__name__
        raise LussError(f"{attention_path}: found {kind}, or values that are not finite; expected finite float32 (H, W): make it again")
    return count_checked(labels, attention, gt, edges, num_clusters, num_classes, pred_path, gt_path)
