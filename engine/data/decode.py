"""Decode image files of any kind to 8-bit RGB, and keep count of those that cannot be read."""

from __future__ import annotations

import csv
import os
import warnings

import numpy as np
from PIL import Image, UnidentifiedImageError

from ..runtime.errors import LussError
from .image_file import MAX_PIXELS, open_regular, what_is_no_image


class UnreadableImage(LussError):
    """One image file that cannot be decoded."""

    def __init__(self, path: str, reason: str):
        super().__init__(f"{path}: unreadable image: {reason}")
        self.path = path
        self.reason = reason

    def __reduce__(self):  # the default passes the message alone, which fails on the way out of a worker
        return UnreadableImage, (self.path, self.reason)


def decode_image(path: str) -> Image.Image:
    """The image at `path` as a Pillow RGB image, fully decoded.

    Grey, CMYK, palette, 16-bit and alpha images are converted (alpha is dropped, 16-bit values are scaled to 0..255); the
    suffix does not matter; the EXIF orientation is ignored, as the published data preparation does.

    Raises:
        UnreadableImage: missing, empty, truncated, not an image or not even a file (a pipe, say), or of more than MAX_PIXELS pixels.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd palettes and EXIF blocks: Pillow warns and decodes them all the same
            with open_regular(path) as stream, Image.open(stream) as image:
                image.load()
                return image if image.mode == "RGB" else _to_rgb(image)
    except MemoryError:
        raise
    except Exception as error:  # Pillow's readers raise a dozen types (OSError, SyntaxError, struct.error, ...) for damaged files
        raise UnreadableImage(path, _reason(path, error)) from error


def decode_rgb(path: str) -> np.ndarray:
    """The image at `path` as (H, W, 3) uint8; see `decode_image`."""
    return np.array(decode_image(path))


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise ValueError("pixels are floating-point numbers of unknown range")
    if image.mode == "I" or image.mode.startswith("I;16"):  # convert() would clip at 255 and leave a white image
        pixels = np.asarray(image).astype(np.int64)
        if pixels.min() < 0 or pixels.max() > 65535:
            raise ValueError("pixels are 32-bit integers of unknown range")
        image = Image.fromarray(((pixels * 255 + 32767) // 65535).astype(np.uint8))
    return image.convert("RGB")


def _reason(path: str, error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, Image.DecompressionBombError):
        return f"more than the {MAX_PIXELS:,} pixels that are decoded"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if os.path.getsize(path) == 0:
        return "empty file"
    if isinstance(error, UnidentifiedImageError):
        with open(path, "rb") as stream:
            return what_is_no_image(stream.read(256))
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
