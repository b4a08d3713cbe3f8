"""Where label maps come from: a folder or a zip; PNG files, or NumPy arrays of ids.

What is read as the id of a pixel:
  8-bit RGB, RGBA   R + 256 G; blue and alpha are passed over, as the published evaluators do
  palette           the index into the palette; refused where the colours in use are the RGB code of other ids
  8-bit grey        the grey value
  16-bit grey       the grey value
  .npy              the value; any integer type, (H, W)
"""

from __future__ import annotations

import functools
import io
import os
import zipfile
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from engine.runtime.errors import LussError
from luss.benchmark.label_map import MAX_ID, decode_ids

MAX_BYTES = 1 << 30  # of one file in a zip when unpacked; a 16k x 16k label map has less
_ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, OSError, ValueError, RuntimeError, NotImplementedError, EOFError, KeyError)


@dataclass(frozen=True)
class MapFile:
    """One file: a path, or a member of a zip; small and picklable, so that workers read it."""

    path: str
    member: str = ""

    def __str__(self) -> str:
        return f"{self.path}::{self.member}" if self.member else self.path

    def read_bytes(self) -> bytes:
        """Raises LussError that names the file."""
        try:
            if not self.member:
                with open(self.path, "rb") as stream:
                    return stream.read()
            archive = _archive(self.path, os.getpid())
            size = archive.getinfo(self.member).file_size
            if size > MAX_BYTES:
                raise LussError(f"{self}: would unpack to {size} bytes; expected a label map of at most {MAX_BYTES}: is this a submission?")
            return archive.read(self.member)
        except FileNotFoundError as error:
            raise LussError(f"{self}: no such file; expected a prediction for each mask, with its folder and name") from error
        except _ZIP_ERRORS as error:
            raise LussError(f"{self}: cannot be read ({getattr(error, 'strerror', None) or error}); expected a readable label map") from error


def read_ids(file: MapFile) -> np.ndarray:
    """Ids of a label map, (H, W) uint16.

    Raises:
        LussError: absent, damaged, or of a kind that holds no ids; names the file and what was found.
    """
    if not str(file).endswith(".npy"):
        return decode_ids(file.read_bytes(), str(file))
    ids = _load_npy(file, "integer ids, (H, W)")
    if ids.ndim != 2 or ids.size == 0 or ids.dtype.kind not in "iu":
        raise LussError(f"{file}: found {ids.dtype} of shape {ids.shape}; expected integer ids, (H, W): write it again")
    low, high = int(ids.min()), int(ids.max())
    if low < 0 or high > MAX_ID:
        raise LussError(f"{file}: found ids {low}..{high}; expected 0..{MAX_ID}: write it again")
    return ids.astype(np.uint16)


def read_attention(file: MapFile) -> np.ndarray:
    """Attention map, (H, W) float32, finite.

    Raises:
        LussError: absent, damaged, or something else; names the file.
    """
    attention = _load_npy(file, "float32 (H, W)")
    if attention.dtype != np.float32 or not np.isfinite(attention).all():
        raise LussError(f"{file}: found {attention.dtype}, or values that are not finite; expected finite float32 (H, W): make it again")
    return attention


