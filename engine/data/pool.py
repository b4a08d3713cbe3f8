"""Loading processes and the memory they share with the main process: tasks out, slots in use, answers in."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import selectors
import signal
from collections import deque
from collections.abc import Iterator
from multiprocessing.reduction import DupFd

import numpy as np

from ..runtime.errors import LussError
from . import worker
from .shared_slots import SharedSlots, payload

_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class WorkerPool:
    """Processes that make parts of batches.

    A task occupies a slot from `submit` until `release`; there are no more tasks than slots, so memory is bounded and the processes wait
    when the consumer does. Nothing here blocks but `wait`.

    Args:
        dataset: picklable. workers: at least 1. slots, slot_bytes: the shared memory.
    """

    def __init__(self, dataset, workers: int, slots: int, slot_bytes: int):
        # Spawned, not forked: the main process has threads and perhaps a GPU context, which no fork survives.
        context = multiprocessing.get_context("spawn")
        self.slots = SharedSlots(slots, slot_bytes)
        self._free = deque(range(slots))
        self._numbers = 0
        self._tasks: dict[int, tuple[int, int]] = {}  # number -> (slot, worker); without an answer as yet
        self._abandoned: set[int] = set()
        self._load = [0] * workers
        self._selector = selectors.DefaultSelector()
        self._processes, self._connections = [], []
        handle = payload(pickle.dumps(dataset, protocol=pickle.HIGHEST_PROTOCOL))
        try:
            with _environment(dict.fromkeys(_ONE_THREAD, "1")):  # read by the libraries when the process imports them
                for number in range(workers):
                    ours, theirs = context.Pipe()
                    arguments = (theirs, _Handle(self.slots.handle), slots, self.slots.size, _Handle(handle))
                    process = context.Process(target=worker.run, args=arguments, daemon=True, name=f"luss-loader-{number}")
                    process.start()
                    theirs.close()
                    self._processes.append(process)
                    self._connections.append(ours)
                    self._selector.register(ours, selectors.EVENT_READ, number)
                    self._selector.register(process.sentinel, selectors.EVENT_READ, None)
        except BaseException:
            self.close()
            raise
        finally:
            os.close(handle)

    @property
    def free(self) -> int:
        """Slots that a task can have."""
        return len(self._free)

    def submit(self, epoch: int, indices: np.ndarray, replace: bool) -> int:
        """Give a task to the process with the fewest; needs a free slot. Returns the task's number."""
        slot = self._free.popleft()
        chosen = min(range(len(self._load)), key=self._load.__getitem__)
        self._numbers += 1
        self._tasks[self._numbers] = (slot, chosen)
        self._load[chosen] += 1
        try:
            self._connections[chosen].send((self._numbers, slot, epoch, indices, replace))
        except OSError:
            self._fail()
        return self._numbers

    def wait(self) -> Iterator[tuple[int, int, object]]:
        """Block until there are answers; yields (task, slot, answer) for `worker.received`.

        Raises: LussError where a process died.
        """
        ready = self._selector.select()
        for number in [key.data for key, _ in ready if key.data is not None]:
            with contextlib.suppress(EOFError, OSError):  # it died; its sentinel says so
                while self._connections[number].poll():
                    task, answer = self._connections[number].recv()
                    slot, _ = self._tasks.pop(task)
                    self._load[number] -= 1
                    if task in self._abandoned:
                        self._abandoned.discard(task)
                        self.release(slot)
                    else:
                        yield task, slot, answer
        if any(key.data is None for key, _ in ready):
            self._fail()

    def release(self, slot: int) -> None:
        """The consumer is through with a slot."""
        self._free.append(slot)

    def abandon(self) -> None:
        """Nobody wants the answers that are still to come; their slots become free as they arrive."""
        self._abandoned.update(self._tasks)

    def close(self) -> None:
        """End the processes, whatever they are at, and give the memory back."""
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.join(5)
            if process.exitcode is None:
                process.kill()
                process.join()
            process.close()
        for connection in self._connections:
            connection.close()
        self._selector.close()
        self.slots.close()
        self._processes, self._connections = [], []

    def _fail(self) -> None:
        for process in self._processes:
            process.join(0.05)
        ends = [_ending(process.exitcode) for process in self._processes if process.exitcode is not None]
        raise LussError(
            f"a loading process died (of {len(self._processes)}: {', '.join(ends) or 'its connection broke'}): most often the system killed it for "
            "lack of memory, else its own message stands above; lower data.workers or the batch size (data.workers=0 loads in the main process)"
        )


class _Handle:
    """A descriptor that a process inherits when this is among its arguments; there `detach()` gives it."""

    def __init__(self, handle: int):
        self._handle = handle

    def __reduce__(self):  # while the process is being started, DupFd hands the descriptor down
        return _same, (DupFd(self._handle),)


def _same(value):
    return value


def _ending(code: int) -> str:
    if code >= 0:
        return f"exit status {code}"
    with contextlib.suppress(ValueError):
        return f"killed by {signal.Signals(-code).name}"
    return f"killed by signal {-code}"


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
