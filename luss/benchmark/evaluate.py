"""Score predictions against ground truth: folders or zips of label maps, pairs of arrays, or stored counts.

Order of operations as in the PASS evaluator: decode, rename generated ids to classes, take boundaries on the full frame, drop ignored pixels, count.
The images are read once; only generated ids that share a class cost some images a second reading, because boundaries between them vanish.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from engine.runtime.errors import LussError
from luss.benchmark.counting import Counted, Progress, Rules, count_arrays, count_curve, count_files, find_files
from luss.benchmark.counts import ImageCounts
from luss.benchmark.curve import DEFAULT_THRESHOLDS, CurveSums
from luss.benchmark.matching import match_table, match_to_json
from luss.benchmark.scoring import Match, boundary_order, check_options, score
from luss.benchmark.store import StoredCounts, pack_counts, save_stored

_RECORDED = ("num_classes", "num_clusters", "scheme", "match", "boundary", "allow_unknown_ids", "bad")  # what `evaluate_counts` needs


def evaluate_folder(
    pred_root: str,
    data_root: str,
    split: str,
    num_classes: int,
    *,
    match: Match = "image",
    num_clusters: int | None = None,
    boundary: str = "after",
    compat: str | None = None,
    allow_unknown_ids: bool = False,
    threshold: float | None = None,
    skip_bad: bool = False,
    save: str | None = None,
    curve: Sequence[float] | None = None,
    workers: int | None = 0,
    progress: Progress | None = None,
) -> dict:
    """Metrics of the label maps <pred_root>/<class>/<stem>.png for all masks <data_root>/<split>-segmentation/<class>/<stem>.png.

    `pred_root` may be a zip, or hold <split>/<class>/<stem>.png; see `luss.benchmark.sources` for the kinds of files. PNG files without a mask are
    not scored, but counted in the notes.

    Args:
        num_classes: K.
        match: "image" = best assignment of generated ids to classes on these images; another of `luss.benchmark.schemes.SCHEMES`; or a dict
            {generated id: class id}, as `match_from_json` gives it.
        num_clusters: the largest generated id; None = K. With a dict the ids are those that have an entry.
        boundary, compat: see `luss.benchmark.scoring.score`.
        allow_unknown_ids: with "identity", count ids above K as the published evaluators do (missing from every predicted area) and do not refuse.
        threshold: predictions become 0 where <stem>.npy beside them, float32 attention, is below; None = as they are.
        skip_bad: a prediction that is missing, unreadable, of another size, or holds an unexpected id counts as empty and is reported under "bad".
        save: file to write the counts to, see `luss.benchmark.store`.
        curve: thresholds of a curve (see `curve_folder`) to be made in the same pass, of the maps without `threshold`; None = none.
        workers: processes; 0 = this one, None = all cores. Spawned: a script that calls this needs the usual `if __name__ == "__main__"`.
        progress: called with (done, total) for each image.

    Returns:
        See `luss.benchmark.scoring.score`; and "bad": one message for each prediction that was skipped; and the "curve", if one was asked for.

    Raises:
        LussError: missing, damaged, wrongly sized files, or unexpected ids; the message names the file.
    """
    options = _options(match, num_classes, num_clusters, boundary, compat, allow_unknown_ids)
    rules = _rules(match, num_classes, options, threshold, skip_bad)
    sums = None
    if curve is not None:
        sums = CurveSums(curve, num_classes if num_clusters is None else num_clusters, num_classes)
        rules = replace(rules, edges=sums.edges, limit=sums.num_clusters if rules.limit is None else rules.limit)
    files = find_files(pred_root, data_root, split, attention=threshold is not None or curve is not None, skip_bad=skip_bad)
    counted = count_files(files, rules, sums=sums, workers=workers, progress=progress)
    stored = _packed(files.keys, counted, files.record, rules, match, options)

    def read_again(positions: Sequence[int], again: Rules) -> list[Counted]:
        return count_files(files, again, positions, workers=workers)

    result = _score(stored, counted, rules, match, options, read_again)
    if save is not None:
        stored.record["match"] = match_to_json(result["match"])
        save_stored(save, stored)
    if files.extra:
        result["notes"].append(f"{len(files.extra)} PNG files in {pred_root} belong to no mask and were passed over, e.g. {files.extra[0]}")
    folders = [name for name in files.record["class_folders"] if name]
    if folders and len(folders) != num_classes:
        result["notes"].append(f"{len(folders)} class folders of masks, but {num_classes} classes: those that never occur count 0 in the means")
    if sums is not None:
        result["curve"] = sums.result()
    return result


def evaluate_pairs(
    pairs: Iterable[tuple[np.ndarray, np.ndarray]],
    num_classes: int,
    match: Match = "image",
    *,
    num_clusters: int | None = None,
    boundary: str = "after",
    compat: str | None = None,
    allow_unknown_ids: bool = False,
) -> dict:
    """Like `evaluate_folder` for (prediction, ground truth) arrays, (H, W) integers each, taken one by one.

    Only a match that is found here and gives several generated ids one class may need `pairs` twice: then it must not be an iterator, but a list.
    """
    options = _options(match, num_classes, num_clusters, boundary, compat, allow_unknown_ids)
    rules = _rules(match, num_classes, options, None, False)
    first = iter(pairs)
    once = first is pairs

    def count(number: int, pair: tuple[np.ndarray, np.ndarray], under: Rules) -> Counted:
        pred, gt = (np.asarray(one) for one in pair)
        return count_arrays(pred, gt, under, f"pairs[{number}][0]", f"pairs[{number}][1]")

    def read_again(positions: Sequence[int], again: Rules) -> list[Counted]:
        if once:
            raise ValueError("pairs: where generated ids share a class the images are needed twice; give a list, not an iterator")
        wanted = set(positions)
        return [count(number, pair, again) for number, pair in enumerate(pairs) if number in wanted]

    counted = [count(number, pair, rules) for number, pair in enumerate(first)]
    if not counted:
        raise ValueError("pairs: expected at least one image")
    names = [f"pairs[{number}][0]" for number in range(len(counted))]
    return _score(_packed(names, counted, {}, rules, match, options), counted, rules, match, options, read_again)


def count_folder(
    pred_root: str,
    data_root: str,
    split: str,
    num_classes: int,
    save: str,
    *,
    match: Match = "image",
    num_clusters: int | None = None,
    boundary: str = "after",
    compat: str | None = None,
    threshold: float | None = None,
    skip_bad: bool = False,
    shard: tuple[int, int] = (0, 1),
    workers: int | None = 0,
    progress: Progress | None = None,
) -> StoredCounts:
    """The counting half of `evaluate_folder`: write the counts of one share of the images to `save`, to be joined by `merge_counts` and then scored.

    Args:
        shard: (index, number): every number-th image from index on. A scheme's match is left open until the shares are together.
    """
    options = _options(match, num_classes, num_clusters, boundary, compat, False)
    rules = _rules(match, num_classes, options, threshold, skip_bad)
    files = find_files(pred_root, data_root, split, attention=threshold is not None, skip_bad=skip_bad, shard=shard)
    stored = _packed(files.keys, count_files(files, rules, workers=workers, progress=progress), files.record, rules, match, options)
    save_stored(save, stored)
    return stored


def evaluate_counts(stored: StoredCounts, match: Match | None = None, *, boundary: str | None = None, compat: str | None = None) -> dict:
    """Score stored counts again, without the images.

    Args:
        stored: of `luss.benchmark.store.load_counts`, or a part of it (`select`).
        match: another scheme, or {generated id: class id}; None = the very match that was used when the counts were stored, also for a part of them
            (or, for the joined counts of shares, the scheme that was asked for).
        boundary, compat: as in `evaluate_folder`; None = as stored, and exact.

    Returns:
        As `evaluate_folder`. Where several generated ids of an image get one class the boundary metrics are those of boundaries before renaming; the
        notes say so.
    """
    record = stored.record
    missing = [name for name in _RECORDED if name not in record]
    if missing:
        raise LussError(f"the record of the counts lacks {', '.join(missing)}; expected one of luss evaluate --save-counts: count the images again")
    if match is None and (record["match"] is None or record["scheme"] == "identity"):
        match = record["scheme"]
    elif match is None:
        match = {int(key): label for key, label in record["match"].items() if key != "0"}
    result = score(
        stored,
        record["num_classes"],
        match,
        num_clusters=record["num_clusters"],
        boundary=boundary or record["boundary"],
        compat=compat,
        allow_unknown_ids=record["allow_unknown_ids"],
    )
    return _with_bad(result, stored)


def curve_folder(
    pred_root: str,
    data_root: str,
    split: str,
    num_classes: int,
    thresholds: Sequence[float] = DEFAULT_THRESHOLDS,
    workers: int | None = 0,
    *,
    num_clusters: int | None = None,
    skip_bad: bool = False,
    progress: Progress | None = None,
) -> dict:
    """Threshold curve (see `luss.benchmark.curve.curve`) of <pred_root>/<class>/<stem>.png, labels made without a threshold, and their attention.

    The attention map lies beside its label map as <stem>.npy, float32 (H, W). Other arguments and errors as in `evaluate_folder`.
    """
    sums = CurveSums(thresholds, num_classes if num_clusters is None else num_clusters, num_classes)
    files = find_files(pred_root, data_root, split, attention=True, skip_bad=skip_bad)
    rules = Rules(num_classes, sums.num_clusters, skip_bad=skip_bad, edges=sums.edges)
    count_curve(files, rules, sums, workers=workers, progress=progress)
    return sums.result()


def _options(match: Match, num_classes: int, num_clusters: int | None, boundary: str, compat: str | None, allow_unknown_ids: bool) -> dict:
    """Options of `score`, checked before an image is read."""
    check_options(match, num_classes, num_clusters, boundary, compat)
    if allow_unknown_ids and match != "identity":
        raise ValueError("allow_unknown_ids: only with match='identity'; other matches must say what each id means")
    allow_unknown_ids = allow_unknown_ids or (compat == "toolbox" and match == "identity")
    boundary = boundary_order(boundary, compat)
    return {"num_clusters": num_clusters, "boundary": boundary, "compat": compat, "allow_unknown_ids": allow_unknown_ids}


def _rules(match: Match, num_classes: int, options: dict, threshold: float | None, skip_bad: bool) -> Rules:
    if not isinstance(match, str):
        return Rules(num_classes, None, match_table(match), options["boundary"] == "after", threshold, skip_bad)
    limit = num_classes if match == "identity" or options["num_clusters"] is None else options["num_clusters"]
    return Rules(num_classes, None if options["allow_unknown_ids"] else limit, threshold=threshold, skip_bad=skip_bad)


def _packed(names: Sequence[str], counted: Sequence[Counted], record: dict, rules: Rules, match: Match, options: dict) -> StoredCounts:
    """Counts with all that is needed to score them again; the match is open unless it was given."""
    given = not isinstance(match, str)
    record = {
        **record,
        "threshold": rules.threshold,
        "num_classes": rules.num_classes,
        "num_clusters": rules.num_classes if options["num_clusters"] is None else options["num_clusters"],
        "scheme": "given" if given else match,
        "match": match_to_json(match) if given else None,
        "boundary": options["boundary"],
        "compat": options["compat"],
        "allow_unknown_ids": options["allow_unknown_ids"],
        "skip_bad": rules.skip_bad,
        "bad": {name: one.problem for name, one in zip(names, counted) if one.problem},
    }
    return pack_counts(names, [one.counts for one in counted], record)


def _score(stored: StoredCounts, counted: Sequence[Counted], rules: Rules, match: Match, options: dict, read_again) -> dict:
    """Result; `read_again` counts the images at some positions under other rules."""

    def recount(positions: Sequence[int], table: np.ndarray) -> list[ImageCounts]:
        found = [counted[position] for position in positions]
        if rules.table is None:  # the match was not known when they were counted
            found = read_again(positions, Rules(rules.num_classes, None, table, True, rules.threshold, rules.skip_bad))
        return [one.counts if one.renamed is None else one.renamed for one in found]

    return _with_bad(score(stored, rules.num_classes, match, **options, recount=recount), stored)


def _with_bad(result: dict, stored: StoredCounts) -> dict:
    """Adds "bad": what was wrong with each prediction that counts as empty."""
    bad = [stored.record["bad"][name] for name in stored.names if name in stored.record["bad"]]
    if bad:
        result["notes"].append(f"{len(bad)} of {len(stored.names)} predictions were bad and count as empty, e.g. {bad[0]}")
    return {**result, "bad": bad}
