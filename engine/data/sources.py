"""Where a data set's encoded images come from: files of a folder, or anything else that can open an image by its number."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

import numpy as np

from .decode import read_file
from .folder import ImageItem
from .jpeg import EncodedImage


class Texts:
    """Many strings in one buffer: a million paths reach a loading process as two arrays, not as a million objects."""

    def __init__(self, texts: Iterable[str]):
        encoded = [os.fsencode(text) for text in texts]
        self._ends = np.cumsum([0] + [len(text) for text in encoded], dtype=np.int64)
        self._bytes = b"".join(encoded)

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, index: int) -> str:
        return os.fsdecode(self._bytes[self._ends[index] : self._ends[index + 1]])


class ImageFiles:
    """Images in files of their own."""

    def __init__(self, items: Iterable[ImageItem]):
        items = list(items)
        self._paths = Texts(item.path for item in items)
        self._keys = Texts(item.key for item in items)

    def __len__(self) -> int:
        return len(self._paths)

    def key(self, index: int) -> str:
        """<class>/<file>."""
        return self._keys[index]

    def path(self, index: int) -> str:
        return self._paths[index]

    def open(self, index: int) -> EncodedImage:
        """Raises: UnreadableImage."""
        path = self._paths[index]
        return EncodedImage(read_file(path), path)


def image_source(images: Sequence[ImageItem] | ImageFiles):
    """`images` itself where it has `open` and `key`, else the files it lists."""
    return images if hasattr(images, "open") else ImageFiles(images)
