"""`luss cluster`: the stage of a run, or with --cache the same k-means over any feature cache, without a run or images."""

from __future__ import annotations

import contextlib
import os
import re
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Callable

from engine.runtime import interrupt
from engine.runtime.errors import LussError
from luss.cluster_settings import ENGINES, RESULT_NAMES, STARTS, ClusterSettings, cluster_trouble

EXAMPLES = [
    "luss cluster --preset imagenet-s-50 --data DIR --engine faiss",
    "luss cluster --cache runs/50/3-features/train --clusters 100 --assign runs/50/3-features/validation --out clusters-100",
]
_OPTIONS = (*RESULT_NAMES, "block_rows")  # options and settings of one name
_OF_A_RUN = ("preset", "config", "data", "workspace", "set", "dry_run")


def add_options(parser: ArgumentParser, add_common: Callable[[ArgumentParser], None]) -> None:
    d = ClusterSettings()
    how = parser.add_argument_group("clustering (each is the setting cluster.NAME)")
    how.add_argument("--clusters", metavar="K", type=int, help="number of clusters (required with --cache; default: the preset's)")
    how.add_argument("--restarts", metavar="R", type=int, help=f"starts; the best is kept (default: the preset's; with --cache {d.restarts})")
    how.add_argument("--iterations", metavar="I", type=int, help=f"passes over the rows at most (default: the preset's; with --cache {d.iterations})")
    how.add_argument("--engine", choices=ENGINES, help=f"luss streams the cache and resumes; faiss holds it in memory (default: {d.engine})")
    how.add_argument("--start", choices=STARTS, help=f"where restarts begin; random is faiss's choice of rows (default: {d.start})")
    how.add_argument("--spherical", action="store_true", help="centroids of unit length, nearest by cosine (default: off)")
    how.add_argument("--whiten", metavar="D", type=int, help="PCA-whitening to D dimensions before; 0 = none (default: 0)")
    how.add_argument("--minibatch", metavar="ROWS", type=int, help="mini-batches of so many rows: quick, approximate; 0 = off (default: 0)")
    how.add_argument("--block-rows", metavar="ROWS", type=int, help="rows held at a time; changes no result; 0 = 32 MB of them (default: 0)")
    alone = parser.add_argument_group("any feature cache, without a run")
    alone.add_argument("--cache", metavar="FOLDER", help="the feature cache to cluster; its --seed is 0 by default (default: that of the run)")
    alone.add_argument("--out", metavar="FOLDER", help="where centroids, labels and report.json go (required with --cache)")
    alone.add_argument("--assign", metavar="FOLDER", action="append", default=[], help="one more cache to give labels to; repeatable")
    alone.add_argument("--no-normalise", action="store_true", help="cluster rows as they are, not at unit length (default: off)")
    add_common(parser)


def run(args: Namespace) -> None:
    from luss.cli.commands import quieten, run_stages

    options = {name: getattr(args, name) for name in _OPTIONS}
    given = {name: value for name, value in options.items() if value is not None and value is not False}
    if args.cache is None:
        for name in ("out", "assign", "no_normalise"):
            if getattr(args, name):
                raise LussError(f"{_option(name)} needs --cache; a run writes to its workspace, and clusters rows of unit length")
        args.set = [f"cluster.{name}={str(value).lower()}" for name, value in given.items()] + args.set
        run_stages(args)
        return
    for name in _OF_A_RUN:
        if getattr(args, name):
            raise LussError(f"{_option(name)} belongs to a run and does not go with --cache; give --clusters, --restarts, ... as options")
    for name in ("out", "clusters"):
        if getattr(args, name) is None:
            raise LussError(f"--cache needs {_option(name)}")
    settings = ClusterSettings(**given)
    trouble = cluster_trouble(settings)
    if trouble:
        raise LussError(re.sub(r"cluster\.(\w+)", lambda found: _option(found.group(1)), trouble))
    seed = args.seed or 0
    if not 0 <= seed < 1 << 31:
        raise LussError(f"--seed {seed}: expected 0 to 2147483647")
    quieten(args)
    cluster_alone(settings, seed, args)


