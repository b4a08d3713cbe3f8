"""One image file as a thing on a disk: open it without hanging, and what can be said of it without decoding a pixel."""

from __future__ import annotations

import errno
import io
import os
import stat
import threading
import warnings
from dataclasses import dataclass
from typing import BinaryIO

import simplejpeg
import xxhash
from PIL import Image, UnidentifiedImageError

from ..runtime.errors import LussError

MAX_PIXELS = 1 << 28  # 805 MB as RGB: a header that claims more is a mistake or an attack
_BLOCK = 1 << 26  # bytes held at once
_TRIES = 3
_OUT_OF = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)  # trouble of this process, no fault of the file
_KINDS = {stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}
Image.MAX_IMAGE_PIXELS = MAX_PIXELS // 2  # Pillow warns from here on and refuses twice this: one limit for all decoders
_pillow = threading.Lock()  # warnings.catch_warnings changes the whole process


@dataclass(frozen=True)
class Facts:
    """What is known of a file. A file that cannot be read has a reason; what could not be found out is 0."""

    bytes: int
    mtime_ns: int
    checksum: int = 0  # xxh3-64 of its bytes
    width: int = 0
    height: int = 0
    reason: str = ""  # empty: its header is that of an image


def open_regular(path: str) -> BinaryIO:
    """Open a file for reading; a named pipe or device that took its place is refused and never waited for.

    Raises:
        OSError: `strerror` is the reason.
    """
    return os.fdopen(_open(path), "rb")


def stat_file(path: str) -> tuple[int, int]:
    """(bytes, mtime_ns); bytes is 0 where it is no regular file, both are 0 where there is nothing to be seen."""
    try:
        return _size_and_time(os.stat(path))
    except OSError as error:
        if error.errno in _OUT_OF:
            raise _exhausted(path, error) from error
        return 0, 0


def read_facts(path: str) -> Facts:
    """Read the whole file once: size, time, checksum, and width and height from the image's header.

    Raises:
        LussError: the process has no memory or file handles left. Everything that is wrong with the file itself is in `reason`.
    """
    for _ in range(_TRIES):
        try:
            handle = _open(path)
        except OSError as error:
            if error.errno in _OUT_OF:
                raise _exhausted(path, error) from error
            return Facts(*stat_file(path), reason="no such file" if error.errno == errno.ENOENT else error.strerror)
        try:
            before = _size_and_time(os.fstat(handle))
            count, checksum, head = _read(handle, before[0])
            if _size_and_time(os.fstat(handle)) != before or count != before[0]:
                continue  # someone is writing it
            width, height, reason = _measure(handle, head, count)
            return Facts(*before, checksum, width, height, reason)
        except OSError as error:
            return Facts(*stat_file(path), reason=error.strerror or str(error))
        finally:
            os.close(handle)
    return Facts(*stat_file(path), reason="it changes while it is read")


def too_large(width: int, height: int) -> str:
    """The reason not to decode an image of this size; empty where there is none."""
    return f"{width} x {height} pixels, more than the {MAX_PIXELS:,} that are decoded" if width * height > MAX_PIXELS else ""


def _open(path: str) -> int:
    mode = os.stat(path).st_mode  # before opening: that alone can do something to a device
    _refuse_kind(mode, path)
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # it may have become a pipe in between
    try:
        _refuse_kind(os.fstat(handle).st_mode, path)
    except OSError:
        os.close(handle)
        raise
    return handle


def _refuse_kind(mode: int, path: str) -> None:
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, f"{_KINDS.get(stat.S_IFMT(mode), 'something else')}, not a file", path)


def _size_and_time(found: os.stat_result) -> tuple[int, int]:
    return found.st_size if stat.S_ISREG(found.st_mode) else 0, found.st_mtime_ns


def _exhausted(path: str, error: OSError) -> LussError:
    return LussError(f"{path}: cannot be opened ({error.strerror}); this process is out of it: use fewer workers or raise the limit (ulimit -n)")


def _read(handle: int, size: int) -> tuple[int, int, bytes]:
    """Bytes read of a file of `size` bytes, their xxh3-64, and the first of them: all, where there are not too many."""
    head = os.read(handle, min(size, _BLOCK) + 1)  # no more than there is: a large buffer costs more than the reading; + 1 shows one that grew
    if len(head) >= size:
        return len(head), xxhash.xxh3_64_intdigest(head), head
    digest, count, block = xxhash.xxh3_64(head), len(head), head
    while block:  # one call may return less than there is
        block = os.read(handle, _BLOCK)
        digest.update(block)
        if count + len(block) <= _BLOCK:
            head += block
        count += len(block)
    return count, digest.intdigest(), head


def _measure(handle: int, head: bytes, count: int) -> tuple[int, int, str]:
    """(width, height, reason)."""
    if not count:
        return 0, 0, "empty file"
    if head[:2] == b"\xff\xd8":
        try:
            height, width = simplejpeg.decode_jpeg_header(head, strict=False)[:2]  # 3 us, Pillow takes 90
            return width, height, too_large(width, height)
        except (ValueError, KeyError):  # KeyError: simplejpeg's word for a header without a known subsampling or colour space
            pass  # Pillow may know better, and else says what is wrong
    if count == len(head):
        return _measure_with_pillow(io.BytesIO(head))
    with os.fdopen(handle, "rb", closefd=False) as stream:
        stream.seek(0)
        return _measure_with_pillow(stream)


def _measure_with_pillow(stream: BinaryIO) -> tuple[int, int, str]:
    with _pillow, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(stream) as image:
                width, height = image.size
        except UnidentifiedImageError:
            stream.seek(0)
            return 0, 0, what_is_no_image(stream.read(256))
        except Image.DecompressionBombError:
            return 0, 0, f"more than the {MAX_PIXELS:,} pixels that are decoded"
        except MemoryError:
            raise
        except Exception as error:  # a dozen types for damaged headers
            return 0, 0, " ".join(f"{error}".split()) or type(error).__name__
    return width, height, too_large(width, height)


def what_is_no_image(head: bytes) -> str:
    """What a file is that begins like this and is no image."""
    page = head.lstrip().lower().startswith((b"<!doctype html", b"<html", b"<head"))
    return "an HTML page, not an image" if page else "not an image of a known format"
