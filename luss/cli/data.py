"""`luss data`: build the ImageNet-S layout, check one (index and pack: pack.py)."""

from __future__ import annotations

import json
import os
import sys
from argparse import ArgumentParser, Namespace
from typing import Callable

from engine.runtime.errors import LussError
from luss.cli.pack import add_index, add_pack, run_index, run_pack

PREPARE = "build the ImageNet-S layout from an ImageNet folder, the published lists and the masks; what is there already is kept"
VERIFY = "check a data set in ImageNet-S layout: folders, counts, pairs of image and mask, sizes, ids, unreadable files"


def add_data(commands, add: Callable[..., ArgumentParser]) -> None:
    """Add the command to `commands`; `add` makes a parser with examples and exit codes."""
    data = add(
        commands,
        "data",
        "build the ImageNet-S layout from ImageNet, check a data set, index or pack its images",
        [
            "luss data prepare --imagenet IMAGENET --lists LISTS --masks ImageNetS50-a0fe9d82231f9bc4787ee76e304dfa51.zip --set 50 --out DIR",
            "luss data verify DIR",
        ],
    )
    actions = data.add_subparsers(dest="action", metavar="ACTION", required=True, parser_class=type(data))
    _add_prepare(actions, add)
    _add_verify(actions, add)
    for add_action in (add_index, add_pack):
        _add_behaviour(add_action(actions, add))


def _add_prepare(actions, add: Callable[..., ArgumentParser]) -> None:
    prepare = add(
        actions,
        "prepare",
        PREPARE,
        [
            "luss data prepare --imagenet IMAGENET --lists LISTS --masks ImageNetS50-a0fe9d82231f9bc4787ee76e304dfa51.zip --set 50 --out DIR",
            "luss data prepare --imagenet IMAGENET --lists LISTS --masks MASKS --set 12 --out DIR --copy --unpublished",
        ],
    )
    given = prepare.add_argument_group("what it is made from")
    given.add_argument("--imagenet", metavar="DIR", required=True, help="ImageNet: train/<wnid>/, and val/ flat or in class folders (required)")
    given.add_argument("--lists", metavar="DIR", required=True, help="published lists: categories/, mapping/ and names/ (required)")
    given.add_argument("--masks", metavar="ARCHIVE|DIR", help="zip archive of the masks, or a folder of them (default: those already in --out)")
    given.add_argument("--set", metavar="50|300|919", type=int, required=True, help="number of categories (required)")
    made = prepare.add_argument_group("what is made")
    made.add_argument("--out", metavar="DIR", required=True, help="folder of the prepared set, made if need be (required)")
    made.add_argument("--copy", action="store_true", help="copy training images instead of linking to them (default: off)")
    made.add_argument("--unpublished", action="store_true", help="lists of a set of your own: no checksums, no published counts (default: off)")
    made.add_argument("--skip-md5", action="store_true", help="do not hold the archive to the MD5 in its name (default: off)")
    _add_behaviour(prepare)


def _add_verify(actions, add: Callable[..., ArgumentParser]) -> None:
    verify = add(
        actions,
        "verify",
        VERIFY,
        [
            "luss data verify DIR",
            "luss data verify DIR --set 50 --fast --json",
        ],
    )
    verify.add_argument("folder", metavar="DIR", help="the data set: holds train/, validation/, validation-segmentation/ and so on")
    verify.add_argument("--set", metavar="50|300|919", type=int, help="the published set it should be (default: told from the class folders)")
    verify.add_argument("--fast", action="store_true", help="folders, counts and pairs only; open no file (default: off)")
    verify.add_argument("--workers", metavar="N", type=int, help="processes that decode, 0 for none (default: as many as cores)")
    verify.add_argument("--json", action="store_true", help="print a JSON object instead of lines and a table (default: off)")
    _add_behaviour(verify)


def _add_behaviour(parser: ArgumentParser) -> None:
    behaviour = parser.add_argument_group("behaviour")
    behaviour.add_argument("--debug", action="store_true", help="show the traceback of every error (default: off)")
    behaviour.add_argument("--quiet", action="store_true", help="no progress on stderr (default: off)")


def run_data(args: Namespace) -> None:
    """Carry out `luss data ACTION`.

    Raises:
        LussError: something is missing or wrong; what it is has been printed.
    """
    {"prepare": _prepare, "verify": _verify, "index": run_index, "pack": run_pack}[args.action](args)


def _prepare(args: Namespace) -> None:
    from luss.benchmark.prepare import prepare

    if args.set < 1:
        raise LussError(f"--set {args.set}: expected a number of categories, 50, 300 or 919")
    done = prepare(
        args.imagenet,
        args.lists,
        args.masks,
        args.set,
        args.out,
        copy=args.copy,
        published=not args.unpublished,
        check_md5=not args.skip_md5,
        quiet=args.quiet,
    )
    for problem in done.problems:
        print(problem)
    print(f"{'':24}{'made':>10}{'kept':>10}")
    for what in sorted({*done.made, *done.kept}):
        print(f"{what:24}{done.made[what]:10,}{done.kept[what]:10,}")
    if done.problems:
        raise LussError(f"{args.out}: not complete, for {len(done.problems)} reasons (above); what was made stays, and a second run makes the rest")


def _verify(args: Namespace) -> None:
    from engine.runtime.progress import Progress
    from luss.benchmark.verify import verify_layout

    workers = args.workers
    if workers is None:
        workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if workers < 0:
        raise LussError(f"--workers {workers}: expected 0 or more")
    bar: list[Progress] = []

    def progress(done: int, total: int) -> None:
        if not bar:
            bar.append(Progress("checking", total, "image", quiet=args.quiet))
        bar[0].update(done - bar[0].done)

    try:
        found = verify_layout(args.folder, args.set, fast=args.fast, workers=workers, progress=progress)
    finally:
        for shown in bar:
            shown.close()
    if args.json:
        print(json.dumps(found.as_dict(), indent=1))
    else:
        _print_table(found)
    sys.stdout.flush()
    if found.problems:
        kinds = ", ".join(f"{number:,} {kind}" for kind, number in found.counts().items())
        raise LussError(f"{args.folder}: {len(found.problems):,} problems ({kinds}); each is named on standard output")


def _print_table(found) -> None:
    for problem in found.problems:
        print(problem)
    name = f"ImageNet-S-{found.published}" if found.published else f"{found.num_classes} categories"
    print(f"{found.root}: {name}{'; ' + found.note if found.note else ''}")
    print(f"{'split':12}{'classes':>9}{'images':>12}{'expected':>12}{'masks':>10}{'problems':>10}")
    for row in found.splits:
        expected = "-" if row.expected is None else f"{row.expected:,}"
        masks = "-" if row.masks is None else f"{row.masks:,}"
        print(f"{row.split:12}{row.classes:9,}{row.images:12,}{expected:>12}{masks:>10}{row.problems:10,}")
    if not found.decoded:
        print("no file was opened (--fast): sizes, ids and unreadable files are not checked")
