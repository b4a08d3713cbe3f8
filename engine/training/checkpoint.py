"""The state of a training run in one file: arrays and a JSON record, written atomically, refused when damaged.

Names of the arrays: "model/<key>", "momentum/<key>", "queue"; `section` takes one kind out. The record holds what is not an
array: schedule position, random states, settings.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ..runtime.errors import LussError
from ..storage.arrays import load_arrays, save_arrays
from ..storage.atomic import PathLike, atomic_file, flush_folder

_FORMAT = "luss-checkpoint 1"
_NO_LINK = (errno.EXDEV, errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK)


def save_checkpoint(path: PathLike, *, arrays: Mapping[str, np.ndarray], state: dict) -> None:
    """Atomically replace the checkpoint at `path`; a kill at any moment leaves the old one or the new one.

    Args:
        arrays: {"model/<key>" | "momentum/<key>" | "queue": array}.
        state: Anything with a JSON form: steps done, random states, settings.

    Raises:
        ValueError: something cannot be stored.
        LussError: the disk is full or the folder not writable; the old checkpoint stays.
    """
    save_arrays(path, arrays, {"format": _FORMAT, "state": state})


def load_checkpoint(path: PathLike) -> tuple[dict[str, np.ndarray], dict] | None:
    """(arrays, state) of the checkpoint at `path`; None where there is none.

    Raises:
        LussError: the file is damaged or not a checkpoint; the message says what a run continues from without it.
    """
    if not os.path.exists(path):
        return None
    return read_checkpoint(path)


def read_checkpoint(path: PathLike, *, prefix: str = "") -> tuple[dict[str, np.ndarray], dict]:
    """(arrays whose names begin with `prefix`, state) of a checkpoint that must exist.

    Raises:
        LussError: it is absent, damaged, or a file of arrays of another kind.
    """
    remedy = "delete it; the run continues from the start of this stage, or from a kept copy that you put in its place"
    arrays, meta = load_arrays(path, prefix=prefix, remedy=remedy)
    if not isinstance(meta, dict) or meta.get("format") != _FORMAT:
        found = meta.get("format") if isinstance(meta, dict) else None
        raise LussError(f"{path}: not a checkpoint of this version (format {found!r}, expected {_FORMAT!r}): {remedy}")
    return arrays, meta["state"]


def section(arrays: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """The arrays below `prefix`, e.g. "model/", under their names without it."""
    return {name[len(prefix) :]: array for name, array in arrays.items() if name.startswith(prefix)}


def keep_copy(path: PathLike, target: PathLike) -> None:
    """Make `target` (a path in an existing folder) hold what `path` holds now, also after `path` is saved anew.

    A hard link where the file system has them, which costs nothing, since a save replaces the file and never writes into it;
    else a copy. Atomic: an older `target` is replaced at once.
    """
    target = Path(target)
    temporary = target.with_name(f"{target.name}.tmp-{os.getpid()}")
    temporary.unlink(missing_ok=True)
    try:
        os.link(path, temporary)
    except OSError as error:
        if error.errno not in _NO_LINK:
            raise
        with open(path, "rb") as source, atomic_file(target, size=os.path.getsize(path)) as sink:
            shutil.copyfileobj(source, sink, 1 << 20)
        return
    try:
        os.replace(temporary, target)  # does nothing, and leaves the temporary, where both are already the same file
    finally:
        temporary.unlink(missing_ok=True)
    flush_folder(target.parent)
