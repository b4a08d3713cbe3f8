"""Masks of an ImageNet-S set to unpack: the published zip archive, or a folder with the same content.

An archive is a stranger's file: members are never unpacked by their own names. Each is read into memory, at most MEMBER_LIMIT bytes, and only
where the lists ask for it; a name that leaves the folder, a link or an encrypted member refuses the whole archive.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import zipfile
import zlib
from collections.abc import Iterable
from typing import Union

from engine.data.folder import MASK_FOLDER
from engine.runtime.errors import LussError
from engine.storage.atomic import describe_bytes
from luss.benchmark.layout import SPLITS

ARCHIVE_MD5 = {50: "a0fe9d82231f9bc4787ee76e304dfa51", 300: "dd8e42e156bac415a35c3c239de297bf", 919: "5f7f58ae1003d21da9409a8576bf7680"}
MEMBER_LIMIT = 16 << 20  # bytes of one mask; published ones have some kilobytes
MEAN_LIMIT = 1 << 20  # bytes of a mask on average over those asked for
_FOLDERS = frozenset(split + MASK_FOLDER for split in SPLITS)
_MD5_IN_NAME = re.compile(r"-([0-9a-f]{32})\.zip$", re.IGNORECASE)
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError, ValueError)


class MaskFolder:
    """A folder that holds <split>-segmentation/<class>/<stem>.png, directly or one level down."""

    def __init__(self, path: str):
        inner = [os.path.join(path, name) for name in sorted(os.listdir(path))]
        for candidate in (path, *inner):
            if any(os.path.isdir(os.path.join(candidate, name)) for name in _FOLDERS):
                self.path = candidate
                return
        raise LussError(f"{path}: found none of the folders {', '.join(sorted(_FOLDERS))} in it; expected the unpacked masks of ImageNet-S")

    def size(self, key: str) -> int | None:
        """Bytes of the mask "<split>-segmentation/<class>/<stem>.png"; None where it is not."""
        path = os.path.join(self.path, *key.split("/"))
        return os.path.getsize(path) if os.path.isfile(path) else None

    def read(self, key: str) -> bytes:
        """Content of a mask whose size is known."""
        path = os.path.join(self.path, *key.split("/"))
        with open(path, "rb") as stream:
            return _checked(stream.read(MEMBER_LIMIT + 1), path)

    def close(self) -> None:
        """For the sake of the archive's interface."""


class MaskArchive:
    """A zip archive that holds <split>-segmentation/<class>/<stem>.png, directly or below one folder; other members are passed over.

    Args:
        wanted: keys that will be read.

    Raises:
        LussError: no zip archive, damaged, or with members that no honest archive has.
    """

    def __init__(self, path: str, wanted: Iterable[str]):
        self.path = path
        self._members: dict[str, zipfile.ZipInfo] = {}
        try:
            self._archive = zipfile.ZipFile(path)
        except _DAMAGE as error:
            raise LussError(f"{path}: no readable zip archive ({error}); expected the masks of ImageNet-S: fetch it again") from error
        for member in self._archive.infolist():
            self._add(member)
        sizes = [size for size in map(self.size, wanted) if size is not None]
        if sum(sizes) > MEAN_LIMIT * len(sizes):
            raise LussError(f"{path}: its {len(sizes):,} masks would unpack to {describe_bytes(sum(sizes))}; that is no archive of label maps")

    def size(self, key: str) -> int | None:
        """Bytes of a mask; None where the archive has no such member."""
        member = self._members.get(key)
        return None if member is None else member.file_size

    def read(self, key: str) -> bytes:
        """Content of a mask whose size is known."""
        member = self._members[key]
        place = f"{self.path}, member {member.filename}"
        if member.file_size > MEMBER_LIMIT:
            raise LussError(f"{place}: {describe_bytes(member.file_size)}; expected a label map of at most {describe_bytes(MEMBER_LIMIT)}")
        try:
            with self._archive.open(member) as stream:
                return _checked(stream.read(MEMBER_LIMIT + 1), place)
        except _DAMAGE as error:
            raise LussError(f"{place}: damaged ({error}); fetch the archive again") from error

    def close(self) -> None:
        self._archive.close()

    def _add(self, member: zipfile.ZipInfo) -> None:
        name = member.filename
        place = f"{self.path}, member {name[:200]!r}"
        parts = name.split("/")
        if name.startswith("/") or "\\" in member.orig_filename or "\0" in member.orig_filename or ".." in parts or ":" in parts[0]:
            raise LussError(f"{place}: its name leads out of the folder; an archive with such members is not unpacked")
        if member.is_dir():
            return
        kind = stat.S_IFMT(member.external_attr >> 16)
        if kind not in (0, stat.S_IFREG):
            raise LussError(f"{place}: a link or special file; an archive with such members is not unpacked")
        start = next((number for number, part in enumerate(parts[:2]) if part in _FOLDERS), None)
        if start is None or len(parts) != start + 3 or not name.endswith(".png") or parts[0] == "__MACOSX" or parts[-1].startswith("."):
            return
        if member.flag_bits & 1:
            raise LussError(f"{place}: encrypted; expected the published masks, which are not")
        key = "/".join(parts[start:])
        if key in self._members:
            raise LussError(f"{place}: the archive holds {key} twice; expected every mask once")
        self._members[key] = member


MaskSource = Union[MaskFolder, MaskArchive]


def open_masks(path: str, wanted: Iterable[str], num_classes: int | None, check_md5: bool = True) -> MaskSource:
    """The masks at `path`, an archive or a folder.

    Args:
        num_classes: 50, 300 or 919, whose archive it must be; None for a set of one's own.
        check_md5: hold an archive to the MD5 in its name.

    Raises:
        LussError: absent, of another set, damaged, or dangerous.
    """
    if os.path.isdir(path):
        return MaskFolder(path)
    if not os.path.isfile(path):
        raise LussError(f"{path}: no such file or folder; expected the archive of masks (ImageNetS50-....zip), or the folder it was unpacked to")
    found = _MD5_IN_NAME.search(os.path.basename(path))
    if found and num_classes is not None:
        other = next((num for num, digest in ARCHIVE_MD5.items() if digest == found.group(1).lower() and num != num_classes), None)
        if other is not None:
            raise LussError(f"{path}: the masks of ImageNet-S-{other}, which have other ids; expected the archive of ImageNet-S-{num_classes}")
    expected = found.group(1).lower() if found else ARCHIVE_MD5.get(num_classes or 0)
    if check_md5 and expected is not None:
        digest = _md5(path)
        if digest != expected:
            whose = "that in its name" if found else f"that of the published archive of ImageNet-S-{num_classes}"
            raise LussError(f"{path}: found MD5 {digest}, expected {expected}, {whose}: fetch it again (--skip-md5 takes it all the same)")
    return MaskArchive(path, wanted)


def _checked(data: bytes, place: str) -> bytes:
    if len(data) > MEMBER_LIMIT:
        raise LussError(f"{place}: more than {describe_bytes(MEMBER_LIMIT)}; expected a label map of some kilobytes")
    if not data.startswith(_SIGNATURE):
        raise LussError(f"{place}: found {len(data)} bytes that are no PNG; expected a label map")
    return data


def _md5(path: str) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    with open(path, "rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()
