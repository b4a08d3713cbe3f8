"""Decode an image's bytes straight into given memory: JPEG by libjpeg-turbo (the wheel simplejpeg), everything else by Pillow.

libjpeg-turbo can leave out detail while it decodes: at 1/2, 1/4 and 1/8 of the size an inverse cosine transform of 4, 2 or 1 points a
block of 8 does the averaging. Pillow carries the same library and gives the same pixels, at about 0.7 of the speed: it decodes into
memory of its own, from which they have to be copied twice.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import simplejpeg

from .decode import UnreadableImage, check_pixels, decode_bytes, image_size

REDUCTIONS = (8, 4, 2, 1)  # divisors of the size that cost nothing
_KNOWN = ("Gray", "YCbCr", "RGB")  # CMYK and YCCK are Pillow's: Adobe inverts them, and only it knows when


class EncodedImage:
    """An image whose header has been read.

    Args:
        data: bytes-like content of the file. path: for errors.
        original: (width, height) of the image that this one was made from by resizing, where it was (packed images).

    Attributes:
        width, height: in pixels, at full size.
        original: the same, or the argument.

    Raises:
        UnreadableImage: not an image, or too large.
    """

    def __init__(self, data, path: str, original: tuple[int, int] | None = None):
        self.data, self.path = data, path
        self._turbo = False
        if bytes(data[:2]) == b"\xff\xd8":
            try:
                self.height, self.width, colours, _ = simplejpeg.decode_jpeg_header(data)
                self._turbo = colours in _KNOWN
            except (ValueError, KeyError):  # KeyError: simplejpeg's word for a header without known colours
                self._turbo = False  # Pillow may take it, and else says why
        if not self._turbo:
            self.width, self.height = image_size(data, path)
        check_pixels(path, self.width, self.height)
        self.original = original or (self.width, self.height)

    def decode(self, place: Callable[[int], np.ndarray], reduction: int = 1) -> np.ndarray:
        """Pixels, (h, w, 3) uint8, where h and w are the sizes divided by `reduction` and rounded up.

        Only JPEGs can be reduced; of other files, and of JPEGs that only Pillow reads, the size stays: look at the shape.

        Args:
            place: gives memory for a number of bytes, as a (bytes,) uint8 array.
            reduction: 1, 2, 4 or 8.

        Raises:
            UnreadableImage: truncated or damaged.
        """
        if self._turbo:
            height, width = -(-self.height // reduction), -(-self.width // reduction)
            pixels = place(height * width * 3)
            smallest = {"min_height": height, "min_width": width} if reduction > 1 else {}
            try:
                decoded = simplejpeg.decode_jpeg(self.data, "RGB", buffer=pixels, **smallest)
            except ValueError:  # truncated, or damaged in a way that Pillow may tolerate: it decides
                return self._by_pillow(place)
            if decoded.shape != (height, width, 3):
                found = f"{decoded.shape[1]}x{decoded.shape[0]}"
                raise UnreadableImage(self.path, f"decodes to {found} pixels, its header promises {width}x{height} at 1/{reduction}")
            return pixels.reshape(height, width, 3)
        return self._by_pillow(place)

    def _by_pillow(self, place: Callable[[int], np.ndarray]) -> np.ndarray:
        image = np.asarray(decode_bytes(self.data, self.path))
        if image.shape != (self.height, self.width, 3):
            raise UnreadableImage(self.path, f"decodes to {image.shape[1]}x{image.shape[0]} pixels, its header promises {self.width}x{self.height}")
        pixels = place(image.nbytes).reshape(image.shape)
        pixels[...] = image
        return pixels


class RawImage:
    """Pixels that are stored as they are; the same face as EncodedImage.

    Args:
        data: bytes-like, height * width * 3 bytes. original: see EncodedImage.
    """

    def __init__(self, data, path: str, width: int, height: int, original: tuple[int, int]):
        self.data, self.path, self.width, self.height, self.original = data, path, width, height, original

    def decode(self, place: Callable[[int], np.ndarray], reduction: int = 1) -> np.ndarray:
        """A copy of the pixels, (height, width, 3) uint8; never reduced."""
        pixels = place(self.height * self.width * 3)
        pixels[:] = np.frombuffer(self.data, np.uint8)
        return pixels.reshape(self.height, self.width, 3)
