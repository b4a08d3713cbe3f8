"""Write a file so that a reader finds the old content or the new one, never a mix, whenever the writer is killed.

The content goes to `<name>.tmp-<pid>` beside the file, is flushed to the disk and renamed over it; then the folder is flushed
too, since without that a power cut can undo the rename.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Union

from ..runtime.errors import LussError

PathLike = Union[str, "os.PathLike[str]"]
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_UNWRITABLE = (errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.EROFS, errno.EISDIR, errno.ENAMETOOLONG)
_DEPTH = 500  # of nested JSON
_JSON_TEXT = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_TEMPORARY = re.compile(r"\.tmp-(\d+)$")


@contextlib.contextmanager
def atomic_file(path: PathLike, mode: str = "wb", *, size: int | None = None, durable: bool = True) -> Iterator[IO]:
    """Open a temporary file beside `path`; it takes the place of `path` when the block ends without an exception.

    Args:
        path: Its folder must exist.
        mode: "wb", "w+b", or "w" (UTF-8).
        size: Bytes that will be written, where known; named in the error of a full disk.
        durable: False leaves the flushing to the disk to a later `flush_file_system`, for bulk outputs of many small files;
            after a power cut such a file may be empty, so a marker must not appear before that call.

    Raises:
        LussError: the disk or quota is full, or the folder is absent or not writable. The old file stays, the temporary goes.
    """
    if mode not in ("wb", "w+b", "w"):
        raise ValueError(f"mode={mode!r}: expected 'wb', 'w+b' or 'w'")
    target = Path(path)
    temporary = target.with_name(f"{target.name}.tmp-{os.getpid()}")
    try:
        stream = open(temporary, mode, encoding="utf-8" if mode == "w" else None)
    except OSError as error:
        if error.errno in _FULL:
            raise _full(target, temporary, size) from error
        if error.errno in _UNWRITABLE:
            raise LussError(f"{target}: cannot be written ({error.strerror}); expected an existing, writable folder {target.parent}") from error
        raise
    try:
        yield stream
        stream.flush()
        if durable:
            os.fsync(stream.fileno())
        stream.close()
        os.replace(temporary, target)
    except BaseException as error:
        failure = _full(target, temporary, size) if isinstance(error, OSError) and error.errno in _FULL else None
        with contextlib.suppress(OSError):  # closing flushes again, and fails again on a full disk; the file goes anyway
            stream.close()
        temporary.unlink(missing_ok=True)
        if failure is not None:
            raise failure from error
        raise
    if durable:
        flush_folder(target.parent)


def write_bytes(path: PathLike, data: bytes | bytearray | memoryview, *, durable: bool = True) -> None:
    """Atomically make `data` the content of `path` (see `atomic_file`)."""
    with atomic_file(path, size=len(data), durable=durable) as stream:
        stream.write(data)


def write_json(path: PathLike, obj: object) -> None:
    """Atomically write `obj` as indented JSON; NumPy numbers, arrays and paths become plain ones.

    Raises:
        ValueError: something in `obj` has no JSON form.
    """
    try:
        text = json.dumps(obj, indent=1, ensure_ascii=False, default=plain)
    except (TypeError, RecursionError) as error:
        raise ValueError(f"obj for {path} is not JSON: {error}") from error
    write_bytes(path, (text + "\n").encode("utf-8", "surrogatepass"))


def read_json(path: PathLike) -> object:
    """Parsed content of a JSON file.

    Raises:
        LussError: the file is absent, unreadable or not JSON; the message names it.
    """
    try:
        return parse_json(Path(path).read_bytes())
    except OSError as error:
        raise LussError(f"{path}: cannot be read ({error.strerror}); expected a JSON file") from error
    except ValueError as error:
        raise LussError(f"{path}: not valid JSON ({error}); the file is damaged: delete it, and what wrote it will make it again") from error


def parse_json(text: bytes | bytearray) -> object:
    """Parse JSON that may come from an enemy; raises ValueError.

    Python's parser recurses, and Jittor raises the recursion limit to a million, at which it would overrun the stack; so the
    depth is measured first.
    """
    if text.count(b"[") + text.count(b"{") > _DEPTH:
        import numpy as np  # here, because `luss --help` need not wait for it

        symbols = np.frombuffer(_JSON_TEXT.sub(b"", text), np.uint8)
        steps = np.isin(symbols, list(b"[{")).astype(np.int64) - np.isin(symbols, list(b"]}"))
        if np.cumsum(steps).max(initial=0) > _DEPTH:
            raise ValueError(f"nested more than {_DEPTH} deep")
    return json.loads(bytes(text).decode("utf-8", "surrogatepass"))


def plain(value: object) -> object:
    """The JSON form of a NumPy scalar or array (`tolist`) or of a path (text); for `json.dumps(default=...)`."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def remove_stale_temporaries(folder: PathLike) -> list[Path]:
    """Remove, at any depth, the temporaries left by killed processes of this machine; return their paths.

    Those of living processes stay. Call it from one process, while holding the workspace's lock, before others write.
    """
    removed = []
    for place, _, names in os.walk(folder):
        for name in names:
            found = _TEMPORARY.search(name)
            if found and not process_lives(int(found.group(1))):
                path = Path(place) / name
                path.unlink(missing_ok=True)
                removed.append(path)
    return removed


def process_lives(pid: int) -> bool:
    """Whether a process of this machine has this id."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # it lives and belongs to someone else
        return True
    return True


def flush_folder(folder: PathLike) -> None:
    """Make renames and removals in `folder` outlast a power cut."""
    handle = os.open(folder, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS):  # some network file systems cannot, and need not
            raise
    finally:
        os.close(handle)


def flush_file_system(folder: PathLike) -> None:
    """Make everything written so far to the file system of `folder` outlast a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        syncfs = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
        if syncfs is None:
            os.sync()
        elif syncfs(handle) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), os.fspath(folder))
    finally:
        os.close(handle)


def describe_bytes(count: int) -> str:
    """1536 -> '1.5 kB' (powers of 1024)."""
    amount = float(count)
    for unit in ("bytes", "kB", "MB", "GB"):
        if amount < 1024:
            return f"{count} bytes" if unit == "bytes" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TB"


def _full(target: Path, temporary: Path, size: int | None) -> LussError:
    """The error for a full disk; `temporary` still exists, so that its bytes are not counted as free."""
    try:
        free = describe_bytes(shutil.disk_usage(target.parent).free)
    except OSError:
        free = "an unknown amount"
    if size is not None:
        needed = describe_bytes(size)
    else:
        needed = f"more than {describe_bytes(temporary.stat().st_size)}" if temporary.exists() else "an unknown amount"
    return LussError(
        f"{target}: no room to write it: needed {needed}, free {free} (or a quota or file-size limit is reached); "
        "make room and start again; what was there before is untouched"
    )
