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
from multiprocessing.util import Finalize

import numpy as np

from ..runtime import interrupt
from ..runtime.errors import LussError
from . import worker
from .shared_slots import SharedSlots, payload

_IN_FLIGHT = 100  # tasks that a process may have at once: their messages fit into the connection, so that sending never blocks
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
        self._unsent: deque[tuple[int, int, int, np.ndarray, bool]] = deque()  # number, slot, epoch, indices, replace
        self._tasks: dict[int, int] = {}  # number -> slot; sent, without an answer as yet
        self._abandoned: set[int] = set()
        self._load = [0] * workers
        self._selector = selectors.DefaultSelector()
        self._processes, self._connections = [], []
        # Before multiprocessing's own clean-up at exit, which would ask these processes to end and wait for them
        self._kill = Finalize(self, _kill, (self._processes,), exitpriority=10)
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
        """Hand in a task; needs a free slot. Returns the task's number."""
        self._numbers += 1
        self._unsent.append((self._numbers, self._free.popleft(), epoch, indices, replace))
        self._feed()
        return self._numbers

    def wait(self) -> Iterator[tuple[int, int, object]]:
        """Block until there are answers; yields (task, slot, answer) for `worker.received`.

        Raises: LussError where a process died; Interrupted where a stop was requested, which may be what ended it.
        """
        ready = self._selector.select()
        for number in [key.data for key, _ in ready if key.data is not None]:
            with contextlib.suppress(EOFError, OSError):  # it died; its sentinel says so
                while self._connections[number].poll():
                    task, answer = self._connections[number].recv()
                    slot = self._tasks.pop(task)
                    self._load[number] -= 1
                    self._feed()
                    if task in self._abandoned:
                        self._abandoned.discard(task)
                        self.release(slot)
                    else:
                        yield task, slot, answer
        if any(key.data is None for key, _ in ready):
            self._fail()

    def _feed(self) -> None:
        """Send tasks to the processes with the fewest."""
        while self._unsent:
            chosen = min(range(len(self._load)), key=self._load.__getitem__)
            if self._load[chosen] >= _IN_FLIGHT:
                return
            task = self._unsent.popleft()
            self._tasks[task[0]] = task[1]
            self._load[chosen] += 1
            try:
                self._connections[chosen].send(task)
            except OSError:
                self._fail()

    def release(self, slot: int) -> None:
        """The consumer is through with a slot."""
        self._free.append(slot)

    def abandon(self, tasks: set[int]) -> None:
        """Nobody wants the answers to these any more; their slots become free, now or as answers arrive."""
        kept = [task for task in self._unsent if task[0] not in tasks]
        for task in self._unsent:
            if task[0] in tasks:
                self.release(task[1])
        self._unsent = deque(kept)
        self._abandoned |= tasks & self._tasks.keys()

    def close(self) -> None:
        """End the processes, whatever they are at, and give the memory back."""
        self._kill()
        for process in self._processes:
            process.close()
        for connection in self._connections:
            connection.close()
        self._selector.close()
        self.slots.close()
        self._processes, self._connections = [], []

    def _fail(self) -> None:
        for process in self._processes:
            process.join(0.05)
        if interrupt.stop_requested():
            raise interrupt.Interrupted("stopped while a batch was awaited; the same command continues from the last checkpoint")
        ends = [_ending(process.exitcode) for process in self._processes if process.exitcode is not None]
        raise LussError(
            f"a loading process died (of {len(self._processes)}: {', '.join(ends) or 'its connection broke'}): most often the system killed it for "
            "lack of memory, else its own message stands above; lower data.workers or the batch size (data.workers=0 loads in the main process)"
        )


def _kill(processes: list) -> None:
    for process in processes:
        process.kill()
    for process in processes:
        process.join()


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
