"""`luss evaluate` of a folder or zip of label maps, or of stored counts, by itself, without a run."""

from __future__ import annotations

import argparse
import json
import os
import sys

from engine.runtime.errors import LussError
from engine.runtime.processes import barrier, rank, world_size

_NEEDS_IMAGES = ("predictions", "data", "split", "classes", "clusters", "threshold", "curve", "skip_bad", "shard", "workers")
ALONE = ("split", "classes", "match", "clusters", "compat", "threshold", "curve", "skip_bad", "save_counts", "counts", "subset", "shard")


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that do not belong to a run."""
    alone = parser.add_argument_group("label maps by themselves, without a run")
    alone.add_argument("predictions", metavar="PRED", nargs="?", help="folder or zip of label maps, <class>/<stem>.png or <split>/<class>/<stem>.png")
    alone.add_argument("--split", metavar="NAME", help="split of --data that has the masks (default: validation)")
    alone.add_argument("--classes", metavar="K", type=int, help="number of categories (required with PRED)")
    alone.add_argument("--clusters", metavar="N", type=int, help="largest generated id (default: K)")
    alone.add_argument(
        "--match",
        metavar="SCHEME|FILE.json",
        help="image, pixel, iou, majority (an upper bound), identity, or a match.json (default: image, or what the counts were stored with)",
    )
    alone.add_argument("--compat", choices=("toolbox", "pass"), help="sums and order of that published evaluator (default: exact integers)")
    alone.add_argument("--threshold", metavar="T", type=float, help="0 where the attention, <stem>.npy, is below T (default: maps as they are)")
    alone.add_argument(
        "--curve",
        action="store_true",
        help="mIoU at 81 thresholds of the attention; the metrics are those at --threshold, in the same pass, or at the best (default: off)",
    )
    alone.add_argument("--skip-bad", action="store_true", help="report bad predictions and count them as empty (default: refuse)")
    alone.add_argument("--save-counts", metavar="FILE.npz", help="store the counts, to be scored again without the images (default: not stored)")
    alone.add_argument("--counts", metavar="FILE.npz", nargs="+", help="score stored counts, of several shards together (default: read PRED)")
    alone.add_argument("--subset", metavar="class=A,B|FILE", help="with --counts: only these class folders or listed images (default: all)")
    alone.add_argument("--shard", metavar="I/N", help="count only every N-th image from the I-th on, I from 0, and store that (default: 0/1)")
    alone.add_argument("--workers", metavar="N", type=int, help="processes, 0 = this one (default: all cores)")


def evaluate_alone(args: argparse.Namespace) -> None:
    """Print the result as JSON on standard output, notes on standard error."""
    result = _from_counts(args) if args.counts else _from_files(args)
    if result is None:
        return
    for note in result["notes"]:
        print(f"luss: note: {note}", file=sys.stderr)
    print(json.dumps(result, indent=2))


def _from_counts(args: argparse.Namespace) -> dict:
    for name in _NEEDS_IMAGES:
        if getattr(args, name):
            what = "PRED" if name == "predictions" else "--" + name.replace("_", "-")
            raise LussError(f"{what} does not go with --counts: the stored counts were made with its own; give --match, --compat or --subset")
    from luss.benchmark.evaluate import evaluate_counts
    from luss.benchmark.store import join_counts, load_counts, save_stored
    from luss.benchmark.subset import subset_positions

    stored = load_counts(args.counts[0]) if len(args.counts) == 1 else join_counts(args.counts)
    if args.save_counts:
        save_stored(args.save_counts, stored)
    if args.subset:
        stored = stored.select(subset_positions(stored.names, args.subset))
    return evaluate_counts(stored, _match(args.match, stored.record["num_classes"]), compat=args.compat)


def _from_files(args: argparse.Namespace) -> dict | None:
    """The result; None where this process counted only a share."""
    if not args.data:
        raise LussError("luss evaluate PRED: --data DIR is missing (the folder that holds <split>-segmentation/ with the masks)")
    if args.classes is None or args.classes < 1:
        raise LussError("luss evaluate PRED: --classes K is missing (the number of categories, 50, 300 or 919 for ImageNet-S)")
    for name, least in (("clusters", 1), ("workers", 0)):
        if getattr(args, name) is not None and getattr(args, name) < least:
            raise LussError(f"--{name} {getattr(args, name)}: expected {least} or more")
    if args.subset:
        raise LussError("--subset goes with --counts FILE: store the counts with --save-counts FILE, then score parts of them")
    if args.curve and (args.shard or world_size() > 1):
        raise LussError("--curve needs all images in one process and its workers: leave out --shard, and do not use mpirun")
    from luss.benchmark.evaluate import count_folder, evaluate_counts, evaluate_folder
    from luss.benchmark.store import merge_counts

    where = (args.predictions, args.data, args.split or "validation", args.classes)
    match = _match(args.match, args.classes) or "image"
    options = {"match": match, "num_clusters": args.clusters, "compat": args.compat, "threshold": args.threshold, "skip_bad": args.skip_bad}
    if args.shard or world_size() > 1:
        shard = _shard(args.shard) if args.shard else (rank(), world_size())
        if not args.save_counts:
            raise LussError("a share of the images can only be counted, not scored: add --save-counts FILE")
        target = args.save_counts if args.shard else _part(args.save_counts, *shard)
        with _Bar(f"count {shard[0]}/{shard[1]}") as bar:
            count_folder(*where, target, shard=shard, workers=args.workers, progress=bar, **options)
        if args.shard:
            print(target)
            return None
        barrier()
        if rank() != 0:
            return None
        parts = [_part(args.save_counts, index, shard[1]) for index in range(shard[1])]
        stored = merge_counts(parts, args.save_counts)
        for part in parts:
            os.unlink(part)
        return evaluate_counts(stored)
    if args.curve and args.threshold is None:
        return _at_the_best(args, where, options)
    from luss.benchmark.curve import DEFAULT_THRESHOLDS

    with _Bar("evaluate") as bar:
        curve = DEFAULT_THRESHOLDS if args.curve else None
        result = evaluate_folder(*where, save=args.save_counts, curve=curve, workers=args.workers, progress=bar, **options)
    if args.curve:
        del result["curve"]["matches"]
    return result


def _at_the_best(args: argparse.Namespace, where: tuple, options: dict) -> dict:
    """The curve, and the metrics at its best threshold: that needs the label maps a second time."""
    from luss.benchmark.evaluate import curve_folder, evaluate_folder

    with _Bar("threshold curve") as bar:
        curve = curve_folder(*where, workers=args.workers, num_clusters=args.clusters, skip_bad=args.skip_bad, progress=bar)
    options["threshold"] = curve["best_threshold"]
    matches = curve.pop("matches")
    if args.match is None:  # the curve's own match, so that its best mIoU is the one in the table
        options["match"] = matches[curve["best_threshold"]]
    with _Bar("evaluate") as bar:
        result = evaluate_folder(*where, save=args.save_counts, workers=args.workers, progress=bar, **options)
    return {**result, "curve": curve}


def _match(given: str | None, num_classes: int):
    """A scheme's name, or the content of a match.json; None where nothing was given."""
    from luss.benchmark.matching import read_match
    from luss.benchmark.schemes import SCHEMES

    if given is None or given in SCHEMES:
        return given
    if not given.endswith(".json"):
        raise LussError(f"--match {given}: expected one of {', '.join(SCHEMES)}, or a file that ends in .json")
    return read_match(given, num_classes)


def _shard(text: str) -> tuple[int, int]:
    index, slash, number = text.partition("/")
    if not (slash and index.isdigit() and number.isdigit() and int(index) < int(number)):
        raise LussError(f"--shard {text}: expected I/N with 0 <= I < N, as in 0/4")
    return int(index), int(number)


def _part(target: str, index: int, number: int) -> str:
    return f"{target}.part-{index}-of-{number}"


class _Bar:
    """A progress bar that opens at the first call, when the total is known."""

    def __init__(self, title: str):
        self.title, self._progress = title, None

    def __enter__(self):
        return self

    def __call__(self, done: int, total: int) -> None:
        if self._progress is None:
            from engine.runtime.progress import Progress

            self._progress = Progress(self.title, total, unit="image", quiet=os.environ.get("LUSS_QUIET") == "1" or rank() != 0)
        self._progress.update(done - self._progress.done)

    def __exit__(self, *_) -> None:
        if self._progress is not None:
            self._progress.close()
