"""`luss features`: the stage, and the check and repair of what it wrote."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser, Namespace
from typing import Callable

from engine.runtime.errors import LussError
from engine.runtime.processes import rank

EXAMPLES = ["luss features --preset imagenet-s-50 --data DIR", "luss features --check --workspace runs/demo"]


def add_options(parser: ArgumentParser, add_common: Callable[[ArgumentParser], None]) -> None:
    existing = parser.add_argument_group("what is there already")
    existing.add_argument("--check", action="store_true", help="read all features of the workspace and compare their checksums (default: off)")
    existing.add_argument("--repair", action="store_true", help="the same, remove what is damaged, and make it again (default: off)")
    add_common(parser)


def check(args: Namespace) -> bool:
    """Carry out --check or the first half of --repair; returns whether the stage is to run now.

    Raises:
        LussError: damage was found, and each damaged shard is named; or there are no features.
    """
    if not args.check and not args.repair:
        return True
    if args.check and (args.repair or args.dry_run):
        raise LussError("--check changes nothing: give it without --repair and --dry-run")
    if args.dry_run:
        raise LussError("--repair removes damaged shards: give --check to see what it would remove")
    from luss.cli.commands import quieten, workspace_of
    from luss.feature_files import remedy
    from luss.workspace import Workspace

    quieten(args)
    if rank() != 0:  # one process looks; under mpirun the others wait for it where the stage begins
        return args.repair
    workspace = Workspace(workspace_of(args))
    if not os.path.isdir(workspace.path):
        raise LussError(f"{workspace.path}: no such folder; expected the workspace of a run")
    with workspace.lock():
        rows, damage = _look(workspace, args)
    folder = workspace.stage("features").path
    if args.repair:
        for piece in damage:
            print(f"luss: removed: {piece.text}", file=sys.stderr, flush=True)
        return True
    if damage:
        raise LussError("\n  ".join([f"{folder}: {len(damage)} damaged:", *(piece.text for piece in damage), remedy(workspace)]))
    print(f"{folder}: {rows:,} rows, all checksums match")
    return False


def _look(workspace, args: Namespace) -> tuple:
    from engine.runtime.progress import Progress
    from luss.feature_files import check_features

    bars: dict[str, Progress] = {}

    def show(split: str, done: int, total: int) -> None:
        if split not in bars:
            bars[split] = Progress(f"checking {split}", total, unit="byte", quiet=args.quiet)
        bars[split].update(done - bars[split].done)

    try:
        return check_features(workspace, show, repair=args.repair)
    finally:
        for bar in bars.values():
            bar.close()
