"""Label maps written by worker processes, so that the model does not wait for PNG compression."""

from __future__ import annotations

import multiprocessing
import os
from collections import deque
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np

from engine.runtime import interrupt
from engine.runtime.errors import LussError
from engine.runtime.interrupt import leave_to_parent
from luss.benchmark.label_map import write_label_map

PENDING = 64  # maps waiting to be written before the caller has to wait


def map_path(root: Path, key: str) -> Path:
    """<root>/<class>/<stem>.png of an image's key."""
    return Path(root) / (os.path.splitext(key)[0] + ".png")


def _write(path: str, ids: np.ndarray) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    write_label_map(path, ids)


class MapWriter:
    """`put(path, ids)` returns at once unless `PENDING` maps wait; leaving the context waits for all of them.

    Raises:
        LussError: a map could not be written, or a writing process died; raised by a later `put` or at the end.
    """

    def __init__(self, settings):
        count = settings.data.workers if settings.data.workers >= 0 else min(4, max(1, (os.cpu_count() or 1) // 2))
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(count, mp_context=context, initializer=leave_to_parent, initargs=(True,)) if count else None
        self._waiting: deque = deque()

    def __enter__(self) -> MapWriter:
        return self

    def put(self, path: Path, ids: np.ndarray) -> None:
        small = ids.astype(np.uint16) if ids.max(initial=0) < 2**16 else ids  # half the bytes through the pipe
        if self._pool is None:
            _write(str(path), small.astype(np.int32))
            return
        self._waiting.append((path, self._pool.submit(_write, str(path), small.astype(np.int32))))
        while len(self._waiting) > PENDING:
            self._finish_one()

    def _finish_one(self) -> None:
        path, future = self._waiting.popleft()
        try:
            future.result()
        except BrokenProcessPool as error:
            if interrupt.stop_requested():  # whoever asked this process to stop may have ended the writers, too
                raise interrupt.Interrupted("stopped while label maps were written; the same command continues") from error
            raise LussError(f"{path}: the process that writes label maps died (killed, or out of memory); start the same command again") from error
        except OSError as error:
            raise LussError(
                f"{path}: the label map cannot be written ({error.strerror}); free space or mend the permissions, then start again"
            ) from error

    def __exit__(self, kind, value, trace) -> None:
        try:
            while self._waiting and kind is None:
                self._finish_one()
        finally:
            if self._pool is not None:
                self._pool.shutdown(wait=True, cancel_futures=True)
