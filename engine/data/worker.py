"""What runs in a loading process: build one batch per task. Also used inline, where there are no such processes."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Callable

import numpy as np

from ..runtime.errors import LussError
from .decode import UnreadableImage

REPLACEMENT_TRIES = 20

Batch = dict  # key -> stacked array, or list of arrays; "index" -> (b,) int64
Bad = list  # of (path, reason)

_dataset = None
_stop = None


def start(queue, stop) -> None:
    """Initialise a loading process: the data set comes through `queue` as a pickle, `stop` is a shared flag."""
    global _dataset, _stop
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the main process decides
    threading.Thread(target=_die_with_parent, daemon=True).start()
    _dataset = pickle.loads(queue.get())
    _stop = stop


def _die_with_parent() -> None:
    # A killed parent closes no pipe we would notice (siblings hold its ends): without this we would wait for ever.
    multiprocessing.parent_process().join()
    os._exit(1)


def ready() -> int:
    """First task of every process; brings the processes up."""
    return os.getpid()


def load_task(epoch: int, indices: np.ndarray, replace: bool, as_lists: bool) -> tuple[Batch | None, Bad]:
    """`load_batch` on the data set and the stop flag of this process."""
    return load_batch(_dataset, epoch, indices, replace, as_lists, lambda: _stop.value)


def load_batch(
    dataset, epoch: int, indices: np.ndarray, replace: bool, as_lists: bool, stopped: Callable[[], object] = lambda: False
) -> tuple[Batch | None, Bad]:
    """Load the samples of one batch.

    Args:
        indices: (b,) int64.
        replace: put the next readable image in place of an unreadable one; else leave it out.
        as_lists: lists of arrays instead of stacked arrays.
        stopped: asked before each sample; true gives the batch up.

    Returns:
        The batch (None where nothing remains) and the unreadable files met.
    """
    samples, kept, bad = [], [], []
    for index in indices.tolist():
        if stopped():
            return None, bad
        for shift in range(REPLACEMENT_TRIES if replace else 1):
            used = (index + shift) % len(dataset)
            try:
                samples.append(dataset.load(epoch, used))
            except UnreadableImage as error:
                bad.append((error.path, error.reason))
            else:
                kept.append(used)
                break
        else:
            if replace:
                path, reason = bad[-1]
                raise LussError(
                    f"{REPLACEMENT_TRIES} images in a row cannot be read, the last is {path} ({reason}): check that the data set is whole"
                )
    if not samples:
        return None, bad
    batch: Batch = {key: _collate([sample[key] for sample in samples], key, as_lists) for key in samples[0]}
    batch["index"] = np.array(kept, np.int64)
    return batch, bad


def _collate(arrays: list[np.ndarray], key: str, as_lists: bool):
    if as_lists:
        return arrays
    if any(array.shape != arrays[0].shape for array in arrays):
        raise ValueError(f"{key}: samples of shapes {sorted({array.shape for array in arrays})} cannot be stacked; use collate='list'")
    return np.stack(arrays)
