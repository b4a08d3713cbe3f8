"""SIGINT, SIGTERM and SIGUSR1 as a request to stop after the current step; a second SIGINT stops at once."""

from __future__ import annotations

import os
import signal

_requested = False


class Interrupted(Exception):
    """Work stopped on request after saving; the same command continues it (exit code 3)."""


def install() -> None:
    """Turn the three signals into requests, in the main process only."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, _request)


def _request(number, frame) -> None:
    global _requested
    if _requested and number == signal.SIGINT:
        raise KeyboardInterrupt
    _requested = True
    os.write(2, b"\nluss: stopping after this step (once more: at once)\n")


def stop_requested() -> bool:
    return _requested
