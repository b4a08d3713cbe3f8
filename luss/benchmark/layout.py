"""What lies in an ImageNet-S layout, told from names alone: files by split and class, counts, pairs of image and mask. Nothing is opened."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from engine.data.folder import IMAGE_SUFFIXES, MASK_FOLDER
from engine.runtime.errors import LussError
from luss.benchmark.categories import IMAGES_PER_CATEGORY, SPLIT_SIZES, category_ids, dataset_of

SPLITS = ("train", "train-semi", "validation", "test")
ANNOTATED = ("train-semi", "validation")  # splits whose masks are published; those of test are private


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a data set."""

    kind: str  # a few words, the same for all problems of a kind; they are counted by it
    path: str  # relative to the data set's folder
    text: str  # what was found and what was expected

    def __str__(self) -> str:
        return f"{self.path}: {self.text}"


@dataclass
class SplitFiles:
    """Files of one split: names in order, by class folder. `masks` is None where there is no <split>-segmentation."""

    split: str
    images: dict[str, tuple[str, ...]]
    masks: dict[str, tuple[str, ...]] | None
    problems: list[Problem] = field(default_factory=list)  # dangling links, images beside class folders

    @property
    def image_count(self) -> int:
        return sum(map(len, self.images.values()))

    @property
    def mask_count(self) -> int:
        return sum(map(len, (self.masks or {}).values()))

    def pairs(self) -> Iterator[tuple[str, str | None, str | None]]:
        """(class, image, mask) by equal stems, class by class in order; None stands for the one that is missing.

        Of two images with one stem only the first gets the mask.
        """
        for name in sorted({*self.images, *(self.masks or {})}):
            masks = {os.path.splitext(mask)[0]: mask for mask in (self.masks or {}).get(name, ())}
            for image in self.images.get(name, ()):
                yield name, image, masks.pop(os.path.splitext(image)[0], None)
            for mask in masks.values():
                yield name, None, mask


def scan_layout(root: str) -> list[SplitFiles]:
    """The splits that are below `root`, in the order train, train-semi, validation, test.

    Hidden entries (leading dot) and files that are neither images nor, among masks, PNGs are passed over. Links are followed.

    Raises:
        LussError: no such folder, or none of the splits is in it.
    """
    if not os.path.isdir(root):
        raise LussError(f"{root}: no such folder; expected a data set with train/<class>/<image>, validation/ and so on")
    found = [scan_split(root, split) for split in SPLITS]
    present = [files for files in found if files is not None]
    if not present:
        raise LussError(f"{root}: found none of the folders {', '.join(SPLITS)}; expected <split>/<class>/<image>: name the folder that holds them")
    return present


def scan_split(root: str, split: str) -> SplitFiles | None:
    """Images and masks of one split; None where neither of its two folders exists."""
    folders = [os.path.join(root, split), os.path.join(root, split + MASK_FOLDER)]
    if not any(map(os.path.lexists, folders)):
        return None
    problems: list[Problem] = []
    images = _scan(root, split, IMAGE_SUFFIXES, problems) if os.path.lexists(folders[0]) else {}
    masks = _scan(root, split + MASK_FOLDER, frozenset({".png"}), problems) if os.path.lexists(folders[1]) else None
    return SplitFiles(split, images, masks, problems)


def recognise(splits: Sequence[SplitFiles]) -> int | None:
    """50, 300 or 919 where the class folders of one split are exactly the categories of that set; else None."""
    return next((num for num in (dataset_of(files.images) for files in splits) if num is not None), None)


def class_ids(splits: Sequence[SplitFiles], num_classes: int | None) -> dict[str, int]:
    """{class folder: id}: of the published set, else by rank among the class folders of train, or of all splits where there is no train."""
    if num_classes is not None:
        return category_ids(num_classes)
    train = next((files.images for files in splits if files.split == "train" and files.images), None)
    names = train if train is not None else {name for files in splits for name in files.images}
    return {name: number for number, name in enumerate(sorted(names), 1)}


