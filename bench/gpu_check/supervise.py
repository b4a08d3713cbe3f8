"""The steps run in a process of their own: a kernel that faults leaves its process without a usable GPU, one that hangs never ends it.

Either way the step is recorded as failed, and a new process goes on with the next one.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from .steps import FAILED, Record, Step

GPU_LOST = 77  # exit code of a process whose GPU context is of no more use
MOST_STARTS = 12


def supervised(command: Callable[[float], list[str]], folder: Path, budget: float, step_limit: float, pause: float = 0.2) -> int:
    """Run `command(seconds left)` until it is through.

    Args:
        step_limit: seconds after which a step counts as hanging; building the library, which is known to take long, may take all the time.

    Returns: the exit code of the last process; 1 where any step failed.
    """
    begin, code = time.monotonic(), 1
    for _ in range(MOST_STARTS):
        left = budget - (time.monotonic() - begin)
        process = subprocess.Popen(command(left))
        hung = _watch(process, folder, step_limit, max(left, 0) + step_limit, pause)
        code = process.returncode
        if hung or code not in (0, 1, 2):
            ended = f"killed: it did not end within {step_limit:.0f} s" if hung else f"the process ended with {code}"
            _blame(folder, budget, ended, lost=code == GPU_LOST)
            continue
        break
    return 1 if code == 0 and Record(folder, budget).failed else code


def _watch(process: subprocess.Popen, folder: Path, step_limit: float, whole_limit: float, pause: float) -> bool:
    """Wait for the process; True where it had to be killed."""
    begin = time.monotonic()
    while process.poll() is None:
        time.sleep(pause)
        step = _current(folder)
        slow = step is not None and step["group"] != "machine" and time.time() - step["since"] > step_limit
        if slow or time.monotonic() - begin > whole_limit:
            process.kill()
            process.wait()
            return True
    return False


def _current(folder: Path) -> dict | None:
    try:
        return json.loads((folder / "current.json").read_text())
    except (FileNotFoundError, json.JSONDecodeError):  # between two steps, or just being written
        return None


def _blame(folder: Path, budget: float, ended: str, lost: bool) -> None:
    """Record the step under way as failed. With the GPU lost it is recorded already."""
    step = _current(folder)
    if step is not None:
        Record(folder, budget).add(Step(step["group"], step["name"], FAILED, time.time() - step["since"], {}, ended))
    elif not lost:
        Record(folder, budget).add(Step("machine", f"process at {time.time():.0f}", FAILED, 0.0, {}, f"{ended}, between two steps"))
