"""Batches from a data set, built ahead by loading processes, in an order that depends on (seed, epoch) alone."""

from __future__ import annotations

import concurrent.futures
import contextlib
import multiprocessing
import os
import pickle
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.sharedctypes import RawValue

from ..runtime.errors import LussError
from . import worker
from .decode import UnreadableImage
from .order import epoch_order

_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class Loader(contextlib.AbstractContextManager):
    """Iterate over a data set in batches.

    With shuffle=True (training) an unreadable image is replaced by the next readable index, with shuffle=False
    (evaluation) it is left out; "index" tells which images a batch holds. Either way it is reported.

    Args:
        dataset: picklable object with `__len__()` and `load(epoch, index) -> dict of arrays`, which may raise UnreadableImage.
        batch_size: samples a batch of this process.
        seed: of the order.
        workers: loading processes; 0 loads in this process.
        shuffle: a fresh permutation for each epoch; else the data set's own order.
        drop_last: drop the last batch where it is incomplete.
        rank, world_size: this process among those that share the data set.
        collate: "stack" gives (b, ...) arrays; "list" lists of arrays, for samples of differing shapes.
        on_bad: called in this process with (path, reason) of each unreadable image; without it the first one raises.
    """

    def __init__(
        self,
        dataset,
        batch_size: int,
        *,
        seed: int,
        workers: int,
        shuffle: bool,
        drop_last: bool,
        rank: int = 0,
        world_size: int = 1,
        collate: str = "stack",
        on_bad: Callable[[str, str], None] | None = None,
    ):
        if batch_size < 1 or workers < 0 or not 0 <= rank < world_size:
            raise ValueError(f"batch_size={batch_size}, workers={workers}, rank={rank}, world_size={world_size}: out of range")
        if collate not in ("stack", "list"):
            raise ValueError(f"collate={collate!r}: expected 'stack' or 'list'")
        if len(dataset) == 0:
            raise ValueError("dataset: expected at least one image")
        share = -(-len(dataset) // world_size)
        self.steps_per_epoch = share // batch_size if drop_last else -(-share // batch_size)
        if self.steps_per_epoch == 0:
            raise LussError(f"{len(dataset)} images over {world_size} processes give none of them a full batch of {batch_size}: lower the batch size")
        self.dataset = dataset
        self.batch_size = batch_size
        self.seed = seed
        self.workers = workers
        self.shuffle = shuffle
        self.rank = rank
        self.world_size = world_size
        self.data_seconds = 0.0  # how long the consumer has waited for batches
        self._as_lists = collate == "list"
        self._on_bad = on_bad
        self._executor = None
        self._queue = None
        self._stop = None

    def epoch(self, epoch: int, start_step: int = 0) -> Iterator[dict]:
        """Batches of one epoch from step `start_step` on; earlier ones are not loaded.

        Each is a dict of the data set's arrays plus "index", (b,) int64: which images it holds. A batch of which no image
        can be read is left out.

        Raises (while iterating):
            LussError: a loading process died; too many unreadable images (from `on_bad`); 20 in a row.
        """
        if not 0 <= start_step <= self.steps_per_epoch:
            raise ValueError(f"start_step={start_step}: expected 0 to {self.steps_per_epoch}")
        return self._batches(epoch, start_step)

    def close(self) -> None:
        """End the loading processes; running ones stop after the image at hand. The loader can be used again afterwards."""
        executor, self._executor = self._executor, None
        if executor is None:
            return
        self._stop.value = 1
        executor.shutdown(wait=True, cancel_futures=True)
        self._queue.cancel_join_thread()
        self._queue.close()

    def __exit__(self, *exception) -> None:
        self.close()

    def _batches(self, epoch: int, start_step: int) -> Iterator[dict]:
        order = epoch_order(len(self.dataset), self.seed, epoch, self.shuffle, self.rank, self.world_size)
        steps = iter(range(start_step, self.steps_per_epoch))
        begin = time.perf_counter()
        for batch, bad in self._ahead(epoch, order, steps) if self.workers else self._inline(epoch, order, steps):
            self.data_seconds += time.perf_counter() - begin
            for path, reason in bad:
                if self._on_bad is None:
                    raise UnreadableImage(path, reason)
                self._on_bad(path, reason)
            if batch is not None:
                yield batch
            begin = time.perf_counter()

    def _indices(self, order, step: int):
        return order[step * self.batch_size : (step + 1) * self.batch_size]

    def _inline(self, epoch: int, order, steps: Iterator[int]) -> Iterator[tuple[worker.Batch | None, worker.Bad]]:
        for step in steps:
            yield worker.load_batch(self.dataset, epoch, self._indices(order, step), self.shuffle, self._as_lists)

    def _ahead(self, epoch: int, order, steps: Iterator[int]) -> Iterator[tuple[worker.Batch | None, worker.Bad]]:
        """Keep 2 * workers batches in the making; yield them in order."""
        pending: deque = deque()

        def submit_next() -> None:
            for step in steps:
                task = (epoch, self._indices(order, step), self.shuffle, self._as_lists)
                pending.append(executor.submit(worker.load_task, *task))
                return

        try:
            executor = self._start()
            for _ in range(2 * self.workers):
                submit_next()
            while pending:
                loaded = pending.popleft().result()
                submit_next()
                yield loaded
        except BrokenProcessPool as error:
            self.close()
            raise LussError(
                f"a loading process died (of {self.workers}): most often the system killed it for lack of memory, else its own message stands "
                "above; lower data.workers or the batch size (data.workers=0 loads in the main process)"
            ) from error
        finally:
            for future in pending:
                future.cancel()

    def _start(self) -> concurrent.futures.ProcessPoolExecutor:
        if self._executor is not None:
            return self._executor
        # Spawned, not forked: the main process has threads and perhaps a GPU context, which no fork survives.
        context = multiprocessing.get_context("spawn")
        payload = pickle.dumps(self.dataset, protocol=pickle.HIGHEST_PROTOCOL)
        self._queue = context.Queue()
        for _ in range(self.workers):  # through a queue, whose own thread feeds it: as an argument it would block each start
            self._queue.put(payload)
        # A raw value has no lock, so that a process that dies can leave none taken.
        self._stop = RawValue("b", 0)
        self._executor = concurrent.futures.ProcessPoolExecutor(self.workers, context, worker.start, (self._queue, self._stop))
        with _environment(dict.fromkeys(_ONE_THREAD, "1")):  # read by the libraries when the process imports them
            for _ in range(self.workers):
                self._executor.submit(worker.ready)
        return self._executor


@contextlib.contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
