"""Batches from a data set, built ahead by loading processes, in an order that depends on (seed, epoch) alone."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterator

import numpy as np

from ..runtime.errors import LussError
from .decode import UnreadableImage
from .order import epoch_order
from .pool import WorkerPool
from .ragged import Ragged
from .worker import Bad, Part, load_part, received

_PART = 16  # images a task: few enough to spread a batch over the processes, enough to make a task's overhead small
_AHEAD = 2  # batches in the making beside the one in use
SLOT_BYTES = 32 << 20  # of shared memory a task; a task that needs more sends the rest through a pipe


class Loader(contextlib.AbstractContextManager):
    """Iterate over a data set in batches.

    With shuffle=True (training) an unreadable image is replaced by the next readable index, with shuffle=False
    (evaluation) it is left out; "index" tells which images a batch holds. Either way it is reported.

    Batches are the same for every number of loading processes. They are built up to two batches ahead, in a bounded amount of shared
    memory, also over the end of an epoch (`steps`); the processes wait while the consumer is behind.

    Args:
        dataset: picklable object with `__len__()` and `load(epoch, index) -> dict of arrays`, which may raise UnreadableImage; or with
            `load_many(epoch, indices, place)` (see `worker.load_part`). Keys named in `dataset.ragged` come as `Ragged`.
        batch_size: samples a batch of this process.
        seed: of the order.
        workers: loading processes; 0 loads in this process.
        shuffle: a fresh permutation for each epoch; else the data set's own order.
        drop_last: drop the last batch where it is incomplete.
        rank, world_size: this process among those that share the data set.
        borrow: Ragged arrays may stay in shared memory that is written again when the next batch is asked for; saves a copy.
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
        borrow: bool = False,
        on_bad: Callable[[str, str], None] | None = None,
        slot_bytes: int = SLOT_BYTES,
    ):
        if batch_size < 1 or workers < 0 or not 0 <= rank < world_size:
            raise ValueError(f"batch_size={batch_size}, workers={workers}, rank={rank}, world_size={world_size}: out of range")
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
        self._borrow = borrow
        self._on_bad = on_bad
        self._slot_bytes = slot_bytes
        self._part = max(1, min(_PART, -(-batch_size // max(1, workers))))
        self._pool: WorkerPool | None = None
        self._running = None  # the iteration that has begun last

    def epoch(self, epoch: int, start_step: int = 0) -> Iterator[dict]:
        """Batches of one epoch from step `start_step` on; earlier ones are not loaded. See `steps`."""
        if not 0 <= start_step <= self.steps_per_epoch:
            raise ValueError(f"start_step={start_step}: expected 0 to {self.steps_per_epoch}")
        return self.steps(epoch * self.steps_per_epoch + start_step, (epoch + 1) * self.steps_per_epoch)

    def steps(self, first: int, last: int) -> Iterator[dict]:
        """Batches of steps first..last - 1, counted through the epochs. Beginning a new iteration ends an earlier one.

        Each is a dict of the data set's arrays plus "index", (b,) int64: which images it holds. A batch of which no image
        can be read is left out.

        Raises (while iterating):
            LussError: a loading process died; too many unreadable images (from `on_bad`); 20 in a row.
        """
        return self._batches(first, last)

    def close(self) -> None:
        """End the loading processes. The loader can be used again afterwards."""
        self._begin(None)
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.close()

    def __exit__(self, *exception) -> None:
        self.close()

    def _begin(self, source) -> None:
        """End the iteration under way: it holds shared memory that the next one needs."""
        before, self._running = self._running, source
        if before is not None:
            before.close()

    def _batches(self, first: int, last: int) -> Iterator[dict]:
        source = self._ahead(first, last) if self.workers else self._inline(first, last)
        self._begin(source)
        with contextlib.closing(source):
            while True:
                if self._running is not source:
                    raise RuntimeError("this iteration of the loader was ended by a later one, or by close()")
                begin = time.perf_counter()
                parts = next(source, None)
                self.data_seconds += time.perf_counter() - begin
                if parts is None:
                    return
                for path, reason in [entry for _, bad in parts for entry in bad]:
                    if self._on_bad is None:
                        raise UnreadableImage(path, reason)
                    self._on_bad(path, reason)
                batch = _joined([part for part, _ in parts if part], self._borrow)
                if batch:
                    yield batch

    def _tasks(self, first: int, last: int) -> Iterator[tuple[int, list[np.ndarray]]]:
        """(epoch, indices of each task) of every step."""
        known, order = -1, None
        for number in range(first, last):
            epoch, step = divmod(number, self.steps_per_epoch)
            if epoch != known:
                known, order = epoch, epoch_order(len(self.dataset), self.seed, epoch, self.shuffle, self.rank, self.world_size)
            indices = order[step * self.batch_size : (step + 1) * self.batch_size]
            yield epoch, [indices[begin : begin + self._part] for begin in range(0, len(indices), self._part)]

    def _inline(self, first: int, last: int) -> Iterator[list[tuple[Part, Bad]]]:
        for epoch, tasks in self._tasks(first, last):
            parts = []
            for indices in tasks:
                part, bad = load_part(self.dataset, epoch, indices, self.shuffle, lambda count: np.empty(count, np.uint8))
                parts.append(({key: Ragged.of(value) if isinstance(value, list) else value for key, value in part.items()}, bad))
            yield parts

    def _ahead(self, first: int, last: int) -> Iterator[list[tuple[Part, Bad]]]:
        """Keep every free slot in use; yield the parts of each step in order, and release their slots when the next is asked for."""
        pool = self._start()
        steps = self._tasks(first, last)
        unsent: deque[tuple[list[int], int, np.ndarray]] = deque()  # (where to note the task's number, epoch, indices)
        waiting: deque[tuple[list[int], int]] = deque()  # of each step begun: numbers of its tasks, how many it has
        answers: dict[int, tuple[int, object]] = {}
        begun = first

        def submit() -> None:
            nonlocal begun
            while pool.free and (unsent or begun < last):
                if not unsent:
                    epoch, tasks = next(steps)
                    begun += 1
                    numbers: list[int] = []
                    waiting.append((numbers, len(tasks)))
                    unsent.extend((numbers, epoch, indices) for indices in tasks)
                numbers, epoch, indices = unsent.popleft()
                numbers.append(pool.submit(epoch, indices, self.shuffle))

        def whole() -> bool:
            numbers, count = waiting[0]
            return len(numbers) == count and all(number in answers for number in numbers)

        try:
            while True:
                submit()
                if not waiting and begun == last:
                    return
                while not waiting or not whole():  # none waits where an earlier iteration's tasks still hold all slots
                    for number, slot, answer in pool.wait():
                        answers[number] = (slot, answer)
                    submit()
                made = [answers.pop(number) for number in waiting.popleft()[0]]
                try:
                    yield [received(pool.slots, slot, answer) for slot, answer in made]
                finally:
                    for slot, _ in made:
                        pool.release(slot)
        except LussError:
            self._drop(pool)
            raise
        finally:
            if pool is self._pool:
                pool.abandon({number for numbers, _ in waiting for number in numbers} - answers.keys())
                for slot, _ in answers.values():
                    pool.release(slot)

    def _drop(self, pool: WorkerPool) -> None:
        """After an error: the next iteration starts with new processes."""
        if pool is self._pool:
            self._pool = None
            pool.close()

    def _start(self) -> WorkerPool:
        if self._pool is None:
            parts = -(-self.batch_size // self._part)
            slots = max((_AHEAD + 1) * parts, parts + 2 * self.workers) + 1
            self._pool = WorkerPool(self.dataset, self.workers, slots, self._slot_bytes)
        return self._pool


def _joined(parts: list[Part], borrow: bool) -> dict:
    """One batch of its parts."""
    if not parts:
        return {}
    return {key: _join([part[key] for part in parts], borrow) for key in parts[0]}


def _join(values: list, borrow: bool):
    first = values[0]
    if not isinstance(first, Ragged):
        return np.concatenate(values) if len(values) > 1 else first
    if borrow and all(value.buffer is first.buffer for value in values):
        return Ragged(first.buffer, np.concatenate([value.table for value in values]), first.dtype, first.channels)
    return Ragged.of([array for value in values for array in value])
