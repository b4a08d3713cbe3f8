"""Open a stranger's zip without trusting it: nothing is extracted, and every size is bounded before anything is read."""

from __future__ import annotations

import io
import posixpath
import stat
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from engine.runtime.errors import LussError
from engine.storage.atomic import describe_bytes
from luss.benchmark.submission_texts import MATCH_FILE, MAX_TEXT, METHOD_FILE

MAX_DIRECTORY = 12 << 20  # bytes of the list of entries; that of 27,423 maps has about 3 MB
MAX_ENTRY = 32 << 20  # bytes of one unpacked map; the largest image as plain RGB has 12 MB
MAX_TOTAL = 8 << 30  # bytes of all unpacked entries together
MAX_RATIO = 200  # of unpacked to packed size, for entries above RATIO_FROM; a PNG is packed already
RATIO_FROM = 1 << 18
_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, NotImplementedError, RuntimeError, OverflowError, IndexError, struct.error)
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


@dataclass(frozen=True)
class Problem:
    """One finding about a submission; a warning does not make it invalid.

    `kind` is a short fixed word (names, count, duplicate, size, ids, mode, ...), `entry` the name in the archive, "" for the archive itself.
    """

    kind: str
    entry: str
    text: str
    warning: bool = False

    @property
    def line(self) -> str:
        return f"{'warning: ' if self.warning else ''}{shown(self.entry) + ': ' if self.entry else ''}{self.text}"


class _Bounded(io.FileIO):
    """A file that refuses to be read in pieces larger than `limit` bytes: zipfile reads the list of entries at once, as large as it claims to be."""

    limit = MAX_DIRECTORY

    def read(self, size: int = -1) -> bytes:
        if size is not None and size > self.limit:
            raise zipfile.BadZipFile(f"its list of entries has {describe_bytes(size)}, the limit is {describe_bytes(self.limit)}")
        return super().read(size)


class Archive(zipfile.ZipFile):
    """The zip at `path`, its list of entries read and nothing else; closes its file with it.

    Raises:
        LussError: absent, no zip, cut short, or a list of entries that is damaged or too large.
    """

    def __init__(self, path: str):
        try:
            self._stream = _Bounded(path)
        except OSError as error:
            raise LussError(f"{path}: cannot be read ({error.strerror}); expected a zip") from error
        try:
            super().__init__(self._stream)
        except _DAMAGE as error:
            self._stream.close()
            raise LussError(f"{path}: not a complete zip ({_reason(error)}); make or fetch the file again") from error
        self._stream.limit = MAX_ENTRY + 1

    def close(self) -> None:
        super().close()
        if hasattr(self, "_stream"):
            self._stream.close()


def archive_problems(entries: Sequence[zipfile.ZipInfo], file_size: int) -> list[Problem]:
    """What is wrong with the entries together: sizes that no disk could take, one stretch of bytes used by several, names that occur twice."""
    problems = []
    total = sum(entry.file_size for entry in entries)
    if total > MAX_TOTAL:
        problems.append(Problem("bomb", "", f"it would unpack to {describe_bytes(total)}; the limit is {describe_bytes(MAX_TOTAL)}"))
    if sum(entry.compress_size for entry in entries) > file_size:
        text = f"its entries claim more packed bytes than the {describe_bytes(file_size)} of the file: they overlap, or it is damaged"
        problems.append(Problem("bomb", "", text))
    names = Counter(entry.filename for entry in entries)
    problems += [Problem("duplicate", name, f"occurs {number} times; expected once") for name, number in names.items() if number > 1]
    folded = Counter(name.casefold() for name in names)
    for name in names:
        if folded[name.casefold()] > 1:
            problems.append(Problem("duplicate", name, "another entry differs from it in upper and lower case alone"))
    return problems


def entry_problem(entry: zipfile.ZipInfo) -> Problem | None:
    """What forbids to read an entry: a name that leads out of the folder, a link, encryption, a bomb."""
    name, raw = entry.filename, entry.orig_filename
    if not name or "\0" in raw:
        return Problem("traversal", raw, "found an empty name or one with a zero byte")
    if name.startswith("/") or (len(name) > 1 and name[1] == ":"):
        return Problem("traversal", name, "an absolute path; expected a name below the archive's root")
    if "\\" in name:
        return Problem("traversal", name, "a backslash in the name; expected / between folder and file")
    if any(part in ("", ".", "..") for part in name.rstrip("/").split("/")) or name.endswith("//"):
        return Problem("traversal", name, 'an empty, "." or ".." part in the path, which can lead out of the folder; expected plain names')
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind == stat.S_IFLNK:
        return Problem("link", name, "a symbolic link; expected a file")
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR) or (kind == stat.S_IFDIR) != entry.is_dir() and kind != 0:
        return Problem("link", name, "a special file (device, pipe, or a folder under a file's name); expected a file")
    if entry.flag_bits & (0x1 | 0x40 | 0x2000):
        return Problem("encrypted", name, "encrypted; expected a plain entry")
    if entry.compress_type not in _METHODS:
        return Problem("compression", name, f"packed by method {entry.compress_type}; expected stored or deflated")
    limit = MAX_TEXT if posixpath.basename(name) in (METHOD_FILE, MATCH_FILE) else MAX_ENTRY
    if entry.file_size > limit:
        return Problem("bomb", name, f"would unpack to {describe_bytes(entry.file_size)}; the limit is {describe_bytes(limit)}")
    if entry.file_size > RATIO_FROM and entry.file_size > MAX_RATIO * max(entry.compress_size, 1):
        text = f"would unpack from {describe_bytes(entry.compress_size)} to {describe_bytes(entry.file_size)}; the limit is {MAX_RATIO} times"
        return Problem("bomb", name, text)
    return None


def read_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    """Bytes of an entry in which `entry_problem` found nothing, checksum compared; never more than it claims.

    Raises:
        LussError: damaged; the message is the finding alone.
    """
    try:
        with archive.open(entry) as stream:
            data = stream.read(entry.file_size + 1)  # of exactly this size at most: zipfile stops there and compares the checksum
    except _DAMAGE as error:
        raise LussError(f"damaged in the archive ({_reason(error)})") from error
    if len(data) != entry.file_size:
        raise LussError(f"damaged in the archive (it ends after {len(data)} of {entry.file_size} bytes)")
    return data


def shown(name: str) -> str:
    """A name from an archive as it may go to a terminal: printable characters, not too long."""
    plain = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in name[:200])
    return plain + ("..." if len(name) > 200 else "")


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
