"""SIGINT, SIGTERM and SIGUSR1 as a request to stop after the current step; a second SIGINT stops at once."""

from __future__ import annotations

import contextlib
import os
import signal

_requested = False


class Interrupted(Exception):
    """Work stopped on request after saving; the same command continues it (exit code 3)."""


def install() -> None:
    """Turn the three signals into requests, in the main process only."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, _request)


def leave_to_parent(terminate: bool) -> None:
    """In a worker process: requests to stop that reach the whole group are the parent's to decide about.

    Args:
        terminate: SIGTERM still ends this process, since its parent uses it for that; then a group of its own keeps other senders' away.
    """
    for number in (signal.SIGINT, signal.SIGUSR1) if terminate else (signal.SIGINT, signal.SIGUSR1, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    if terminate:
        with contextlib.suppress(PermissionError):  # leader of a session already
            os.setpgid(0, 0)


def _request(number, frame) -> None:
    global _requested
    if _requested and number == signal.SIGINT:
        raise KeyboardInterrupt
    _requested = True
    os.write(2, b"\nluss: stopping after this step (once more: at once)\n")


def stop_requested() -> bool:
    return _requested
