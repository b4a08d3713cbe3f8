"""Kill a piece of code at its 1st, 2nd, ... system call, or let that call fail, until the code gets through; or leave its files no room."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
from collections.abc import Callable, Iterator

CALLS = ("open", "fsync", "replace", "rename", "link", "unlink", "rmdir", "mkdir")
_KILLED = 77


class Injected(OSError):
    """The failure put in; not one that the code could have met by itself."""


def kills(action: Callable[[], object], limit: int = 200) -> Iterator[int]:
    """Yield n after a forked child running `action` has died, without any clean-up, just before its n-th call of CALLS.

    The last n is the one at which the child got through. The caller looks at the files after each.
    """
    for n in range(1, limit):
        child = os.fork()
        if child == 0:
            try:
                _count_to(n, lambda: os._exit(_KILLED))
                action()
                os._exit(0)
            except BaseException as error:
                os.write(2, repr(error).encode())
                os._exit(1)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert code in (0, _KILLED), f"at call {n} the code failed with exit status {code}"
        yield n
        if code == 0:
            return
    raise AssertionError(f"not through after {limit} calls")


def failures(
    action: Callable[[], object], patch: Callable[[str, Callable], None], limit: int = 200, calls=("fsync", "replace", "link")
) -> Iterator[int]:
    """Yield n after `action` has raised because its n-th call of `calls` failed; the last n is the one where it got through.

    `patch(name, function)` puts a function into `os` and is undone by the caller's fixture.
    """
    for n in range(1, limit):

        def fail():
            raise Injected(errno.EIO, "injected")

        _count_to(n, fail, patch, calls)
        try:
            action()
        except Injected:
            yield n
            continue
        yield n
        return
    raise AssertionError(f"not through after {limit} calls")


@contextlib.contextmanager
def no_room_beyond(size: int) -> Iterator[None]:
    """No file of this process can grow beyond `size` bytes: the kernel refuses with EFBIG, part of a write may go in, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))  # Python ignores the signal that would come first
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


_REAL = {name: getattr(os, name) for name in CALLS}


def _count_to(n: int, then: Callable[[], None], patch=None, calls=CALLS) -> None:
    seen = [0]

    def counted(name):
        def call(*arguments, **keywords):
            seen[0] += 1
            if seen[0] == n:
                then()
            return _REAL[name](*arguments, **keywords)

        return call

    for name in calls:
        (patch or (lambda name, function: setattr(os, name, function)))(name, counted(name))
