"""The folder of one run: which stage is complete, current, half done, and one run at a time in it.

A stage's folder holds STARTED.json from its beginning (settings and fingerprints of its inputs) and DONE.json as its last file
(the same, and its outputs). A stale folder is renamed away as a whole before the stage begins anew, so that a kill at any
moment leaves no mix of two runs.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import shutil
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from engine.runtime.errors import LussError
from engine.storage.atomic import flush_file_system, flush_folder, process_lives, read_json, remove_stale_temporaries, write_json
from engine.storage.fingerprint import canonical_json

STAGES = {
    "pretrain": "1-pretrain",
    "attend": "2-attend",
    "features": "3-features",
    "cluster": "3-cluster",
    "threshold": "4-threshold",
    "label": "5-label",
    "finetune": "6-finetune",
    "predict": "7-predict",
    "evaluate": "8-evaluate",
}
PROTOCOL_STAGES = {  # of the protocols that `luss run` does not go through
    "distance": "distance-1-predict",
    "distance-evaluate": "distance-2-evaluate",
    "semi": "semi-1-finetune",
    "semi-predict": "semi-2-predict",
    "semi-evaluate": "semi-3-evaluate",
}
_FOLDERS = {**STAGES, **PROTOCOL_STAGES}
_DONE, _STARTED, _LOCK = "DONE.json", "STARTED.json", "run.lock"
_NO_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK)
_held: set[int] = set()  # descriptors of held locks, to be closed in forked children


def _release_in_child() -> None:
    """A loading process that outlives a killed run must not keep the run's lock."""
    for handle in _held:
        os.close(handle)
    _held.clear()


os.register_at_fork(after_in_child=_release_in_child)


@dataclass(frozen=True)
class Status:
    """`state` is "missing", "complete", "stale" or "partial"; `reason` says in words why, for the log."""

    state: str
    reason: str


class StageFolder:
    """One stage's folder, e.g. runs/demo/1-pretrain."""

    def __init__(self, path: Path):
        self.path = path

    def done(self) -> dict | None:
        """{"settings", "inputs", "outputs", "finished"} of a complete stage, else None."""
        return self._record(_DONE)

    def begun(self) -> dict | None:
        """{"settings", "inputs", "begun", "by"} of a stage that was begun, else None."""
        return self._record(_STARTED)

    def reopen(self) -> None:
        """Take the mark of completeness away: the stage is half done again, and its next run makes what is missing."""
        (self.path / _DONE).unlink(missing_ok=True)
        flush_folder(self.path)

    def status(self, settings: dict, inputs: dict) -> Status:
        """Compare what the folder was made from with what is wanted now.

        Args:
            settings: The settings that this stage's result depends on, nested or flat; anything with a JSON form.
            inputs: {what it is, in words ("checkpoint of 1-pretrain"): its fingerprint}.
        """
        done = self.done()
        if done is not None:
            difference = _difference(done, settings, inputs)
            if difference:
                return Status("stale", difference)
            return Status("complete", f"finished {done['finished']} with the same settings and inputs")
        started = self._record(_STARTED)
        if started is not None:
            difference = _difference(started, settings, inputs)
            if difference:
                return Status("stale", difference)
            return Status("partial", f"begun {started['begun']} with the same settings and inputs, not finished")
        if self._holds_files():
            return Status("stale", f"holds files, but neither {_DONE} nor {_STARTED}: it was not made by a run")
        return Status("missing", "not begun")

    def begin(self, settings: dict, inputs: dict, *, anew: bool = False) -> Status:
        """Make the folder ready for work; what a partial stage left stays, what a stale one left is removed.

        Args:
            settings, inputs: As for `status`.
            anew: Remove also a partial or complete result.

        Returns:
            The status found: "partial" means resume, "missing" and "stale" mean start from nothing.

        Raises:
            ValueError: the stage is complete and `anew` is False.
            LussError: the folder holds files that no run made; they are not removed.
        """
        self._remove_leftovers()
        found = self.status(settings, inputs)
        if found.state == "complete" and not anew:
            raise ValueError(f"{self.path} is complete: use its result, or begin with anew=True")
        made_by_run = any((self.path / name).exists() for name in (_DONE, _STARTED))
        if self._holds_files() and not made_by_run:
            raise LussError(f"{self.path}: {found.reason}; move these files elsewhere, then start again")
        if made_by_run and (anew or found.state == "stale"):
            self._clear()
        self.path.mkdir(parents=True, exist_ok=True)
        remove_stale_temporaries(self.path)
        if not (self.path / _STARTED).exists():
            write_json(self.path / _STARTED, {"settings": settings, "inputs": inputs, "begun": _now(), "by": _who()})
        return found

    def finish(self, settings: dict, inputs: dict, outputs: dict) -> dict:
        """Publish the stage: make all it wrote durable, then write DONE.json; returns its content.

        Args:
            settings, inputs: As given to `begin`.
            outputs: Fingerprints of the files and figures that later stages and the report use.

        Raises:
            ValueError: the stage was not begun with these settings and inputs.
        """
        started = self._record(_STARTED)
        difference = "it was not begun" if started is None else _difference(started, settings, inputs)
        if difference:
            raise ValueError(f"settings, inputs: {self.path} cannot finish with others than it began with: {difference}")
        record = {"settings": settings, "inputs": inputs, "outputs": outputs, "finished": _now()}
        flush_file_system(self.path)  # bulk outputs are not flushed one by one; the marker must not outlive them
        write_json(self.path / _DONE, record)
        return record

    def _record(self, name: str) -> dict | None:
        path = self.path / name
        if not path.exists():
            return None
        record = read_json(path)
        needed = {"settings", "inputs", "outputs" if name == _DONE else "begun"}
        if not isinstance(record, dict) or not needed <= record.keys():
            keys = ", ".join(sorted(needed))
            raise LussError(f"{path}: not a marker of a stage (expected {keys}): delete the folder {self.path}; the stage then runs again")
        return record

    def _holds_files(self) -> bool:
        """Whether anything but temporaries lies in the folder."""
        try:
            return any(not re.search(r"\.tmp-\d+$", entry.name) for entry in os.scandir(self.path))
        except FileNotFoundError:
            return False

    def _clear(self) -> None:
        """Rename first, so that a kill leaves either the whole old folder or none, then remove."""
        doomed = self.path.with_name(f"{self.path.name}.old-{os.getpid()}")
        os.rename(self.path, doomed)
        flush_folder(self.path.parent)
        shutil.rmtree(doomed)

    def _remove_leftovers(self) -> None:
        for leftover in self.path.parent.glob(f"{self.path.name}.old-*"):
            shutil.rmtree(leftover)


