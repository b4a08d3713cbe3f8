"""Make a manifest: read every image once, keep what is known from before, survive being stopped.

The list of images is cut into pieces; threads read them, and each finished piece becomes a file in `<manifest>.parts/`, so that the next
attempt has only to look whether those files are still the same. Threads, not processes: they wait for the disk side by side, and start at
once. On photographs in memory two do 20,000 a second (2.2 GB/s) and more get into each other's way (docs/packed-images.md); a disk is slower.
"""

from __future__ import annotations

import concurrent.futures
import os
import shutil
import threading
from collections.abc import Collection, Sequence

import numpy as np
import xxhash

from ..runtime import interrupt
from ..runtime.errors import LussError
from ..runtime.progress import Progress
from ..storage.arrays import load_arrays, save_arrays
from ..storage.atomic import PathLike, remove_stale_temporaries
from ..storage.lock import locked_folder
from .folder import ImageFolder, ImageItem, list_images
from .image_file import read_facts, stat_file
from .manifest import FACTS, Manifest, load_manifest, save_manifest
from .manifest_check import check_manifest

PIECE = 1024  # images; at 100 images a second, a slow disk, ten seconds of work
_POLL = 0.2  # seconds between looks for a request to stop


def build_manifest(
    root: str,
    split: str,
    path: PathLike,
    *,
    workers: int | None = None,
    previous: Manifest | None = None,
    reread: Collection[str] = (),
    quiet: bool = True,
) -> Manifest:
    """Index the images of `list_images(root, split)` and write the manifest to `path`.

    The content does not depend on the number of workers, nor on how often the work was stopped and begun again.

    Args:
        workers: threads that read; None: twice the cores, at most 16.
        previous: an older manifest; images whose size and time are as it says are not read again.
        reread: keys of images that are, all the same.
        quiet: no progress on standard error.

    Raises:
        LussError: no images; `path` cannot be written, or holds something that is no whole manifest. Images that cannot be read do not stop
            it; the manifest says which and why.
        Interrupted: on request; the next call goes on from there.
    """
    images = list_images(root, split)
    path = os.path.abspath(path)
    if os.path.exists(path):
        load_manifest(path)  # nothing but a manifest is overwritten
    parts = path + ".parts"
    with locked_folder(parts, "makes this manifest"):
        remove_stale_temporaries(parts)
        facts, reasons = _Build(images, parts, previous, frozenset(reread)).run(workers or default_workers(), quiet)
        folder = os.path.relpath(images.items[0].path[: -len(images.items[0].key)], root)
        save_manifest(path, root, split, "" if folder == os.curdir else folder, images.classes, images.items, facts, reasons)
        shutil.rmtree(parts)
    return load_manifest(path, root)


def open_manifest(root: str, split: str, path: PathLike, *, workers: int | None = None, deep: bool = False, quiet: bool = True) -> Manifest:
    """The manifest of a split, current: loaded where it is, brought up to date where images changed, built where there is none.

    Args:
        deep: compare checksums too, which reads every image; else size and time tell.

    Raises:
        LussError: as `build_manifest` and `load_manifest`; a damaged or foreign file at `path` is not overwritten.
        Interrupted: on request.
    """
    previous, reread = None, ()
    if os.path.exists(path):
        previous = load_manifest(path, root)
        if previous.split != split:
            raise LussError(f"{path}: a manifest of {previous.split}; expected one of {split}: choose another name")
        found = check_manifest(previous, deep=deep, workers=workers, quiet=quiet)
        if found.current:
            return previous
        reread = found.changed  # where the search was deep, size and time may be the same
    return build_manifest(root, split, path, workers=workers, previous=previous, reread=reread, quiet=quiet)


