"""Where a data set's encoded images come from: files of a folder, or anything else that can open an image by its number."""

from __future__ import annotations

import os
from collections.abc import Iterable

import numpy as np

from .decode import read_file
from .folder import ImageItem
from .jpeg import EncodedImage, RawImage
from .manifest import Manifest
from .packed import PackedImages


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

    def number(self, index: int) -> int:
        """What an image's random draws are keyed by."""
        return index

    def path(self, index: int) -> str:
        return self._paths[index]

    def open(self, index: int) -> EncodedImage:
        """Raises: UnreadableImage."""
        path = self._paths[index]
        return EncodedImage(read_file(path), path)


class IndexedFiles:
    """Images in files of their own that a manifest lists; a pickle holds the manifest's path alone."""

    def __init__(self, manifest: Manifest):
        self.manifest = manifest

    def __len__(self) -> int:
        return len(self.manifest)

    def key(self, index: int) -> str:
        return self.manifest.items.key(index)

    def number(self, index: int) -> int:
        return index

    def path(self, index: int) -> str:
        return self.manifest.items[index].path

    def open(self, index: int) -> EncodedImage:
        """Raises: UnreadableImage."""
        path = self.path(index)
        return EncodedImage(read_file(path), path)


class PackedFiles:
    """Images of a pack (`luss data pack`)."""

    def __init__(self, pack: PackedImages):
        self.pack = pack

    def __len__(self) -> int:
        return len(self.pack)

    def key(self, index: int) -> str:
        return self.pack.items.key(index)

    def number(self, index: int) -> int:
        """The image's position in the manifest that the pack was made from: its crops are those of the file there."""
        return int(self.pack.source[index])

    def open(self, index: int) -> EncodedImage | RawImage:
        """Raises: LussError where the record is damaged."""
        record, name = self.pack.record(index), f"{self.pack.path}: {self.key(index)}"
        if self.pack.settings.encoding == "raw":
            return RawImage(record.data, name, record.width, record.height, record.original)
        return EncodedImage(record.data, name, record.original)


def image_source(images):
    """What opens images by their number.

    Args:
        images: a Manifest, an ImageFolder, a sequence of ImageItem, PackedImages, or one of the classes above.
    """
    if isinstance(images, PackedImages):
        return PackedFiles(images)
    if isinstance(images, Manifest):
        return IndexedFiles(images)
    return images if hasattr(images, "open") else ImageFiles(getattr(images, "items", images))