def name_problems(splits: Sequence[SplitFiles], num_classes: int | None) -> list[Problem]:
    """Everything that is wrong with folders, counts and pairs.

    Args:
        num_classes: 50, 300 or 919 to hold folders and counts against that set; None for a set of one's own.
    """
    known = class_ids(splits, num_classes)
    found = []
    for files in splits:
        found += files.problems
        found += _folder_problems(files, known, num_classes)
        if num_classes is not None:
            found += _count_problems(files, num_classes)
        found += _pair_problems(files, required=num_classes is not None and files.split in ANNOTATED)
    if num_classes is not None:
        present = {files.split for files in splits}
        missing = {split: size for split, size in SPLIT_SIZES[num_classes].items() if split not in present}
        found += [Problem("missing split", split, f"no such folder; expected {size:,} images") for split, size in missing.items()]
    return found


def _folder_problems(files: SplitFiles, known: Mapping[str, int], num_classes: int | None) -> Iterator[Problem]:
    what = f"no category of ImageNet-S-{num_classes}" if num_classes is not None else "no category: train has no such class folder"
    for folder, classes in ((files.split, files.images), (files.split + MASK_FOLDER, files.masks or {})):
        for name in sorted(set(classes) - set(known)):
            yield Problem("class folder that is no category", f"{folder}/{name}", what)
    if num_classes is not None:
        for name in sorted(set(known) - set(files.images)):
            yield Problem("missing class folder", f"{files.split}/{name}", f"no such folder; ImageNet-S-{num_classes} has this category")


def _count_problems(files: SplitFiles, num_classes: int) -> Iterator[Problem]:
    expected = SPLIT_SIZES[num_classes][files.split]
    if files.image_count != expected:
        yield Problem("wrong count", files.split, f"{files.image_count:,} images; expected {expected:,}")
    if files.split not in IMAGES_PER_CATEGORY[num_classes]:
        return
    fewest, most = IMAGES_PER_CATEGORY[num_classes][files.split]
    for name, images in files.images.items():
        if not fewest <= len(images) <= most:
            span = f"{fewest}" if fewest == most else f"{fewest} to {most}"
            yield Problem("wrong count", f"{files.split}/{name}", f"{len(images)} images; expected {span}")


def _pair_problems(files: SplitFiles, required: bool) -> Iterator[Problem]:
    folder = files.split + MASK_FOLDER
    for name, images in files.images.items():
        for stem, number in Counter(os.path.splitext(image)[0] for image in images).items():
            if number > 1:
                yield Problem("several images of one stem", f"{files.split}/{name}/{stem}", f"{number} images of this stem would share one mask")
    if files.masks is None:
        if required:
            yield Problem("missing masks folder", folder, f"no such folder; expected a mask for each of the {files.image_count:,} images")
        return
    for name, image, mask in files.pairs():
        if mask is None:
            stem = os.path.splitext(image)[0]
            yield Problem("image without mask", f"{files.split}/{name}/{image}", f"its mask {folder}/{name}/{stem}.png does not exist")
        elif image is None:
            stem = os.path.splitext(mask)[0]
            yield Problem("mask without image", f"{folder}/{name}/{mask}", f"there is no image {files.split}/{name}/{stem}.*")


def _scan(root: str, folder: str, suffixes: frozenset[str], problems: list[Problem]) -> dict[str, tuple[str, ...]]:
    """{class folder: names of its files}, all in order."""
    plain, folders = _list(root, folder, suffixes, problems)
    if plain:
        text = f"{len(plain)} files (e.g. {plain[0]}) stand directly in it; expected {folder}/<class>/<file>"
        problems.append(Problem("files beside class folders", folder, text))
    return {name: _list(root, f"{folder}/{name}", suffixes, problems)[0] for name in folders}


def _list(root: str, folder: str, suffixes: frozenset[str], problems: list[Problem]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Sorted names of the files with these suffixes, and of the folders; dangling links and unreadable folders become problems."""
    files, folders = [], []
    try:
        with os.scandir(os.path.join(root, folder)) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_symlink() and not os.path.exists(entry.path):
                    problems.append(Problem("dangling link", f"{folder}/{entry.name}", f"leads to {os.readlink(entry.path)}, which does not exist"))
                elif entry.is_dir():
                    folders.append(entry.name)
                elif os.path.splitext(entry.name)[1].lower() in suffixes:
                    files.append(entry.name)
    except OSError as error:
        problems.append(Problem("unreadable folder", folder, f"cannot be listed ({error.strerror})"))
    return tuple(sorted(files)), tuple(sorted(folders))