class Workspace:
    """The folder of one run. Making the object creates nothing."""

    def __init__(self, root: str | os.PathLike):
        self.path = Path(root)

    @property
    def settings_file(self) -> Path:
        return self.path / "settings.json"

    def stage(self, name: str) -> StageFolder:
        """The folder of a stage: one of STAGES or of PROTOCOL_STAGES."""
        if name not in _FOLDERS:
            raise ValueError(f"name={name!r}: no such stage; expected one of {', '.join(_FOLDERS)}")
        return StageFolder(self.path / _FOLDERS[name])

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the workspace for this process; made if absent. The system releases the lock of a process that is killed.

        Left-overs of interrupted removals are cleaned up on entry.

        Raises:
            LussError: another run holds it (its process and machine are named), or the folder cannot be written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.path / _LOCK, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise LussError(f"{self.path}: cannot be used as a workspace ({error.strerror}); name a folder that can be written") from error
        _held.add(handle)
        try:
            self._acquire(handle)
            for name in _FOLDERS:
                self.stage(name)._remove_leftovers()
            yield
            os.ftruncate(handle, 0)
        finally:
            _held.discard(handle)
            os.close(handle)

    def _acquire(self, handle: int) -> None:
        """Lock `handle` and write who we are into it."""
        holder = os.pread(handle, 1000, 0).decode(errors="replace").strip()
        advice = "wait for it or end it, or use another workspace"
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LussError(f"{self.path}: in use by {holder or 'another run that has just begun'}: {advice}") from None
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            found = re.match(r"process (\d+) on (\S+)", holder)
            if found and found.group(2) == socket.gethostname() and process_lives(int(found.group(1))) and int(found.group(1)) != os.getpid():
                raise LussError(f"{self.path}: in use by {holder}: {advice}") from error
            print(f"luss: the file system of {self.path} has no locks ({error.strerror}): see to it that one run at a time uses it", file=sys.stderr)
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{_who()} since {_now()}\n".encode(), 0)


def _who() -> str:
    return f"process {os.getpid()} on {socket.gethostname()}"


def _now() -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S")


def _difference(record: dict, settings: dict, inputs: dict) -> str:
    """The first setting, else the first input, in which `record` differs from what is wanted, in words; "" where none does."""
    old, new = _flatten(record["settings"]), _flatten(settings)
    for name in [*new, *(name for name in old if name not in new)]:
        if name not in old:
            return f"setting {name} = {new[name]} was not there before"
        if name not in new:
            return f"setting {name} was {old[name]}, is no longer there"
        if old[name] != new[name]:
            return f"{name} was {old[name]}, is now {new[name]}"
    old, new = _flatten(record["inputs"]), _flatten(inputs)
    for name in [*new, *(name for name in old if name not in new)]:
        if old.get(name) != new.get(name):
            return f"input {name} changed (was {old.get(name, 'not there')}, is now {new.get(name, 'not there')})"
    return ""


def _flatten(tree: dict, prefix: str = "") -> dict[str, str]:
    """{'a': {'b': 1}} -> {'a.b': '1'}; values as canonical JSON, so that tuples equal lists and NaN equals NaN."""
    flat: dict[str, str] = {}
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            flat.update(_flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = canonical_json(value)
    return flat
