"""The published list files of ImageNet-S, given by the user: categories, annotated images, mapping of ImageNet's validation images.

Form (spec/benchmark.md 1.4), K = 50, 300 or 919, paths with "/":
    categories/ImageNetS_categories_im{K}.txt            a WordNet id a line, sorted
    names/ImageNetSemi_im{K}_train.txt                   <category>/<source category>_<number>.JPEG [mask]
    names/ImageNetS_im{K}_validation.txt                 <category>/<file>.JPEG [mask]
    mapping/ImageNetS_im{K}_mapping_{validation,test}.txt  <folder in ImageNet>/<file>.JPEG <category>/<file>.JPEG
A mask is <category>/<stem>.png. One stored version of the published annotated lists has no second column, hence the brackets.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from dataclasses import dataclass

from engine.runtime.errors import LussError
from luss.benchmark.categories import IMAGES_PER_CATEGORY, MERGED, SETS, SPLIT_SIZES

FILES = {
    "categories": "categories/ImageNetS_categories_im{}.txt",
    "mapping validation": "mapping/ImageNetS_im{}_mapping_validation.txt",
    "mapping test": "mapping/ImageNetS_im{}_mapping_test.txt",
    "names validation": "names/ImageNetS_im{}_validation.txt",
    "names semi": "names/ImageNetSemi_im{}_train.txt",
}
CHECKSUMS = {  # first 16 hexadecimal digits of the published files' SHA-256
    "categories": {50: "cba1701f5d94bf0d", 300: "9327409a512019ff", 919: "b2ee89cf2d5def58"},
    "mapping validation": {50: "d51e06461f83d374", 300: "d887652204f140a5", 919: "52de0512c75cd042"},
    "mapping test": {50: "27b06a0b774f2a47", 300: "94f26c4bc8c1acf4", 919: "b2e60b72dafe47c7"},
    "names validation": {50: "683614c6dd07d508", 300: "36f9cbe4b3be25cc", 919: "76b5e5ca74b42705"},
    "names semi": {50: "830e654142938b28", 300: "05f032374bd7a9a8", 919: "d8a33edfeda5ea6a"},
}
_NAME = r"[A-Za-z0-9_][A-Za-z0-9_.\-]*"  # of a folder or file: neither "..", nor hidden, nor a path; lists may come from anywhere
_CATEGORY = re.compile(_NAME)
_KEY = re.compile(rf"({_NAME})/({_NAME})\.(JPEG|jpeg|JPG|jpg|png|PNG)")


@dataclass(frozen=True)
class MappedImage:
    """One image of ImageNet and its place here; both "<folder>/<file>", the file name is the same."""

    __slots__ = ("source", "target")
    source: str
    target: str


@dataclass(frozen=True)
class ImageNetLists:
    """The content of the five list files of a set."""

    num_classes: int
    categories: tuple[str, ...]  # sorted
    semi: tuple[MappedImage, ...]  # from train; a source folder other than the category is one that is merged into it
    validation: tuple[MappedImage, ...]  # these and test are from ImageNet's validation images
    test: tuple[MappedImage, ...]
    checksums: dict[str, str]  # {file, relative to the folder: SHA-256 in hexadecimal digits}


def read_lists(folder: str, num_classes: int, published: bool = True) -> ImageNetLists:
    """Read and check the list files of the set with `num_classes` categories.

    Args:
        folder: holds categories/, mapping/ and names/, or a folder data/ that does (a checkout of the data set's toolbox).
        published: hold them to the published numbers and checksums. False: lists of a set of one's own, only their form is checked.

    Raises:
        LussError: a file is absent, of another form (file and line are named), or not the published one.
    """
    if published and num_classes not in SETS:
        raise LussError(f"{num_classes}: there is no ImageNet-S with so many categories; expected {', '.join(map(str, SETS))}, or --unpublished")
    root = _root(folder)
    files = {what: _ListFile(root, name.format(num_classes)) for what, name in FILES.items()}
    categories = _read_categories(files["categories"], num_classes)
    known = set(categories)
    semi = _read_semi(files["names semi"], known)
    named = _read_names(files["names validation"], known)
    mapped = {split: _read_mapping(files[f"mapping {split}"], known) for split in ("validation", "test")}
    _check_agreement(files, named, mapped["validation"], mapped["test"])
    if published:
        _check_counts(files["names semi"], semi, num_classes, "train-semi")
        for split, images in mapped.items():
            _check_counts(files[f"mapping {split}"], images, num_classes, split)
        for what, file in files.items():
            file.require_checksum(CHECKSUMS[what][num_classes])
    return ImageNetLists(num_classes, categories, semi, mapped["validation"], mapped["test"], {file.name: file.sha256 for file in files.values()})


class _ListFile:
    """Lines of one list file, for messages that name file and line."""

    def __init__(self, root: str, name: str):
        self.name, self.path = name, os.path.join(root, *name.split("/"))
        try:
            with open(self.path, "rb") as stream:
                data = stream.read()
        except OSError as error:
            expected = "expected the list files of the ImageNet-S toolbox: categories/, mapping/ and names/"
            raise LussError(f"{self.path}: cannot be read ({error.strerror}); {expected} (folder data/ of its repository)") from error
        self.sha256 = hashlib.sha256(data).hexdigest()
        self.windows = b"\r" in data
        try:
            self.lines = data.decode("ascii").splitlines()
        except UnicodeDecodeError as error:
            number = data.count(b"\n", 0, error.start) + 1
            raise LussError(f"{self.path}, line {number}: found the byte {data[error.start]:#04x}; expected a list of plain ASCII text") from error
        if not self.lines:
            raise LussError(f"{self.path}: found an empty file; expected a list")

    def place(self, number: int) -> str:
        return f"{self.path}, line {number}"

    def require_checksum(self, expected: str) -> None:
        if not self.sha256.startswith(expected):
            cause = "its line ends were changed to those of Windows" if self.windows else "it is of another version, or was changed"
            raise LussError(
                f"{self.path}: found SHA-256 {self.sha256[:16]}..., expected {expected}... of the published list: {cause}; "
                "take the published file (--unpublished goes without this check)"
            )

    def columns(self, fewest: int, most: int, form: str) -> list[list[str]]:
        rows = [line.split(" ") for line in self.lines]
        for number, row in enumerate(rows, 1):
            if not fewest <= len(row) <= most or not all(row):
                raise LussError(f"{self.place(number)}: found {self.lines[number - 1][:200]!r}; expected {form}")
        return rows


def _root(folder: str) -> str:
    for candidate in (folder, os.path.join(folder, "data")):
        if os.path.isdir(os.path.join(candidate, "categories")):
            return candidate
    found = "no categories/ in it" if os.path.isdir(folder) else "no such folder"
    raise LussError(f"{folder}: {found}; expected the folder with the published lists: categories/, mapping/ and names/")


def _read_categories(file: _ListFile, num_classes: int) -> tuple[str, ...]:
    for number, name in enumerate(file.lines, 1):
        if not _CATEGORY.fullmatch(name):
            raise LussError(f"{file.place(number)}: found {name[:200]!r}; expected one category (a WordNet id) a line")
        if number > 1 and name <= file.lines[number - 2]:
            raise LussError(f"{file.place(number)}: found {name} after {file.lines[number - 2]}; expected ascending order without repetition")
    if len(file.lines) != num_classes:
        raise LussError(f"{file.path}: found {len(file.lines)} categories; expected {num_classes}")
    return tuple(file.lines)


def _read_names(file: _ListFile, known: set[str]) -> tuple[str, ...]:
    """Keys of the images; the second column, where there is one, must be the mask of the first."""
    form = "<category>/<file>.JPEG, then maybe a space and <category>/<file>.png"
    rows = file.columns(1, 2, form)
    for number, row in enumerate(rows, 1):
        stem = _split_key(file, number, row[0], known)
        if len(row) == 2 and row[1] != f"{stem}.png":
            raise LussError(f"{file.place(number)}: found the mask {row[1]!r} of {row[0]}; expected {stem}.png")
    keys = [row[0] for row in rows]
    _refuse_repetition(file, [key.rpartition(".")[0] for key in keys])
    return tuple(keys)


def _read_semi(file: _ListFile, known: set[str]) -> tuple[MappedImage, ...]:
    """Annotated training images; the file name tells the folder in ImageNet."""
    images = []
    for number, key in enumerate(_read_names(file, known), 1):
        category, _, name = key.partition("/")
        source = name.rpartition("_")[0]
        if source != category and MERGED.get(source) != category:
            raise LussError(f"{file.place(number)}: found {key}; expected {category}_<number>, or a category that is merged into {category}")
        images.append(MappedImage(f"{source}/{name}", key))
    return tuple(images)


def _read_mapping(file: _ListFile, known: set[str]) -> tuple[MappedImage, ...]:
    form = "<ImageNet folder>/<file>.JPEG <category>/<file>.JPEG"
    rows = file.columns(2, 2, form)
    for number, (source, target) in enumerate(rows, 1):
        _split_key(file, number, source, None)
        _split_key(file, number, target, known)
        if source.partition("/")[2] != target.partition("/")[2]:
            raise LussError(f"{file.place(number)}: found {source} for {target}; expected the same file name on both sides ({form})")
    _refuse_repetition(file, [target.partition("/")[2] for _, target in rows])
    return tuple(MappedImage(source, target) for source, target in rows)


def _split_key(file: _ListFile, number: int, key: str, known: set[str] | None) -> str:
    """ "<folder>/<stem>" of a well-formed key whose folder is a category."""
    match = _KEY.fullmatch(key)
    if match is None:
        raise LussError(f"{file.place(number)}: found {key[:200]!r}; expected <folder>/<file>.JPEG of letters, digits, '_', '-' and '.'")
    if known is not None and match.group(1) not in known:
        raise LussError(f"{file.place(number)}: found {key}, but {match.group(1)} is not in the list of categories")
    return f"{match.group(1)}/{match.group(2)}"


def _refuse_repetition(file: _ListFile, names: list[str]) -> None:
    first: dict[str, int] = {}
    for number, name in enumerate(names, 1):
        if name in first:
            raise LussError(f"{file.place(number)}: found {name} again (first in line {first[name]}); expected every image once")
        first[name] = number


def _check_agreement(files: dict[str, _ListFile], named: tuple[str, ...], validation: tuple[MappedImage, ...], test: tuple[MappedImage, ...]) -> None:
    """The list of validation images is that of the mapping; no image is in both splits."""
    targets = {image.target for image in validation}
    for number, key in enumerate(named, 1):
        if key not in targets:
            raise LussError(f"{files['names validation'].place(number)}: found {key}, which {files['mapping validation'].path} does not map")
    if len(named) != len(targets):
        lacking = sorted(targets - set(named))
        raise LussError(f"{files['names validation'].path}: {len(lacking)} mapped images are not in it, e.g. {lacking[0]}; the two lists must agree")
    names = {image.target.partition("/")[2] for image in validation}
    for number, image in enumerate(test, 1):
        if image.target.partition("/")[2] in names:
            raise LussError(
                f"{files['mapping test'].place(number)}: found {image.target}, which is a validation image too; expected none in both splits"
            )


def _check_counts(file: _ListFile, images: tuple[MappedImage, ...], num_classes: int, split: str) -> None:
    size = SPLIT_SIZES[num_classes][split]
    if len(images) != size:
        raise LussError(f"{file.path}: found {len(images):,} images; expected the {size:,} of the published {split} split")
    fewest, most = IMAGES_PER_CATEGORY[num_classes][split]
    counts = Counter(image.target.partition("/")[0] for image in images)
    for name, number in sorted(counts.items()):
        if not fewest <= number <= most:
            raise LussError(f"{file.path}: found {number} images of {name}; expected {fewest} to {most}")
