"""Read packed images: shards mapped into memory, each record held to its checksum before anyone sees it."""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import simplejpeg
import xxhash

from ..runtime import interrupt
from ..runtime.errors import LussError
from ..storage.arrays import map_arrays
from ..storage.atomic import PathLike
from .manifest import Items, Names
from .pack_format import COLUMNS, HEADER, INDEX, RECORD, VERSION, PackSettings, shard_header, shard_path

_ADVICE = {"random": mmap.MADV_RANDOM, "sequential": mmap.MADV_SEQUENTIAL}
_REMEDY = "delete the pack and make it again with luss data pack"


class Record(NamedTuple):
    """One image as it is stored."""

    data: memoryview  # a JPEG file, or height * width * 3 bytes of pixels
    width: int
    height: int
    original: tuple[int, int]  # width and height of the file it was made from


class PackedImages:
    """The images of a pack; stands wherever an `ImageFolder` does. Read-only; a pickle holds the path alone.

    Attributes:
        root, split, classes, items: as those of the manifest it was made from, unreadable images left out.
        width, height, original_width, original_height: (n,) uint32.
        source: (n,) int64, the image's position in the manifest.
        manifest: fingerprint of that manifest.
        settings: how the images are stored.
    """

    def __init__(self, path: PathLike, access: str = "random", identity: str = ""):
        """Open the pack in the folder `path`; its index is verified, and every shard has to be there in full length.

        Args:
            access: "random" reads a record at a time, "sequential" lets the system read far ahead.
            identity: that of the index as another process found it; it is not verified again.

        Raises:
            LussError: no pack, not complete, or a shard is missing, cut off or another pack's.
        """
        if access not in _ADVICE:
            raise ValueError(f"access={access!r}: expected 'random' or 'sequential'")
        self.path = os.path.abspath(path)
        self._access = access
        index = os.path.join(self.path, INDEX)
        if not os.path.exists(index):
            half = os.path.exists(os.path.join(self.path, RECORD))
            found = (
                "a pack that is not complete: give the same luss data pack again" if half else "no pack in it; expected what luss data pack has made"
            )
            raise LussError(f"{self.path}: {found} (no {INDEX})")
        mapped = map_arrays(index, identity=identity, remedy=_REMEDY)
        arrays, meta = mapped.arrays, _checked(index, mapped.arrays, mapped.meta)
        self._index_identity = mapped.identity
        self._pack: str = meta["pack"]
        self.settings = PackSettings(**meta["settings"])
        self.manifest: str = meta["manifest"]
        self.root, self.split = meta["root"], meta["split"]
        self.classes = tuple(meta["classes"])
        self.width, self.height = arrays["width"], arrays["height"]
        self.original_width, self.original_height = arrays["original_width"], arrays["original_height"]
        self.source, self.untouched = arrays["source"], arrays["untouched"]
        self.class_index = arrays["class_index"]
        folder = self.root if meta["folder"] == os.curdir else os.path.join(self.root, meta["folder"])
        self.items = Items(folder, self.classes, self.class_index, Names(arrays["names"], arrays["name_ends"]))
        self._shard, self._offset, self._length, self._checksum = (arrays[name] for name in ("shard", "offset", "length", "checksum"))
        self._sizes: list[int] = meta["shards"]
        self._bad = meta["bad"]
        self._mapped: dict[int, mmap.mmap] = {}  # by shard, mapped when first asked for
        for number in range(len(self._sizes)):
            self._check_size(number, _size(shard_path(self.path, number)))

    def __len__(self) -> int:
        return len(self.items)

    def __reduce__(self):
        return PackedImages, (self.path, self._access, self._index_identity)

    def fingerprint(self) -> str:
        """32 hexadecimal digits over all contents: the index holds every record's checksum."""
        return self._index_identity

    def unreadable(self) -> list[tuple[str, str]]:
        """(key, reason) of the images that could not be packed."""
        return [(key, reason) for key, reason in self._bad]

    @property
    def bytes(self) -> int:
        """Of all shards."""
        return sum(self._sizes)

    def record(self, index: int) -> Record:
        """Record `index`, 0 <= index < n; its data is a view into the file, valid as long as this object.

        Raises:
            LussError: it does not hold its checksum, or its shard was cut off since.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"record {index} of {len(self)}")
        number, offset, length = int(self._shard[index]), int(self._offset[index]), int(self._length[index])
        mapped = self._mapped.get(number) or self._map(number)
        self._check_size(number, mapped.size())  # the file's size now: touching what was cut off would kill the process
        if self._access == "random":  # the record in one go, instead of page by page
            begin = offset - offset % mmap.PAGESIZE
            mapped.madvise(mmap.MADV_WILLNEED, begin, offset + length - begin)
        data = memoryview(mapped)[offset : offset + length]
        if xxhash.xxh3_64_intdigest(data) != self._checksum[index]:
            raise LussError(
                f"{shard_path(self.path, number)}: record {index} ({self.items.key(index)}, {length:,} bytes at {offset:,}) is damaged "
                f"(its checksum does not hold): {_REMEDY}"
            )
        original = int(self.original_width[index]), int(self.original_height[index])
        return Record(data, int(self.width[index]), int(self.height[index]), original)

    def image(self, index: int) -> np.ndarray:
        """The stored image as (height, width, 3) uint8, decoded; a read-only view where it is stored as pixels."""
        found = self.record(index)
        if self.settings.encoding == "raw":
            return np.frombuffer(found.data, np.uint8).reshape(found.height, found.width, 3)
        return simplejpeg.decode_jpeg(found.data)

    def verify(self, progress: Callable[[int], object] = lambda n: None) -> list[str]:
        """Read everything; one sentence for each shard or record that is damaged.

        Args:
            progress: called with the number of images done since the last call.

        Raises:
            Interrupted: on request.
        """
        problems = []
        for number in range(len(self._sizes)):
            records = np.flatnonzero(self._shard == number)
            end = HEADER
            for index in records.tolist():
                if interrupt.stop_requested():
                    raise interrupt.Interrupted(f"{self.path}: {index:,} of {len(self):,} images were verified")
                try:
                    self.record(index)
                except LussError as error:
                    if not problems or problems[-1] != str(error):  # a shard that cannot be mapped is named once
                        problems.append(str(error))
                if self._offset[index] != end:
                    problems.append(f"{shard_path(self.path, number)}: record {index} does not begin where the one before it ends")
                end = int(self._offset[index] + self._length[index])
                progress(1)
            if end != self._sizes[number]:
                problems.append(f"{shard_path(self.path, number)}: its records end at {end:,} of {self._sizes[number]:,} bytes")
        return problems

    def _map(self, number: int) -> mmap.mmap:
        path = shard_path(self.path, number)
        try:
            with open(path, "rb", buffering=0) as stream:
                self._check_size(number, os.fstat(stream.fileno()).st_size)
                mapped = mmap.mmap(stream.fileno(), self._sizes[number], access=mmap.ACCESS_READ)
        except OSError as error:
            raise LussError(f"{path}: cannot be read ({error.strerror}); expected a shard of the pack: {_REMEDY}") from error
        if mapped[:HEADER] != shard_header(self._pack, number):
            mapped.close()
            raise LussError(f"{path}: not shard {number} of this pack, or its header is damaged: {_REMEDY}")
        mapped.madvise(_ADVICE[self._access])
        self._mapped[number] = mapped
        return mapped

    def _check_size(self, number: int, size: int | None) -> None:
        if size == self._sizes[number]:
            return
        path = shard_path(self.path, number)
        if size is None:
            raise LussError(f"{path}: missing; the pack needs {len(self._sizes)} shards: {_REMEDY}")
        raise LussError(f"{path}: {size:,} bytes; expected {self._sizes[number]:,}: cut off or replaced: {_REMEDY}")


def _size(path: str) -> int | None:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return None


def _checked(path: str, arrays: dict, meta: dict) -> dict:
    """The meta record where the index is one that we know and its parts fit together."""
    if meta.get("format") != "luss-pack":
        raise LussError(f"{path}: not the index of a pack (it holds {meta.get('format') or 'other arrays'}); expected what luss data pack has made")
    if meta.get("version") != VERSION:
        raise LussError(f"{path}: a pack of version {meta.get('version')}; this program reads version {VERSION}: {_REMEDY}")
    wanted = {**COLUMNS, "shard": np.int32, "class_index": np.int32, "name_ends": np.int64}
    wrong = [name for name, dtype in wanted.items() if name not in arrays or arrays[name].dtype != dtype or arrays[name].ndim != 1]
    lengths = {len(arrays[name]) for name in wanted if name in arrays}
    if wrong or len(lengths) != 1 or "names" not in arrays:
        raise LussError(f"{path}: its arrays do not fit together ({', '.join(wrong) or f'lengths {sorted(lengths)}'}): {_REMEDY}")
    shard, sizes = arrays["shard"], np.array(meta["shards"])
    if len(shard) and not (shard.min() >= 0 and shard.max() < len(sizes)):
        raise LussError(f"{path}: it names a shard that does not exist: {_REMEDY}")
    if (arrays["offset"] < HEADER).any() or (arrays["length"] < 0).any() or (arrays["offset"] + arrays["length"] > sizes[shard]).any():
        raise LussError(f"{path}: a record in it lies outside its shard: {_REMEDY}")
    return meta