def default_workers() -> int:
    """Threads that keep a disk busy."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(16, 2 * cores)


class _Piece:
    """Facts of consecutive images while they are gathered."""

    def __init__(self, number: int, items: Sequence[ImageItem]):
        self.number, self.items = number, items
        self.facts = {name: np.zeros(len(items), dtype) for name, dtype in FACTS.items()}
        self.reasons: list[str] = [""]
        self.digest = xxhash.xxh3_128_hexdigest(b"\0".join(os.fsencode(item.path) for item in items))
        self.known = np.zeros(len(items), bool)  # from before; to be used where size and time still agree
        self.fresh = False  # whether anything was read, and is worth keeping

    def recall(self, arrays: dict) -> None:
        """Take over facts of an earlier attempt; unreadable images are always looked at again."""
        for name in FACTS:
            self.facts[name][:] = arrays[name]
        self.known = self.facts["reason"] == 0

    def gather(self, stop: threading.Event) -> bool:
        """Read what is not known; false where it was stopped."""
        for i, item in enumerate(self.items):
            if stop.is_set():
                return False
            if self.known[i] and stat_file(item.path) == (self.facts["bytes"][i], self.facts["mtime_ns"][i]):
                continue
            self.fresh = True
            found = read_facts(item.path)
            for name in ("bytes", "mtime_ns", "checksum", "width", "height"):
                self.facts[name][i] = getattr(found, name)
            if found.reason not in self.reasons:
                self.reasons.append(found.reason)
            self.facts["reason"][i] = self.reasons.index(found.reason)
        return True


class _Build:
    def __init__(self, images: ImageFolder, parts: str, previous: Manifest | None, reread: frozenset[str]):
        self.parts = parts
        items = images.items
        self.pieces = [_Piece(n, items[first : first + PIECE]) for n, first in enumerate(range(0, len(items), PIECE))]
        self.total = len(items)
        if previous is not None:
            self._recall_manifest(previous, reread)
        for piece in self.pieces:
            self._recall_part(piece)

    def run(self, workers: int, quiet: bool) -> tuple[dict[str, np.ndarray], list[str]]:
        """All facts in order, and the reasons their numbers stand for."""
        stop = threading.Event()
        with (
            concurrent.futures.ThreadPoolExecutor(workers, "index") as pool,
            Progress("index", self.total, unit="image", quiet=quiet) as progress,
        ):
            waiting = {pool.submit(piece.gather, stop): piece for piece in self.pieces}
            try:
                while waiting:
                    done, _ = concurrent.futures.wait(waiting, _POLL, concurrent.futures.FIRST_COMPLETED)
                    for future in done:
                        piece = waiting.pop(future)
                        future.result()
                        self._save_part(piece)
                        progress.update(len(piece.items))
                    if waiting and interrupt.stop_requested():
                        raise interrupt.Interrupted(f"{progress.done:,} of {self.total:,} images are indexed, and kept")
            finally:
                stop.set()
                for future in waiting:
                    future.cancel()
        return self._joined()

    def _joined(self) -> tuple[dict[str, np.ndarray], list[str]]:
        reasons = sorted({reason for piece in self.pieces for reason in piece.reasons})  # "" comes first
        for piece in self.pieces:
            numbers = np.array([reasons.index(reason) for reason in piece.reasons], np.uint32)
            piece.facts["reason"] = numbers[piece.facts["reason"]]
        return {name: np.concatenate([piece.facts[name] for piece in self.pieces]) for name in FACTS}, reasons

    def _recall_manifest(self, previous: Manifest, reread: frozenset[str]) -> None:
        positions = {key: i for i, key in enumerate(previous.items.keys()) if key not in reread}
        for piece in self.pieces:
            found = np.array([positions.get(item.key, -1) for item in piece.items])
            there = found >= 0
            for name in ("bytes", "mtime_ns", "checksum", "width", "height"):
                piece.facts[name][there] = getattr(previous, name)[found[there]]
            piece.known[there] = previous.readable[found[there]]

    def _part(self, piece: _Piece) -> str:
        return os.path.join(self.parts, f"piece-{piece.number:06d}")

    def _save_part(self, piece: _Piece) -> None:
        if piece.fresh:
            save_arrays(self._part(piece), piece.facts, {"images": piece.digest})

    def _recall_part(self, piece: _Piece) -> None:
        path = self._part(piece)
        if not os.path.exists(path):
            return
        try:
            arrays, meta = load_arrays(path)
        except LussError:
            os.unlink(path)  # damaged by a power cut: its images are read again
            return
        if meta.get("images") == piece.digest:
            piece.recall(arrays)
