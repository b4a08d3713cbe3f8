"""Long tasks in worker processes: progress while they run, a prompt stop, and no worker that outlives its parent."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.sharedctypes import RawArray, RawValue

from ..runtime import interrupt
from ..runtime.errors import LussError

_POLL = 0.2  # seconds between looks for progress and for a request to stop

_function = _payload = _stop = _counts = None  # of a worker process


class Control:
    """What a running task may ask and tell."""

    def __init__(self, stopped: Callable[[], bool], report: Callable[[int], object]):
        self.stopped, self.report = stopped, report  # report(n): n more pieces are done


def run_tasks(
    function: Callable,
    payload: object,
    tasks: Sequence,
    workers: int,
    on_result: Callable[[object], object] = lambda result: None,
    on_progress: Callable[[int], object] = lambda n: None,
) -> None:
    """Call `function(payload, task, control)` for all tasks, and `on_result` here with each result, in the order they are done.

    Args:
        function: of a module, picklable; where control.stopped() it gives up and returns None.
        payload: picklable; travels to each worker once.
        workers: processes; 0 does the work in this one. Spawned: a script needs the usual `if __name__ == "__main__"`.
        on_progress: called here with the pieces reported since the last call.

    Raises:
        Interrupted: a stop was requested before all was done.
        LussError: what a task raised, or a worker that died. The other tasks are given up first.
    """
    if workers < 0:
        raise ValueError(f"workers={workers}: expected 0 or more")
    if workers == 0 or not tasks:
        for task in tasks:
            result = function(payload, task, Control(interrupt.stop_requested, on_progress))
            if result is None:
                raise interrupt.Interrupted()
            on_result(result)
        return
    context = multiprocessing.get_context("spawn")
    stop, counts = RawValue("b", 0), RawArray("q", len(tasks))  # raw: without a lock that a killed worker could leave taken
    arguments = (function, payload, stop, counts)
    pool = concurrent.futures.ProcessPoolExecutor(min(workers, len(tasks)), context, _start, arguments)
    try:
        waiting = {pool.submit(_run, slot, task) for slot, task in enumerate(tasks)}
        told = 0
        while waiting:
            done, waiting = concurrent.futures.wait(waiting, _POLL, concurrent.futures.FIRST_COMPLETED)
            reported = sum(counts)
            on_progress(reported - told)
            told = reported
            for future in done:
                on_result(future.result())
            if waiting and interrupt.stop_requested():
                raise interrupt.Interrupted()
    except BrokenProcessPool as error:
        if interrupt.stop_requested():  # whoever asked this process to stop may have ended the workers, too
            raise interrupt.Interrupted() from error
        raise LussError(
            f"a worker process died (of {workers}): most often the system killed it for lack of memory, else its own message stands above; "
            "use fewer workers and start again: what is complete is kept"
        ) from error
    finally:
        stop.value = 1
        pool.shutdown(wait=True, cancel_futures=True)


def die_with_parent() -> None:
    """End this process when its parent ends. A killed parent closes no pipe that we would notice: siblings hold its ends."""
    multiprocessing.parent_process().join()
    os._exit(1)


def _start(function: Callable, payload: object, stop, counts) -> None:
    global _function, _payload, _stop, _counts
    interrupt.leave_to_parent(terminate=True)
    threading.Thread(target=die_with_parent, daemon=True).start()
    _function, _payload, _stop, _counts = function, payload, stop, counts


def _run(slot: int, task: object) -> object:
    def report(n: int) -> None:
        _counts[slot] += n

    return _function(_payload, task, Control(lambda: bool(_stop.value), report))
