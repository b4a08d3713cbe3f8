"""Find the images of a data set: ImageNet-S layout, or a plain folder of images.

Layout: <root>/<split>/<class>/<file>, masks at <root>/<split>-segmentation/<class>/<stem>.png. Classes are the folder
names in lexicographic order, files are sorted inside each class.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from ..runtime.errors import LussError

SPLITS = ("train", "validation", "test", "train-semi")
MASK_FOLDER = "-segmentation"
IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})


@dataclass(frozen=True)
class ImageItem:
    """One image file; `key` is "<class>/<file>", or "<file>" where there are no class folders."""

    __slots__ = ("class_index", "key", "path")  # a million of these are held at once
    path: str
    key: str
    class_index: int  # position in ImageFolder.classes; -1 without class folders

    def __reduce__(self):
        return ImageItem, (self.path, self.key, self.class_index)


@dataclass(frozen=True)
class ImageFolder:
    """The images of one split in their fixed order."""

    root: str
    items: tuple[ImageItem, ...]
    classes: tuple[str, ...]


def list_images(root: str, split: str) -> ImageFolder:
    """All images of <root>/<split>; for "train" also of <root> itself where it holds no known split folder.

    Files are told by their suffix and not opened. Hidden files and folders (leading dot) are passed over.

    Args:
        root: data set folder.
        split: name of a split folder, e.g. "train" or "validation".

    Raises:
        LussError: nothing there; one sentence says what is missing and where it was looked for.
    """
    if not root:
        raise LussError("no image folder was given: set data.root to a folder with train/<class>/<image>, or to a folder of images")
    if not os.path.isdir(root):
        raise LussError(f"{root}: no such folder; expected a data set with {split}/<class>/<image> in it")
    folder = os.path.join(root, split)
    if os.path.isdir(folder):
        found = _scan(root, folder, empty_classes=True)
        if found is None:
            raise LussError(f"{folder}: {_emptiness(folder)}; expected {os.path.join(folder, '<class>', '<image>')}")
        return found
    looked = f"looked for {os.path.join(folder, '<class>', '<image>')}"
    if split != "train":
        raise LussError(f"{root}: no {split} images: no such folder as {folder} ({looked})")
    others = _known_folders(root)
    if others:
        raise LussError(f"{root}: no train images: there is {', '.join(others)}, but no such folder as {folder} ({looked})")
    found = _scan(root, root, empty_classes=False)
    if found is None:
        plain = f"{os.path.join(root, '<class>', '<image>')} and {os.path.join(root, '<image>')}"
        raise LussError(f"{root}: no train images: {_emptiness(root)} ({looked}, {plain})")
    return found


def mask_path(root: str, split: str, key: str) -> str:
    """Where the ground-truth label map of an image lies: <root>/<split>-segmentation/<class>/<stem>.png."""
    return os.path.join(root, split + MASK_FOLDER, os.path.splitext(key)[0] + ".png")


def _scan(root: str, folder: str, empty_classes: bool) -> ImageFolder | None:
    """Class folders of images below `folder`, else images directly in it; None where there is neither."""
    plain, subfolders = _list(folder)
    per_class = {name: _list(os.path.join(folder, name))[0] for name in subfolders}
    if any(per_class.values()):
        if plain:
            raise LussError(
                f"{folder}: {len(plain)} image files (e.g. {plain[0]}) stand beside class folders of images: "
                "move them into a class folder or away, so that it is clear which images are meant"
            )
        classes = tuple(name for name, files in per_class.items() if files or empty_classes)
        items = [
            ImageItem(os.path.join(folder, name, file), f"{name}/{file}", index) for index, name in enumerate(classes) for file in per_class[name]
        ]
        return ImageFolder(root, tuple(items), classes)
    if plain:
        return ImageFolder(root, tuple(ImageItem(os.path.join(folder, file), file, -1) for file in plain), ())
    return None


def _list(folder: str) -> tuple[list[str], list[str]]:
    """Sorted names of image files and of folders in `folder`."""
    images, folders = [], []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir():
                    folders.append(entry.name)
                elif os.path.splitext(entry.name)[1].lower() in IMAGE_SUFFIXES:
                    images.append(entry.name)  # broken links stay in: decoding will name them
    except OSError as error:
        raise LussError(f"{folder}: cannot be listed ({error.strerror}); expected a readable folder of images") from error
    return sorted(images), sorted(folders)


def _known_folders(root: str) -> list[str]:
    names = [split + tail for split in SPLITS for tail in ("", MASK_FOLDER)]
    return [name for name in names if os.path.isdir(os.path.join(root, name))]


def _emptiness(folder: str) -> str:
    """What was found instead of images."""
    count = len(_list(folder)[1])
    if not os.listdir(folder):
        return "the folder is empty"
    return f"no image files in it or in its {count} folders" if count else "no image files in it"
