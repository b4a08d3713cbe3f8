"""`luss table`: results of several runs side by side."""

from __future__ import annotations

import os
import sys
from argparse import Namespace

from engine.runtime.errors import LussError

DEFAULT_RESAMPLES = 1000


def add_table(commands, add, add_debug) -> None:
    """The command's part of the parser; `add` and `add_debug` are those of `luss.cli.parser`."""
    table = add(
        commands,
        "table",
        "results of runs side by side as a table: means over seeds, bootstrap intervals, published figures",
        [
            "luss table runs/50 runs/other --baselines --format latex --out table.tex",
            "luss table --group ours=runs/s1,runs/s2,runs/s3 --against runs/untrained --bootstrap 1000",
        ],
    )
    what = table.add_argument_group("rows")
    what.add_argument("runs", metavar="RUN", nargs="*", help="folder of a run, its metrics.json, or its counts.npz")
    what.add_argument("--group", metavar="NAME=RUN,RUN", action="append", default=[], help="several seeds as one row, mean and spread; repeatable")
    what.add_argument("--against", metavar="RUN", help="also the difference of every other row to this run (default: none)")
    what.add_argument("--baselines", action="store_true", help="also the published figures of the same set, split and protocol (default: off)")
    protocol = "of the published figures (default: %(default)s)"
    what.add_argument("--protocol", metavar="unsupervised|distance|semi|unstated", default="unsupervised", help=protocol)
    figures = table.add_argument_group("figures")
    figures.add_argument("--metrics", metavar="NAME,NAME", help="columns (default: all)")
    figures.add_argument("--per-class", action="store_true", help="IoU of every category, a row each, instead of the metrics (default: off)")
    intervals = f"95 %% intervals from N resamples of the images, at least 100 (default: {DEFAULT_RESAMPLES} with --against, else none)"
    figures.add_argument("--bootstrap", metavar="N", type=int, help=intervals)
    output = table.add_argument_group("output")
    output.add_argument("--format", metavar="text|csv|json|latex", default="text", help="form of the table (default: %(default)s)")
    output.add_argument("--out", metavar="FILE", help="write it to a file (default: print it)")
    add_debug(table)


def table(args: Namespace) -> None:
    """Read the runs, make the table, print or write it."""
    from luss.benchmark.baselines import PROTOCOLS, baselines
    from luss.benchmark.table_formats import FORMATS, format_table
    from luss.benchmark.tables import COLUMNS, comparison_table, per_class_table

    kind = _one_of(args.format, FORMATS, "--format")
    protocol = _one_of(args.protocol, PROTOCOLS, "--protocol")
    columns = [_one_of(name, COLUMNS, "--metrics") for name in args.metrics.split(",")] if args.metrics else COLUMNS
    if args.bootstrap is not None and args.bootstrap < 100:
        raise LussError(f"--bootstrap {args.bootstrap}: expected at least 100 resamples; the ends of a 95 % interval of fewer mean nothing")
    if args.per_class and (args.baselines or args.bootstrap or args.against or args.metrics):
        raise LussError("--per-class: a table of the categories' IoUs alone; leave out --baselines, --bootstrap, --against and --metrics")
    entries, against = _entries(args)
    notes = []
    if args.per_class:
        made = per_class_table(entries, _category_names(entries))
    else:
        published = []
        if args.baselines:
            first = entries[0].runs[0]
            published = baselines(first.num_classes, first.split, protocol)
            if not published:
                notes.append(f"no published figures of {protocol} on {first.num_classes} categories, split {first.split or '(not recorded)'}")
        resamples = args.bootstrap or (DEFAULT_RESAMPLES if against else 0)
        made = comparison_table(entries, columns=columns, published=published, resamples=resamples, against=against)
    for note in [*notes, *(made.notes if kind == "csv" else ())]:
        print(f"luss: note: {note}", file=sys.stderr)
    text = format_table(made, kind)
    if args.out is None:
        print(text, end="")
        return
    from engine.storage.atomic import write_bytes

    write_bytes(args.out, text.encode("utf-8"))
    print(args.out)


def _entries(args: Namespace) -> tuple[list, object]:
    """Rows of the table, and the one to compare with (or None); names are as short as they can be told apart."""
    from luss.benchmark.results import load_result
    from luss.benchmark.tables import Entry

    paths = list(dict.fromkeys(os.path.normpath(path) for path in args.runs))
    if args.against is not None and os.path.normpath(args.against) not in paths:
        paths.append(os.path.normpath(args.against))
    groups = [_group(text) for text in args.group]
    if not paths and not groups:
        raise LussError("luss table: name at least one RUN (folder of a run, metrics.json or counts.npz) or --group NAME=RUN,RUN")
    names = [*_names(paths), *(name for name, _ in groups)]
    for name in names:
        if names.count(name) > 1:
            raise LussError(f"{name}: the name of two rows; give --group another name")
    entries = [Entry(name, (load_result(path),)) for name, path in zip(names, paths)]
    entries += [Entry(name, tuple(load_result(path) for path in members), True) for name, members in groups]
    return entries, None if args.against is None else entries[paths.index(os.path.normpath(args.against))]


def _group(text: str) -> tuple[str, list[str]]:
    name, equals, members = text.partition("=")
    paths = [path for path in members.split(",") if path]
    if not (name and equals and paths):
        raise LussError(f"--group {text}: expected NAME=RUN,RUN,RUN with a name and at least one run")
    if len(set(map(os.path.normpath, paths))) < len(paths):
        raise LussError(f"--group {text}: a run stands in it twice; expected runs of different seeds")
    return _text(name), paths


def _names(paths: list[str]) -> list[str]:
    """The last part of each path that says which run it is; whole paths where these are equal."""
    short = []
    for path in paths:
        parts = [part for part in os.path.abspath(path).split(os.sep) if part]
        while len(parts) > 1 and parts[-1] in ("metrics.json", "counts.npz", "8-evaluate"):
            parts.pop()
        short.append(_text(parts[-1] if parts else path))
    return [_text(path) if short.count(name) > 1 else name for name, path in zip(short, paths)]


def _text(path: str) -> str:
    """Bytes of a path that are no UTF-8 become question marks: every format must be able to hold the name."""
    return os.fsencode(path).decode("utf-8", "replace")


def _one_of(value: str, known: tuple[str, ...], option: str) -> str:
    if value not in known:
        raise LussError(f"{option} {value}: expected one of {', '.join(known)}")
    return value


def _category_names(entries: list) -> list[str]:
    """Names from the first run whose data set is there."""
    from pathlib import Path

    from luss.report.sources import Run

    for run in (run for entry in entries for run in entry.runs if run.workspace):
        names = Run(Path(run.workspace)).names
        if len(names) == run.num_classes:
            return names
    return []