class MapFolder:
    """The files of a folder of predictions, or of a zip of one.

    They lie as <class>/<stem>.png or, where the masks' split has a folder of its own, as <split>/<class>/<stem>.png; in a zip also one folder deeper.
    A prediction without PNG may be <stem>.npy.

    Raises:
        LussError: neither a folder nor a zip that can be read.
    """

    def __init__(self, root: str, split: str):
        self.root = root
        self._members: frozenset[str] | None = None
        self._prefix = ""
        if os.path.isdir(root):
            if os.path.isdir(os.path.join(root, split)):
                self._prefix = split
            return
        if not os.path.isfile(root):
            raise LussError(f"{root}: no such folder or file; expected a folder of predictions <class>/<stem>.png, or a zip of one")
        try:
            names = [info.filename for info in _archive(root, os.getpid()).infolist() if not info.is_dir()]
        except _ZIP_ERRORS as error:
            raise LussError(f"{root}: no folder and no readable zip ({error}); expected predictions as <class>/<stem>.png") from error
        twice = [name for name, count in Counter(names).items() if count > 1]
        if twice:
            raise LussError(f"{root}: the zip holds {twice[0]} twice (and {len(twice) - 1} others); expected each file once: build it again")
        self._members = frozenset(names)
        self._prefix = _common_prefix([name for name in names if name.endswith((".png", ".npy"))], split)

    def find(self, keys: Sequence[str], what: str = "prediction") -> list[MapFile | None]:
        """For each key "<class>/<stem>.png" its file, or <stem>.npy beside where that should be; None where neither is there."""
        return [self._existing(key) or (self._existing(key[: -len(".png")] + ".npy") if what == "prediction" else None) for key in keys]

    def require(self, keys: Sequence[str], what: str) -> list[MapFile]:
        """Like `find`; LussError that counts and names the first missing ones."""
        files = self.find(keys, what)
        missing = [str(self.file(key)) for key, file in zip(keys, files) if file is None]
        if missing:
            more = f", and {len(missing) - 3} more" if len(missing) > 3 else ""
            raise LussError(
                f"{self.root}: {len(missing)} of {len(keys)} {what} files are missing: {', '.join(missing[:3])}{more}; "
                f"expected one for each mask, with its folder and name: run the stage that writes them to its end"
            )
        return files

    def extra(self, keys: Sequence[str]) -> list[str]:
        """Sorted keys of PNG files that belong to no mask: not scored, but worth a warning."""
        return sorted(set(self._pngs()) - set(keys))

    def _pngs(self) -> list[str]:
        if self._members is not None:
            start = self._prefix + "/" if self._prefix else ""
            return [name[len(start) :] for name in self._members if name.startswith(start) and name.endswith(".png")]
        base = os.path.join(self.root, self._prefix)
        found = []
        with os.scandir(base) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir():
                    found.extend(f"{entry.name}/{name}" for name in os.listdir(entry.path) if name.endswith(".png") and not name.startswith("."))
                elif entry.name.endswith(".png"):
                    found.append(entry.name)
        return found

    def _existing(self, key: str) -> MapFile | None:
        file = self.file(key)
        there = file.member in self._members if self._members is not None else os.path.isfile(file.path)
        return file if there else None

    def file(self, key: str) -> MapFile:
        """Where the file of a key should be."""
        if self._members is not None:
            return MapFile(self.root, f"{self._prefix}/{key}" if self._prefix else key)
        return MapFile(os.path.join(self.root, self._prefix, *key.split("/")))


@functools.lru_cache(maxsize=2)
def _archive(path: str, process: int) -> zipfile.ZipFile:
    """An open zip, once for each process: its directory of thousands of names is read only once, and no two processes share a file position."""
    return zipfile.ZipFile(path)


def _load_npy(file: MapFile, expected: str) -> np.ndarray:
    try:
        array = np.load(io.BytesIO(file.read_bytes()) if file.member else file.path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise LussError(f"{file}: damaged or no NumPy file ({error}); expected {expected}: make it again") from error
    if not isinstance(array, np.ndarray):
        raise LussError(f"{file}: found several arrays in one file; expected {expected}: make it again")
    return array


def _common_prefix(names: list[str], split: str) -> str:
    """The folder of a zip that holds the predictions: the root, or the only folder above <class>/<stem>.png, or the split's."""
    folders = {name.rpartition("/")[0] for name in names}
    above = {folder.rpartition("/")[0] for folder in folders}
    if len(above) > 1:
        inside = {folder for folder in above if folder.rpartition("/")[2] == split}
        return inside.pop() if len(inside) == 1 else ""
    return above.pop() if above else ""
