"""SIGINT, SIGTERM and SIGUSR1 as a request to stop after the current step; a second SIGINT stops at once."""

from __future__ import annotations

import contextlib
import os
import signal

_requested = False
_owner = 0  # the process that asked for the handlers


class Interrupted(Exception):
    """Work stopped on request after saving; the same command continues it (exit code 3)."""


def install() -> None:
    """Turn the three signals into requests, of this process alone.

    Processes forked from it inherit the handler (Jittor's compiling ones, which say nothing to it): in them SIGTERM ends the process, as their
    parent expects of it, and the two others do nothing: requests are the parent's to decide about.
    """
    global _owner
    _owner = os.getpid()
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
    if os.getpid() != _owner:
        if number == signal.SIGTERM:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        return
    if _requested and number == signal.SIGINT:
        raise KeyboardInterrupt
    _requested = True
    os.write(2, b"\nluss: stopping after this step (once more: at once)\n")


def stop_requested() -> bool:
    return _requested
