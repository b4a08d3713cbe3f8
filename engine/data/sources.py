"""Where a data set's encoded images come from: files of a folder, or anything else that can open an image by its number."""

from __future__ import annotations

from collections.abc import Iterable

from .decode import read_file
from .folder import ImageItem
from .jpeg import EncodedImage, RawImage
from .manifest import Manifest, Names
from .packed import PackedImages


class _Files:
    """Images in files of their own; sub-classes know their paths."""

    def number(self, index: int) -> int:
        """What an image's random draws are keyed by."""
        return index

    def open(self, index: int) -> EncodedImage:
        """Raises: UnreadableImage."""
        path = self.path(index)
        return EncodedImage(read_file(path), path)


class ImageFiles(_Files):
    """Files that a folder's items name. A million paths reach a loading process as a few arrays, not as a million objects."""

    def __init__(self, items: Iterable[ImageItem]):
        items = list(items)
        self._paths = Names(*Names.pack([item.path for item in items]))
        self._keys = Names(*Names.pack([item.key for item in items]))

    def __len__(self) -> int:
        return len(self._paths)

    def key(self, index: int) -> str:
        """<class>/<file>."""
        return self._keys[index]

    def path(self, index: int) -> str:
        return self._paths[index]


class IndexedFiles(_Files):
    """Files that a manifest lists; a pickle holds the manifest's path alone."""

    def __init__(self, manifest: Manifest):
        self.manifest = manifest

    def __len__(self) -> int:
        return len(self.manifest)

    def key(self, index: int) -> str:
        return self.manifest.items.key(index)

    def path(self, index: int) -> str:
        return self.manifest.items[index].path


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
