"""Pack the images of a manifest into a few large files, in parallel; killed at any moment, the next call completes the same pack.

Each shard holds a fixed run of consecutive images, so neither content nor order depends on who writes it. A shard counts when its own
index is there, the pack when the common index is; pack_format.py says what the files are.
"""

from __future__ import annotations

import os
import re
from dataclasses import asdict

import numpy as np
import PIL
import simplejpeg

from ..runtime import interrupt
from ..runtime.errors import LussError
from ..runtime.progress import Progress
from ..storage.arrays import load_arrays, save_arrays
from ..storage.atomic import PathLike, read_json, remove_stale_temporaries, write_json
from ..storage.lock import locked_folder
from .manifest import Manifest, Names
from .pack_format import (
    COLUMNS,
    INDEX,
    RECORD,
    VERSION,
    PackSettings,
    expected_bytes,
    pack_identity,
    shard_bounds,
    shard_index_path,
    shard_path,
)
from .pack_shard import ShardJob, write_shard
from .packed import PackedImages
from .parallel import run_tasks


def pack_images(
    manifest: Manifest, out: PathLike, settings: PackSettings | None = None, *, workers: int | None = None, quiet: bool = True
) -> PackedImages:
    """Make the pack of a manifest's images in the folder `out`, or complete it; returns it opened.

    Unreadable images are left out and listed (`PackedImages.unreadable`).

    Args:
        workers: processes; 0: this one; None: as many as cores. The pack is the same to the byte for any number.
        quiet: no progress on standard error.

    Raises:
        LussError: the disk is full; an image changed since it was indexed; `out` holds something else; no image can be read.
        Interrupted: on request. After either, shards that are complete stay, and the next call goes on.
    """
    settings = settings or PackSettings()
    out = os.path.abspath(out)
    bounds = shard_bounds(manifest.width, manifest.height, manifest.bytes, settings)
    job = ShardJob(out, pack_identity(settings, manifest.fingerprint()), settings, manifest, bounds)
    with locked_folder(out, "packs images there"):
        _begin(job)
        if not os.path.exists(os.path.join(out, INDEX)):
            _write_shards(job, _cores() if workers is None else workers, quiet)
            _write_index(job)
        _tidy(job)
    return PackedImages(out)


def expected_size(manifest: Manifest, settings: PackSettings) -> int:
    """About how many bytes the pack will have; exact for raw pixels where every image can be read."""
    return int(expected_bytes(manifest.width, manifest.height, manifest.bytes, settings).sum())


def _begin(job: ShardJob) -> None:
    """Claim the folder for this pack."""
    remove_stale_temporaries(job.out)
    path = os.path.join(job.out, RECORD)
    wanted = {"format": "luss-pack", "version": VERSION, "settings": asdict(job.settings), "manifest": job.manifest.fingerprint()}
    if not os.path.exists(path):
        if os.listdir(job.out):
            raise LussError(f"{job.out}: not empty, and no pack in it (no {RECORD}); expected an empty or new folder")
        write_json(path, {**wanted, "root": os.path.abspath(job.manifest.root), "split": job.manifest.split, "made with": _versions()})
        return
    found = read_json(path)
    if not isinstance(found, dict) or found.get("format") != "luss-pack":
        raise LussError(f"{path}: not the record of a pack; expected an empty or new folder")
    differing = [name for name in wanted if found.get(name) != wanted[name]]
    if differing:
        was = "; ".join(f"{name} {found.get(name)}, now {wanted[name]}" for name in differing)
        raise LussError(f"{job.out}: holds a pack made otherwise ({was}): choose another folder, or delete this one")


def _write_shards(job: ShardJob, workers: int, quiet: bool) -> None:
    count = len(job.bounds) - 1
    todo = [number for number in range(count) if not _is_complete(job, number)]
    sizes = np.diff(job.bounds)
    start = int(sizes.sum() - sizes[todo].sum())
    done = count - len(todo)

    def finished(_) -> None:
        nonlocal done
        done += 1

    with Progress("pack", int(sizes.sum()), unit="image", start=start, quiet=quiet) as progress:
        try:
            run_tasks(write_shard, job, todo, workers, finished, progress.update)
        except interrupt.Interrupted as error:
            raise interrupt.Interrupted(f"{done} of {count} shards are complete, and kept") from error


def _is_complete(job: ShardJob, number: int) -> bool:
    """Whether a shard was finished earlier; what is left of an unfinished one goes."""
    path = shard_index_path(job.out, number)
    if not os.path.exists(path):
        return False
    try:
        meta = load_arrays(path)[1]
        if (meta["pack"], meta["number"], meta["bytes"]) == (job.identity, number, os.path.getsize(shard_path(job.out, number))):
            return True
    except (LussError, OSError):
        pass  # damaged or without its shard: made again, which is what its error would advise
    os.unlink(path)
    return False


def _write_index(job: ShardJob) -> None:
    """Join the indices of the shards."""
    parts = [load_arrays(shard_index_path(job.out, number)) for number in range(len(job.bounds) - 1)]
    arrays = {name: np.concatenate([part[name] for part, _ in parts]) for name in COLUMNS}
    bad = [pair for _, meta in parts for pair in meta["bad"]]
    if not len(arrays["source"]):
        raise LussError(f"{job.out}: none of the {len(bad)} images can be read, the first is {bad[0][0]} ({bad[0][1]})")
    arrays["shard"] = np.repeat(np.arange(len(parts), dtype=np.int32), [len(part["source"]) for part, _ in parts])
    arrays["class_index"] = np.asarray(job.manifest.class_index)[arrays["source"]]
    keys = list(job.manifest.items.keys())
    arrays["names"], arrays["name_ends"] = Names.pack([keys[i].rpartition("/")[2] for i in arrays["source"].tolist()])
    manifest = job.manifest
    meta = {
        "format": "luss-pack",
        "version": VERSION,
        "pack": job.identity,
        "settings": asdict(job.settings),
        "manifest": manifest.fingerprint(),
        "root": os.path.abspath(manifest.root),
        "split": manifest.split,
        "folder": os.path.relpath(manifest.folder, manifest.root),
        "classes": list(manifest.classes),
        "shards": [part_meta["bytes"] for _, part_meta in parts],
        "bad": bad,
    }
    save_arrays(os.path.join(job.out, INDEX), arrays, meta)


def _versions() -> dict[str, str]:
    return {"simplejpeg": simplejpeg.__version__, "pillow": PIL.__version__}


def _tidy(job: ShardJob) -> None:
    """Remove what only the making needed, temporaries of workers whose parent was killed a moment ago among it."""
    shards = len(job.bounds) - 1
    for name in os.listdir(job.out):
        if re.fullmatch(r"shard-\d{5}\.pack\.tmp-\d+|shard-\d{5}\.index(\.tmp-\d+)?", name) and int(name[6:11]) < shards:
            os.unlink(os.path.join(job.out, name))


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
