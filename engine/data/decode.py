"""Decode image files of any kind to 8-bit RGB, and keep count of those that cannot be read."""

from __future__ import annotations

import contextlib
import csv
import io
import os
import warnings
from collections.abc import Iterator

import numpy as np
from PIL import Image, UnidentifiedImageError

from ..runtime.errors import LussError
from .image_file import MAX_PIXELS, open_regular, too_large, what_is_no_image


class UnreadableImage(LussError):
    """One image file that cannot be decoded."""

    def __init__(self, path: str, reason: str):
        super().__init__(f"{path}: unreadable image: {reason}")
        self.path = path
        self.reason = reason

    def __reduce__(self):  # the default passes the message alone, which fails on the way out of a worker
        return UnreadableImage, (self.path, self.reason)


def read_file(path: str) -> bytes:
    """Bytes of a regular file.

    Raises:
        UnreadableImage: missing, empty, not permitted, or not a regular file; a named pipe is refused, not waited for.
    """
    try:
        with open_regular(path) as stream:
            data = stream.read()
    except FileNotFoundError as error:
        raise UnreadableImage(path, "no such file") from error
    except OSError as error:
        raise UnreadableImage(path, error.strerror or str(error)) from error
    if not data:
        raise UnreadableImage(path, "empty file")
    return data


def decode_image(path: str) -> Image.Image:
    """The image at `path` as a Pillow RGB image, fully decoded; see `decode_bytes`.

    Raises:
        UnreadableImage: missing, empty, truncated, or not an image.
    """
    return decode_bytes(read_file(path), path)


def decode_rgb(path: str) -> np.ndarray:
    """The image at `path` as (H, W, 3) uint8; see `decode_bytes`."""
    return np.array(decode_image(path))


def decode_bytes(data, path: str) -> Image.Image:
    """An image file's content as a Pillow RGB image, fully decoded.

    Grey, CMYK, palette, 16-bit and alpha images are converted (alpha is dropped, 16-bit values are scaled to 0..255); the
    suffix does not matter; the EXIF orientation is ignored, as the published data preparation does.

    Args:
        data: bytes-like. path: for errors.

    Raises:
        UnreadableImage: truncated, of more than MAX_PIXELS, or not an image.
    """
    with _pillow(data, path) as image:
        image.load()
        return image if image.mode == "RGB" else _to_rgb(image)


def image_size(data, path: str) -> tuple[int, int]:
    """(width, height) from an image file's header, by Pillow.

    Raises:
        UnreadableImage: of more than MAX_PIXELS, or not an image.
    """
    with _pillow(data, path) as image:
        return image.size


@contextlib.contextmanager
def _pillow(data, path: str) -> Iterator[Image.Image]:
    """Open `data` with Pillow; whatever goes wrong in the block is an UnreadableImage."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd palettes and EXIF blocks: Pillow warns and decodes them all the same
            with Image.open(io.BytesIO(data)) as image:
                check_pixels(path, *image.size)
                yield image
    except (MemoryError, UnreadableImage):
        raise
    except Exception as error:  # Pillow's readers raise a dozen types (OSError, SyntaxError, struct.error, ...) for damaged files
        raise UnreadableImage(path, _reason(data, error)) from error


def check_pixels(path: str, width: int, height: int) -> None:
    """Raises: UnreadableImage where a header claims more than MAX_PIXELS."""
    reason = too_large(width, height)
    if reason:
        raise UnreadableImage(path, reason)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise ValueError("pixels are floating-point numbers of unknown range")
    if image.mode == "I" or image.mode.startswith("I;16"):  # convert() would clip at 255 and leave a white image
        pixels = np.asarray(image).astype(np.int64)
        if pixels.min() < 0 or pixels.max() > 65535:
            raise ValueError("pixels are 32-bit integers of unknown range")
        image = Image.fromarray(((pixels * 255 + 32767) // 65535).astype(np.uint8))
    return image.convert("RGB")


def _reason(data, error: Exception) -> str:
    if isinstance(error, Image.DecompressionBombError):
        return f"more than the {MAX_PIXELS:,} pixels that are decoded"
    if isinstance(error, UnidentifiedImageError):
        return what_is_no_image(bytes(data[:256]))
    return " ".join(f"{error}".split()) or type(error).__name__


class BadImages:
    """Counts unreadable files, lists them in a CSV file, and stops the run when there are too many.

    Args:
        total: images in the data set.
        limit_share: share (0 to 1) that may be unreadable; three files always may.
        log_path: CSV file (path, reason), appended to; a file already listed there is not listed again.
    """

    ALWAYS_TOLERATED = 3

    def __init__(self, total: int, limit_share: float, log_path: str):
        if total < 0 or not 0 <= limit_share <= 1:
            raise ValueError(f"total={total}, limit_share={limit_share}: expected total >= 0 and a share from 0 to 1")
        self.total = total
        self.limit_share = limit_share
        self.log_path = str(log_path)
        self._paths: dict[str, str] = {}
        self._listed: set[str] | None = None

    @property
    def count(self) -> int:
        """Distinct files recorded so far."""
        return len(self._paths)

    def record(self, path: str, reason: str) -> None:
        """Count and list one file.

        Raises:
            LussError: more files are unreadable than the limit allows.
        """
        if path in self._paths:
            return
        self._paths[path] = reason
        self._append(path, reason)
        if self.count > max(self.ALWAYS_TOLERATED, self.limit_share * self.total):
            first = "; ".join(f"{name} ({why})" for name, why in list(self._paths.items())[:3])
            raise LussError(
                f"{self.count} of {self.total} images ({self.count / max(self.total, 1):.2%}) cannot be read, more than "
                f"data.max_unreadable = {self.limit_share:g} allows: repair or remove them, or raise the setting; "
                f"all are listed in {self.log_path}, the first are {first}"
            )

    def _append(self, path: str, reason: str) -> None:
        if self._listed is None:
            self._listed = self._read()
        if path in self._listed:
            return
        os.makedirs(os.path.dirname(os.path.abspath(self.log_path)), exist_ok=True)
        with open(self.log_path, "a", newline="", encoding="utf-8", errors="surrogateescape") as stream:
            writer = csv.writer(stream)
            if stream.tell() == 0:
                writer.writerow(["path", "reason"])
            writer.writerow([path, reason])
        self._listed.add(path)

    def _read(self) -> set[str]:
        if not os.path.exists(self.log_path):
            return set()
        with open(self.log_path, newline="", encoding="utf-8", errors="surrogateescape") as stream:
            return {row[0] for row in csv.reader(stream) if row}
