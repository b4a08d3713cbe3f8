"""`luss data index` and `luss data pack`: the manifest of a split, and its images packed into a few large files."""

from __future__ import annotations

import os
import shutil
import sys
from argparse import ArgumentParser, Namespace
from typing import Callable

from engine.runtime.errors import LussError

INDEX = "make or bring up to date the manifest of a split: every image's class, size, time and checksum, and which cannot be read"
PACK = "pack the images of a split, shrunk, into a few large files that are quick to read; or check such a pack"


def add_index(actions, add: Callable[..., ArgumentParser]) -> ArgumentParser:
    """Add `luss data index`; `add` makes a parser with examples and exit codes."""
    index = add(
        actions,
        "index",
        INDEX,
        [
            "luss data index --data DIR",
            "luss data index --data DIR --split validation --out validation.manifest --check --deep",
        ],
    )
    given = index.add_argument_group("what is indexed")
    _add_source(given)
    given.add_argument("--out", metavar="FILE", help="the manifest (default: DIR/<split>.manifest)")
    index.add_argument("--check", action="store_true", help="change nothing, say what differs, exit code 2 if anything does (default: off)")
    index.add_argument("--deep", action="store_true", help="read every image and compare checksums; else size and time tell (default: off)")
    index.add_argument("--workers", metavar="N", type=int, help="threads that read (default: twice the cores, at most 16)")
    return index


def add_pack(actions, add: Callable[..., ArgumentParser]) -> ArgumentParser:
    """Add `luss data pack`."""
    pack = add(
        actions,
        "pack",
        PACK,
        [
            "luss data pack --data DIR --split train --out packed/train-384 --longest 384",
            "luss data pack --check packed/train-384",
        ],
    )
    given = pack.add_argument_group("what is packed")
    _add_source(given, required=False)
    given.add_argument("--manifest", metavar="FILE", help="made if need be (default: DIR/<split>.manifest where there is one, else OUT.manifest)")
    made = pack.add_argument_group("what is made")
    made.add_argument("--out", metavar="OUT", help="folder of the pack, made if need be (required without --check)")
    side = made.add_mutually_exclusive_group()
    side.add_argument("--longest", metavar="N", type=int, help="shrink the longest side to N pixels; nothing is enlarged (default: 384)")
    side.add_argument("--shorter", metavar="N", type=int, help="shrink the shorter side to N pixels instead (default: off)")
    made.add_argument("--format", choices=["jpeg", "raw"], default="jpeg", help="JPEG files, or plain pixels (default: %(default)s)")
    made.add_argument("--quality", metavar="Q", type=int, default=90, help="of JPEG, 1 to 100 (default: %(default)s)")
    made.add_argument("--shard-mb", metavar="MB", type=int, default=256, help="about the size of a file (default: %(default)s)")
    pack.add_argument("--check", metavar="PACK", help="verify every record of this pack instead (default: off)")
    pack.add_argument("--workers", metavar="N", type=int, help="processes, 0 for none; the pack is the same for any (default: as many as cores)")
    return pack


def run_index(args: Namespace) -> None:
    """Carry out `luss data index`.

    Raises:
        LussError: no images, a damaged manifest; with --check also one that is no longer true.
        Interrupted: on request; the same command goes on from there.
    """
    from engine.data.manifest import load_manifest
    from engine.data.manifest_build import open_manifest
    from engine.data.manifest_check import check_manifest
    from engine.runtime import interrupt

    _refuse_workers(args.workers, 1)
    interrupt.install()
    path = args.out or _default_manifest(args)
    if args.check:
        manifest = load_manifest(path, args.data)
        found = check_manifest(manifest, deep=args.deep, workers=args.workers, quiet=args.quiet)
        if not found.current:
            raise LussError(str(found))
    else:
        if args.out is None and not os.access(args.data, os.W_OK) and os.path.isdir(args.data):
            raise LussError(f"{args.data}: not writable: say with --out where the manifest is to go")
        manifest = open_manifest(args.data, args.split, path, workers=args.workers, deep=args.deep, quiet=args.quiet)
    _print_manifest(manifest)


