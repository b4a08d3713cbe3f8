"""One process at a time works in a folder; the system releases the lock of a process that is killed."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sys
from collections.abc import Iterator

from ..runtime.errors import LussError
from .atomic import PathLike


@contextlib.contextmanager
def locked_folder(path: PathLike, purpose: str) -> Iterator[None]:
    """Hold `path` for this process; made if absent. Inside the block it may be removed.

    Args:
        purpose: what is done there, for the error of the second process: "packs images".

    Raises:
        LussError: another process holds it, or it cannot be made.
    """
    handle = _open(path)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise LussError(f"{path}: another process {purpose} at this moment: wait until it has ended, or choose another place") from error
        except OSError as error:  # network file systems without locks
            print(f"luss: the file system of {path} has no locks ({error.strerror}): let one process at a time work there", file=sys.stderr)
        if not _is(path, handle):
            raise LussError(f"{path}: another process that {purpose} has just ended and taken the folder away: start again")
        yield
    finally:
        os.close(handle)


def _open(path: PathLike) -> int:
    try:
        os.makedirs(path, exist_ok=True)
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise LussError(f"{path}: cannot be used as a folder ({error.strerror}); expected a writable place") from error


def _is(path: PathLike, handle: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(handle))
    except FileNotFoundError:
        return False
