"""The manifest of a split: every image's path, class, size, time and checksum in one file that all processes map into memory.

The file is one of `save_arrays`, with these arrays over n images, in the order of `list_images`:

    names         (bytes,) uint8     file names one after another, as the file system spells them
    name_ends     (n,)     int64     where each ends
    class_index   (n,)     int32     position in meta["classes"]; -1 without class folders
    width, height (n,)     uint32    pixels; 0 where unreadable
    bytes         (n,)     int64
    mtime_ns      (n,)     int64
    checksum      (n,)     uint64    xxh3-64 of the file
    reason        (n,)     uint32    position in meta["reasons"] of why it cannot be read; 0: it can
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence

import numpy as np

from ..runtime.errors import LussError
from ..storage.arrays import map_arrays, save_arrays
from ..storage.atomic import PathLike
from ..storage.fingerprint import canonical_json
from .folder import ImageItem

VERSION = 1
FACTS = {"bytes": np.int64, "mtime_ns": np.int64, "checksum": np.uint64, "width": np.uint32, "height": np.uint32, "reason": np.uint32}
_ARRAYS = {"names": np.uint8, "name_ends": np.int64, "class_index": np.int32, **FACTS}
_RUN = 4096
_REMEDY = "delete it and make it again with luss data index"


class Names(Sequence):
    """Texts of a file system in one buffer: a million cost no million objects. Odd bytes survive (surrogateescape)."""

    def __init__(self, values: np.ndarray, ends: np.ndarray):
        self._values, self._ends = values, ends

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, index: int) -> str:
        begin = self._ends[index - 1] if index else 0
        return os.fsdecode(self._values[begin : self._ends[index]].tobytes())

    def __iter__(self) -> Iterator[str]:
        begin = 0
        for first in range(0, len(self), _RUN):  # as Python numbers, run by run: three times as fast as one by one
            ends = self._ends[first : first + _RUN].tolist()
            offset, values = begin, self._values[begin : ends[-1]].tobytes()
            for end in ends:
                yield os.fsdecode(values[begin - offset : end - offset])
                begin = end

    @staticmethod
    def pack(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """(values, ends) of these texts."""
        encoded = [os.fsencode(text) for text in texts]
        ends = np.cumsum(np.fromiter(map(len, encoded), np.int64, len(encoded)), dtype=np.int64)
        return np.frombuffer(b"".join(encoded), np.uint8), ends


class Items(Sequence):
    """ImageItems made when they are asked for."""

    def __init__(self, folder: str, classes: Sequence[str], class_index: np.ndarray, names: Names):
        self._folder, self._classes, self._class_index, self._names = folder, classes, class_index, names

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return tuple(self._make(i) for i in range(*index.indices(len(self))))
        position = index + len(self) if index < 0 else index
        if not 0 <= position < len(self):
            raise IndexError(f"item {index} of {len(self)}")
        return self._make(position)

    def __iter__(self) -> Iterator[ImageItem]:
        folder = os.path.join(self._folder, "")
        for key, number in zip(self.keys(), _numbers(self._class_index)):
            yield ImageItem(folder + key, key, number)

    def keys(self) -> Iterator[str]:
        """The keys of all items in order."""
        for name, number in zip(self._names, _numbers(self._class_index)):
            yield name if number < 0 else f"{self._classes[number]}/{name}"

    def key(self, index: int) -> str:
        """`self[index].key` for an index in 0..n-1."""
        number = self._class_index[index]
        return self._names[index] if number < 0 else f"{self._classes[number]}/{self._names[index]}"

    def _make(self, index: int) -> ImageItem:
        key = self.key(index)
        return ImageItem(os.path.join(self._folder, key), key, int(self._class_index[index]))


def _numbers(values: np.ndarray) -> Iterator[int]:
    for first in range(0, len(values), _RUN):
        yield from values[first : first + _RUN].tolist()


class Manifest:
    """A manifest file in memory; stands wherever an `ImageFolder` does. Read-only; a pickle holds the path alone.

    Attributes:
        path: of the file.
        root, split: what was indexed.
        classes: names of the class folders.
        items: lazy sequence of ImageItem, unreadable ones included, as in `list_images`.
        width, height, bytes, mtime_ns, checksum: (n,) arrays, see the head of this file.
        readable: (n,) bool.
    """

    def __init__(self, path: PathLike, root: str = "", identity: str = ""):
        """See `load_manifest`; `identity` spares a second verification."""
        self.path = os.path.abspath(path)
        mapped = map_arrays(path, identity=identity, remedy=_REMEDY)
        arrays, meta = _checked(self.path, mapped.arrays, mapped.meta)
        self._identity = mapped.identity
        self.root = root or meta["root"]
        self.split: str = meta["split"]
        self.folder = os.path.join(self.root, meta["folder"]) if meta["folder"] else self.root
        self.classes = tuple(meta["classes"])
        self.width, self.height, self.bytes = arrays["width"], arrays["height"], arrays["bytes"]
        self.mtime_ns, self.checksum = arrays["mtime_ns"], arrays["checksum"]
        self.class_index, self.reason = arrays["class_index"], arrays["reason"]
        self.reasons = tuple(meta["reasons"])
        self.items = Items(self.folder, self.classes, self.class_index, Names(arrays["names"], arrays["name_ends"]))
        self._fingerprint: str = meta["fingerprint"]

    def __len__(self) -> int:
        return len(self.items)

    def __reduce__(self):
        return Manifest, (self.path, self.root, self._identity)

    @property
    def readable(self) -> np.ndarray:
        return self.reason == 0

    def unreadable(self) -> list[tuple[str, str]]:
        """(key, reason) of the images that cannot be read."""
        return [(self.items.key(i), self.reasons[self.reason[i]]) for i in np.flatnonzero(self.reason).tolist()]

    def fingerprint(self) -> str:
        """32 hexadecimal digits over keys, checksums and sizes: equal for equal contents, wherever and whenever they were indexed."""
        return self._fingerprint


def load_manifest(path: PathLike, root: str = "") -> Manifest:
    """Map a manifest and verify every byte of it. Whether the images are still the same is asked by `check_manifest`.

    Args:
        root: where the data set lies now, if no longer where it was indexed.

    Raises:
        LussError: the file is absent, damaged, no manifest, or of a later version.
    """
    return Manifest(path, root)


def save_manifest(
    path: PathLike, root: str, split: str, folder: str, classes: Sequence[str], items: Sequence[ImageItem], facts: dict, reasons: Sequence[str]
) -> None:
    """Write a manifest; `facts` are the arrays of FACTS, `folder` is where the images lie, relative to `root` ("" for itself)."""
    names, ends = Names.pack([item.key.rpartition("/")[2] for item in items])
    class_index = np.fromiter((item.class_index for item in items), np.int32, len(items))
    arrays = {"names": names, "name_ends": ends, "class_index": class_index, **facts}
    meta = {
        "format": "luss-manifest",
        "version": VERSION,
        "root": os.path.abspath(root),
        "split": split,
        "folder": folder,
        "classes": list(classes),
        "reasons": list(reasons),
        "fingerprint": _content_digest(classes, arrays),
    }
    save_arrays(path, arrays, meta)


def _content_digest(classes: Sequence[str], arrays: dict) -> str:
    digest = hashlib.blake2b(canonical_json(list(classes)).encode(), digest_size=16)
    for name in ("names", "name_ends", "class_index", "bytes", "checksum", "width", "height"):  # times may differ, the reader's words too
        digest.update(np.ascontiguousarray(arrays[name]))
    digest.update(arrays["reason"] == 0)
    return digest.hexdigest()


def _checked(path: str, arrays: dict, meta: dict) -> tuple[dict, dict]:
    """The content where it is that of a manifest we know; its checksums hold already, so only a foreign or later writer fails here."""
    if meta.get("format") != "luss-manifest":
        raise LussError(f"{path}: not a manifest (it holds {meta.get('format') or 'other arrays'}); expected a file that luss data index has made")
    if meta.get("version") != VERSION:
        raise LussError(f"{path}: a manifest of version {meta.get('version')}; this program reads version {VERSION}: {_REMEDY}")
    wrong = [name for name, dtype in _ARRAYS.items() if name not in arrays or arrays[name].dtype != dtype or arrays[name].ndim != 1]
    lengths = {len(arrays[name]) for name in _ARRAYS if name != "names" and name in arrays}
    if wrong or len(lengths) != 1:
        raise LussError(f"{path}: its arrays do not fit together ({', '.join(wrong) or f'lengths {sorted(lengths)}'}): {_REMEDY}")
    ends, index, reason = arrays["name_ends"], arrays["class_index"], arrays["reason"]
    if len(ends) and (ends[0] < 0 or ends[-1] != len(arrays["names"]) or (np.diff(ends) < 0).any()):
        raise LussError(f"{path}: its names do not fit their lengths: {_REMEDY}")
    if len(ends) and not (index.min() >= -1 and index.max() < len(meta["classes"]) and reason.max() < len(meta["reasons"])):
        raise LussError(f"{path}: a class or reason in it does not exist: {_REMEDY}")
    return arrays, meta
