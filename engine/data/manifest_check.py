"""Is a manifest still true? One look at each file's size and time, or one more reading of it."""

from __future__ import annotations

import concurrent.futures
import os
import threading
from dataclasses import dataclass

import numpy as np

from ..runtime import interrupt
from ..runtime.progress import Progress
from .folder import list_images
from .image_file import read_facts, stat_file
from .manifest import Manifest

_RUN = 4096  # images a task
_POLL = 0.2  # seconds between looks for a request to stop
_NAMED = 3


@dataclass(frozen=True)
class ManifestCheck:
    """What differs between a manifest and the files it describes; keys of the images."""

    path: str
    images: int
    changed: tuple[str, ...]
    vanished: tuple[str, ...]
    new: tuple[str, ...]
    classes_differ: bool = False  # a class folder without images came or went

    @property
    def current(self) -> bool:
        return not (self.changed or self.vanished or self.new or self.classes_differ)

    def __str__(self) -> str:
        if self.current:
            return f"{self.path}: current, {self.images:,} images"
        kinds = {"changed": self.changed, "vanished": self.vanished, "new": self.new}
        parts = [f"{len(keys):,} {kind} ({_first(keys)})" for kind, keys in kinds.items() if keys]
        if self.classes_differ:
            parts.append("other class folders")
        return f"{self.path}: no longer true of its {self.images:,} images: {', '.join(parts)}; bring it up to date with luss data index"


def check_manifest(manifest: Manifest, *, deep: bool = False, workers: int | None = None, quiet: bool = True) -> ManifestCheck:
    """Compare a manifest with the files.

    Args:
        deep: compare checksums too, which reads every image; else size and time tell.
        workers: threads; None: four times the cores, at most 16.

    Raises:
        LussError: the folder of images is gone.
        Interrupted: on request.
    """
    images = list_images(manifest.root, manifest.split)
    listed = {item.key for item in images.items}
    keys = list(manifest.items.keys())
    known = set(keys)
    there = np.array([i for i, key in enumerate(keys) if key in listed], np.int64)
    stop = threading.Event()
    changed: list[int] = []
    with (
        concurrent.futures.ThreadPoolExecutor(workers or min(16, 4 * (os.cpu_count() or 1)), "check") as pool,
        Progress("check", len(there), unit="image", quiet=quiet) as progress,
    ):
        runs = [there[first : first + _RUN] for first in range(0, len(there), _RUN)]
        waiting = {pool.submit(_differing, manifest, keys, run, deep, stop): len(run) for run in runs}
        try:
            while waiting:
                done, _ = concurrent.futures.wait(waiting, _POLL, concurrent.futures.FIRST_COMPLETED)
                for future in done:
                    progress.update(waiting.pop(future))
                    changed += future.result()
                if waiting and interrupt.stop_requested():
                    raise interrupt.Interrupted(f"{manifest.path}: {progress.done:,} of {len(there):,} images were looked at")
        finally:
            stop.set()
            for future in waiting:
                future.cancel()
    return ManifestCheck(
        manifest.path,
        len(manifest),
        tuple(keys[i] for i in sorted(changed)),
        tuple(key for key in keys if key not in listed),
        tuple(item.key for item in images.items if item.key not in known),
        images.classes != manifest.classes,
    )


def _differing(manifest: Manifest, keys: list[str], run: np.ndarray, deep: bool, stop: threading.Event) -> list[int]:
    """Which of these images differ from what the manifest says."""
    sizes, times, sums, reasons = (values[run].tolist() for values in (manifest.bytes, manifest.mtime_ns, manifest.checksum, manifest.reason))
    differing, folder = [], os.path.join(manifest.folder, "")
    for i, size, time, checksum, reason in zip(run.tolist(), sizes, times, sums, reasons):
        if stop.is_set():
            break
        path = folder + keys[i]
        if deep or reason:  # what could not be read may have been mended without a trace, by chmod for one
            found = read_facts(path)
            same = (found.bytes, found.checksum, found.reason) == (size, checksum, manifest.reasons[reason])
            if not same or found.mtime_ns != time:
                differing.append(i)
        elif stat_file(path) != (size, time):
            differing.append(i)
    return differing


def _first(keys: tuple[str, ...]) -> str:
    more = f" and {len(keys) - _NAMED:,} more" if len(keys) > _NAMED else ""
    return ", ".join(keys[:_NAMED]) + more
