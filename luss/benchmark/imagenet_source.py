"""Where the images of an ImageNet folder lie: train/<wnid>/, and validation images in class folders or all in one."""

from __future__ import annotations

import os

from engine.data.folder import IMAGE_SUFFIXES
from engine.runtime.errors import LussError

_INNER = ("", os.path.join("ILSVRC", "Data", "CLS-LOC"))  # as unpacked by hand, and in the archive that Kaggle hands out
_VALIDATION = ("val", "validation")


class ImageNetSource:
    """An ImageNet folder; all paths are absolute.

    Raises:
        LussError: `root` holds no train/ or no val/ (also called validation/).
    """

    def __init__(self, root: str):
        root = os.path.abspath(root)
        for inner in _INNER:
            base = os.path.join(root, inner) if inner else root
            validation = next((path for path in (os.path.join(base, name) for name in _VALIDATION) if os.path.isdir(path)), None)
            if os.path.isdir(os.path.join(base, "train")) and validation is not None:
                self.root, self.train, self.validation = root, os.path.join(base, "train"), validation
                break
        else:
            found = "no train/ beside a val/ in it" if os.path.isdir(root) else "no such folder"
            raise LussError(f"{root}: {found}; expected ImageNet's train/<wnid>/<image> and val/<image> or val/<wnid>/<image>")
        self._places: dict[str, list[str]] | None = None

    def train_folder(self, wnid: str) -> str | None:
        """Folder of a category's training images, or None where there is none."""
        path = os.path.join(self.train, wnid)
        return path if os.path.isdir(path) else None

    def train_images(self, wnid: str) -> list[str]:
        """Sorted file names of a category's training images."""
        return sorted(name for name, is_folder in _entries(os.path.join(self.train, wnid)) if not is_folder)

    def train_image(self, source: str) -> str | None:
        """Path of the training image "<folder>/<file>", or None where it is not."""
        path = os.path.join(self.train, *source.split("/"))
        return path if os.path.isfile(path) else None

    def validation_image(self, source: str) -> str | None:
        """Path of the validation image "<folder>/<file>": in that folder, else wherever the file lies; None where it is not.

        Raises:
            LussError: it lies in several folders, none of them the one asked for.
        """
        folder, _, name = source.partition("/")
        places = self._validation_places().get(name, [])
        if folder in places or len(places) <= 1:
            place = folder if folder in places else places[0] if places else None
            return None if place is None else os.path.join(self.validation, place, name)
        shown = " and ".join(os.path.join(self.validation, place, name) for place in places[:2])
        raise LussError(f"{shown}: found the same file name {len(places)} times, but not in {folder}/; expected it once: remove the others")

    def _validation_places(self) -> dict[str, list[str]]:
        """{file name: folders below val/ ("" = directly in it)}; one walk, since 50,000 look-ups would cost more."""
        if self._places is None:
            self._places = {}
            for name, is_folder in _entries(self.validation):
                if not is_folder:
                    self._places.setdefault(name, []).append("")
                    continue
                for inner, inner_is_folder in _entries(os.path.join(self.validation, name)):
                    if not inner_is_folder:
                        self._places.setdefault(inner, []).append(name)
        return self._places


def _entries(folder: str) -> list[tuple[str, bool]]:
    """(name, whether it is a folder) of the images and folders in `folder`; hidden and other files are passed over."""
    found = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if not entry.name.startswith("."):
                    is_folder = entry.is_dir()
                    if is_folder or os.path.splitext(entry.name)[1].lower() in IMAGE_SUFFIXES:
                        found.append((entry.name, is_folder))
    except OSError as error:
        raise LussError(f"{folder}: cannot be listed ({error.strerror}); expected a readable folder of ImageNet") from error
    return found