def run_pack(args: Namespace) -> None:
    """Carry out `luss data pack`.

    Raises:
        LussError: no images, a full disk, images that changed; with --check a pack that is damaged.
        Interrupted: on request; the same command goes on from there.
    """
    from engine.data.manifest_build import open_manifest
    from engine.data.pack import expected_size, pack_images
    from engine.data.pack_format import PackSettings
    from engine.runtime import interrupt
    from engine.storage.atomic import describe_bytes

    if args.check is not None:
        interrupt.install()
        _check_pack(args)
        return
    if args.data is None or args.out is None:
        raise LussError("luss data pack needs --data and --out, or --check  (see luss data pack --help)")
    _refuse_workers(args.workers, 0)
    given = {side: length for side, length in (("longest", args.longest), ("shorter", args.shorter)) if length is not None}
    side, length = next(iter(given.items()), ("longest", 384))
    settings = PackSettings(side, length, args.format, args.quality, args.shard_mb << 20)
    interrupt.install()
    path = args.manifest or _default_manifest(args)
    if args.manifest is None and not os.path.exists(path):
        path = os.path.normpath(args.out) + ".manifest"
    threads = None if args.workers is None else max(1, args.workers)
    manifest = open_manifest(args.data, args.split, path, workers=threads, quiet=args.quiet)
    if not os.path.isdir(args.out) and not args.quiet:
        parent = os.path.dirname(os.path.abspath(args.out))
        free = describe_bytes(shutil.disk_usage(parent).free) if os.path.isdir(parent) else "unknown"
        print(f"luss: the pack will take about {describe_bytes(expected_size(manifest, settings))}; free: {free}", file=sys.stderr)
    packed = pack_images(manifest, args.out, settings, workers=args.workers, quiet=args.quiet)
    for key, reason in packed.unreadable():
        print(f"{_shown(key)}: left out: {reason}")
    print(f"{packed.path}: {len(packed):,} images, {describe_bytes(packed.bytes)}, manifest {packed.manifest}")
    print(f"{int(packed.untouched.sum()):,} of them as their original files; {len(packed.unreadable()):,} left out")


def _check_pack(args: Namespace) -> None:
    from engine.data.packed import PackedImages
    from engine.runtime.progress import Progress
    from engine.storage.atomic import describe_bytes

    packed = PackedImages(args.check, access="sequential")
    with Progress("check", len(packed), unit="image", quiet=args.quiet) as progress:
        problems = packed.verify(progress.update)
    for problem in problems:
        print(problem)
    if problems:
        raise LussError(f"{packed.path}: {len(problems):,} problems, each is named on standard output; delete the pack and make it again")
    print(
        f"{packed.path}: whole, {len(packed):,} images, {describe_bytes(packed.bytes)}, {len(packed.unreadable()):,} were left out when it was made"
    )


def _add_source(group, required: bool = True) -> None:
    note = "(required)" if required else "(required without --check)"
    group.add_argument("--data", metavar="DIR", required=required, help=f"data set: a folder with train/, validation/, ... {note}")
    group.add_argument("--split", metavar="NAME", default="train", help="folder of images in it (default: %(default)s)")


def _default_manifest(args: Namespace) -> str:
    return os.path.join(args.data, f"{args.split}.manifest")


def _print_manifest(manifest) -> None:
    from engine.storage.atomic import describe_bytes

    bad = manifest.unreadable()
    for key, reason in bad:
        print(f"{_shown(key)}: unreadable: {reason}")
    total = describe_bytes(int(manifest.bytes.sum()))
    print(f"{manifest.path}: {len(manifest):,} images in {len(manifest.classes):,} classes, {total}, {len(bad):,} unreadable")
    print(f"fingerprint {manifest.fingerprint()}")


def _refuse_workers(workers: int | None, least: int) -> None:
    if workers is not None and workers < least:
        raise LussError(f"--workers {workers}: expected {least} or more")


def _shown(key: str) -> str:
    """A key with odd bytes in a form that any terminal takes."""
    return key.encode("utf-8", "backslashreplace").decode()
