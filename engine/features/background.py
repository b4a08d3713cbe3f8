"""One thread that does jobs in order, so that their giver goes on computing."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable


class Background:
    """`submit(job)` returns at once unless `waiting` jobs wait; the first exception of a job is raised by a later call.

    After an exception the remaining jobs are not done.
    """

    def __init__(self, waiting: int):
        self._jobs: queue.Queue[Callable[[], None] | None] = queue.Queue(waiting)
        self._error: BaseException | None = None
        self._thread: threading.Thread | None = None

    def submit(self, job: Callable[[], None]) -> None:
        self.check()
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="luss feature writer", daemon=True)
            self._thread.start()
        self._jobs.put(job)

    def check(self) -> None:
        """Raise what a job raised."""
        if self._error is not None:
            raise self._error

    def wait(self) -> None:
        """Return when all jobs are done."""
        self._jobs.join()
        self.check()

    def stop(self) -> None:
        """End the thread after the jobs at hand; errors stay for `check`."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._jobs.put(None)
            thread.join()

    def _work(self) -> None:
        while True:
            job = self._jobs.get()
            try:
                if job is None:
                    return
                if self._error is None:
                    job()
            except BaseException as error:  # handed to the giver by check()
                self._error = error
            finally:
                del job
                self._jobs.task_done()
