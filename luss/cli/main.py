"""Entry point of the `luss` command: parse, run, and turn errors into messages and exit codes.

Exit codes: 0 done; 1 a bug of ours (traceback); 2 something for the user to mend (one message, no traceback unless
--debug); 3 interrupted, and the same command goes on from there.
"""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

from engine.runtime.errors import LussError
from engine.runtime.interrupt import Interrupted
from engine.runtime.processes import world_size
from luss.cli.commands import HANDLERS
from luss.cli.parser import parse, print_help

DONE, BUG, USER_ERROR, INTERRUPTED = 0, 1, 2, 3
_USER_ERRNO = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)  # a full or read-only disk is no bug


def run() -> NoReturn:
    """The process `luss`: `main`, then the end.

    After an error one of several processes ends without MPI's clean-up, which would wait for the others, while they wait for this one in
    the next exchange: `mpirun` then ends them all.
    """
    code = main()
    if code in (BUG, USER_ERROR) and world_size() > 1:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def main(argv: Sequence[str] | None = None) -> int:
    """Run `luss` with these arguments (default: those of the process); returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words
    try:
        arguments, notes = parse(words)
        for note in notes:
            _say(f"note: {note}")
        if arguments.command is None:
            print_help()
            return USER_ERROR
        HANDLERS[arguments.command](arguments)
        sys.stdout.flush()
        return DONE
    except LussError as error:
        return _user_error(str(error), debug)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader went away: `luss preset show | head`
        return DONE
    except OSError as error:
        if error.errno in _USER_ERRNO:
            return _user_error(f"{error.filename or 'a file'}: {error.strerror}", debug)
        return _bug()
    except (KeyboardInterrupt, Interrupted) as error:
        if debug:
            traceback.print_exc()
        _say(f"interrupted{f': {error}' if str(error) else ''}; the same command goes on from the last checkpoint")
        return INTERRUPTED
    except Exception:
        return _bug()


def _user_error(message: str, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    _say(f"error: {message}")
    return USER_ERROR


def _bug() -> int:
    traceback.print_exc()
    _say("this is a bug, please report it with the lines above and the output of  luss doctor --json")
    return BUG


def _say(text: str) -> None:
    rank = os.environ.get("OMPI_COMM_WORLD_RANK", "0")
    print(f"luss: {'' if rank == '0' else f'[process {rank}] '}{text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    run()