def cluster_alone(settings: ClusterSettings, seed: int, args: Namespace) -> None:
    """Cluster the rows of --cache, and give labels to them and to those of each --assign; the first process writes."""
    from engine.clustering.rows import Rows
    from engine.features import FeatureCache
    from engine.runtime.cuda import find_cuda
    from engine.runtime.exchange import for_processes
    from engine.storage.lock import locked_folder
    from luss.clustering import Work, cluster
    from luss.workspace import StageFolder

    for option, path in (("--cache", args.cache), *(("--assign", path) for path in args.assign)):
        if not os.path.isdir(path):
            raise LussError(f"{option} {path}: no such folder; expected a feature cache, as luss features makes one")
    caches = {Path(os.path.abspath(path)).name: FeatureCache(path, remedy="make it again") for path in (args.cache, *args.assign)}
    if len(caches) != 1 + len(args.assign):
        raise LussError(f"--assign: two caches have the same name out of {', '.join(caches)}, and labels are named after them: rename one's folder")
    source = next(iter(caches.values()))
    if len(source) < settings.clusters:
        raise LussError(f"--clusters {settings.clusters}: {args.cache} has only {len(source)} rows; expected at least one for each cluster")
    for cache in caches.values():
        if cache.dim != source.dim:
            raise LussError(f"--assign {cache.folder}: rows of {cache.dim} values, those of {args.cache} have {source.dim}")
    if settings.whiten > source.dim:
        raise LussError(f"--whiten {settings.whiten}: {args.cache} has rows of {source.dim} values; expected at most that")
    work = Work(settings, seed, not args.no_normalise, quiet=os.environ.get("LUSS_QUIET") == "1")
    exchange, folder = for_processes(), StageFolder(Path(args.out))
    if exchange.size > 1 or find_cuda().usable:
        from engine.runtime import jt  # noqa: F401  now: processes that it starts must not inherit the next line's handlers
    interrupt.install()
    first = exchange.rank == 0
    wanted, inputs = work.as_dict(), {"cache": Rows(source).identity()}
    with locked_folder(args.out, "clusters") if first else contextlib.nullcontext():
        if first:
            status = folder.status(wanted, inputs)
            if status.state == "stale":
                raise LussError(f"--out {args.out}: {status.reason}; name another folder, or delete this one")
            if status.state != "complete":
                folder.begin(wanted, inputs)
        exchange.barrier()
        clustering = cluster(source, work, folder.path, exchange)
        _label(caches, clustering, work, folder.path, exchange)
        if first:
            if status.state != "complete":
                folder.finish(wanted, inputs, {"objective": clustering.objective})
            print(f"{args.out}: {settings.clusters} clusters of {len(source):,} rows, objective {clustering.objective:.7g}")
        exchange.barrier()


def _label(caches: dict, clustering, work, folder: Path, exchange) -> None:
    """Write NAME.labels.npy for every cache whose labels are not there yet, and NAME.ids.npy where its ids are not 0 to n - 1."""
    import numpy as np

    from engine.clustering.rows import Rows
    from engine.storage.atomic import atomic_file, read_json, write_json
    from luss.clustering import REPORT, labels_of, size_figures, told

    report = read_json(folder / REPORT)
    done = report.setdefault("labels", {})
    for name, cache in caches.items():
        identity, target = Rows(cache).identity(), folder / f"{name}.labels.npy"
        if told(exchange, target.exists() and done.get(name, {}).get("identity") == identity):
            continue
        labels, sizes = labels_of(cache, clustering, work, f"clusters of {name}", exchange)
        done[name] = {"cache": str(cache.folder), "identity": identity, "rows": len(cache), **size_figures(sizes)}
        if cache is next(iter(caches.values())):
            report.update(size_figures(sizes))
        if exchange.rank:
            continue
        counted = np.array_equal(cache.ids, np.arange(len(cache)))
        for path, array in ((target, labels), (folder / f"{name}.ids.npy", None if counted else cache.ids.astype(np.uint32))):
            if array is None:
                path.unlink(missing_ok=True)
                continue
            with atomic_file(path) as stream:
                np.save(stream, array)
        write_json(folder / REPORT, report)


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"
