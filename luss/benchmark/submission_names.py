"""What the names in a submission say: which entry is the map of which image, what is missing, doubled, misplaced, or has no place there."""

from __future__ import annotations

import os
import posixpath
import re
import zipfile
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from engine.data.folder import ImageItem
from engine.runtime.errors import LussError
from luss.benchmark.categories import SPLIT_SIZES
from luss.benchmark.submission_archive import Problem, entry_problem
from luss.benchmark.submission_texts import MATCH_FILE, METHOD_FILE

_NAME = re.compile(r"(n\d{8}/)?ILSVRC2012_val_\d{8}\.png")


@dataclass(frozen=True)
class MapJob:
    """One map to be read: position of its entry in the zip, its image if there is one, and its class folder ("" where unknown)."""

    index: int
    name: str
    image: str | None
    folder: str


@dataclass
class Contents:
    """Positions of a zip's entries by what they are; names are without a folder around everything."""

    maps: dict[str, int] = field(default_factory=dict)
    texts: dict[str, int] = field(default_factory=dict)


def sort_entries(entries: Sequence[zipfile.ZipInfo]) -> tuple[Contents, list[Problem]]:
    """Entries by what they are, and a problem for each that must not be read or has no place in a submission."""
    problems = []
    safe = {}
    for index, entry in enumerate(entries):
        problem = entry_problem(entry)
        if problem is None:
            safe[index] = entry.filename
        else:
            problems.append(problem)
    top = _folder_around(list(safe.values()))
    if top:
        text = f"everything lies in this folder; expected class folders and {METHOD_FILE} at the root: zip the contents of the folder, not the folder"
        problems.append(Problem("layout", top, text))
        safe = {index: name[len(top) :] for index, name in safe.items() if name != top}
    contents = Contents()
    folders = {}
    for index, name in safe.items():
        depth, hidden = name.rstrip("/").count("/"), any(part.startswith((".", "__MACOSX")) for part in name.split("/"))
        if name.endswith("/") and not hidden and depth == 0 and entries[index].file_size == 0:
            folders[name] = index
        elif name in (METHOD_FILE, MATCH_FILE):
            contents.texts.setdefault(name, index)
        elif name.endswith(".png") and not hidden and depth <= 1:
            contents.maps.setdefault(name, index)
        else:
            problems.append(Problem("stray", name, f"has no place in a submission; expected label maps (.png), {METHOD_FILE} and {MATCH_FILE} alone"))
    used = {posixpath.dirname(name) + "/" for name in contents.maps}
    problems += [Problem("stray", name, "a folder without label maps") for name in folders if name not in used]
    return contents, problems


def _folder_around(names: list[str]) -> str:
    """X/ where all names lie in X and X can be no class folder (class folders or the texts are in it), else an empty text."""
    first = names[0].partition("/")[0] + "/" if names and "/" in names[0] else ""
    if not first or not all(name.startswith(first) for name in names):
        return ""
    inner = [name[len(first) :] for name in names]
    return first if any(name in (METHOD_FILE, MATCH_FILE) or (name.endswith(".png") and "/" in name) for name in inner) else ""


def expected_maps(contents: Contents, items: Sequence[ImageItem] | None, split: str, num_classes: int) -> tuple[list[MapJob], list[Problem]]:
    """Maps to read, and what is wrong with names and numbers."""
    problems: list[Problem] = []
    nested = [name for name in contents.maps if "/" in name]
    flat = not nested and bool(contents.maps)
    if nested and len(nested) < len(contents.maps):
        example = next(name for name in contents.maps if "/" not in name)
        text = f"{len(contents.maps) - len(nested)} maps at the root stand beside {len(nested)} in class folders"
        problems.append(Problem("layout", example, text))
    published = SPLIT_SIZES.get(num_classes, {}).get(split)
    if items is None:
        problems += _names_alone(contents, published, split, num_classes)
        jobs = [MapJob(index, name, None, posixpath.dirname(name)) for name, index in contents.maps.items()]
    else:
        jobs, found = _against_images(contents, items, flat, split)
        problems += found
        if len(contents.maps) != len(items):
            problems.append(Problem("count", "", f"found {len(contents.maps)} label maps; expected {len(items)}, one for each {split} image"))
        if published and len(items) != published:
            text = f"the data set given has {len(items)} {split} images, the published set of {num_classes} categories {published}"
            problems.append(Problem("count", "", text, warning=True))
    if flat and (published is not None if items is None else any("/" in item.key for item in items)):
        problems.append(Problem("layout", "", "flat names; the published competitions expect class folders", warning=True))
    return jobs, problems


def _names_alone(contents: Contents, published: int | None, split: str, num_classes: int) -> list[Problem]:
    """Names and numbers where no images are at hand."""
    problems = []
    if not contents.maps:
        problems.append(Problem("count", "", "there are no label maps in it; expected one PNG for each image, <class>/<stem>.png"))
    if published is None:
        return problems
    for name in contents.maps:
        if not _NAME.fullmatch(name):
            problems.append(Problem("names", name, "expected a name like n01443537/ILSVRC2012_val_00000236.png"))
    if len(contents.maps) != published:
        text = f"found {len(contents.maps)} label maps; expected {published}, the {split} images of ImageNet-S-{num_classes}"
        problems.append(Problem("count", "", text))
    folders = {posixpath.dirname(name) for name in contents.maps} - {""}
    if folders and len(folders) != num_classes:
        problems.append(Problem("count", "", f"found {len(folders)} class folders; expected {num_classes}"))
    stems = Counter(posixpath.basename(name) for name in contents.maps)
    for name in contents.maps:
        if stems[posixpath.basename(name)] > 1:
            problems.append(Problem("duplicate", name, "this image has a map in more than one class folder"))
    return problems


def _against_images(contents: Contents, items: Sequence[ImageItem], flat: bool, split: str) -> tuple[list[MapJob], list[Problem]]:
    """Maps that belong to an image, and a problem for each that is missing, lies in another folder, or belongs to none."""
    problems, jobs = [], []
    wanted: dict[str, ImageItem] = {}
    for item in items:
        key = map_name(item.key, flat)
        if key in wanted and flat:
            problems.append(Problem("layout", key, f"flat names, but {split} has several images of this name; expected class folders"))
        elif key in wanted:
            raise LussError(f"{item.path} and {wanted[key].path}: both would have the map {key}; rename one of them")
        wanted[key] = item
    places = defaultdict(list)
    for name in contents.maps:
        if name not in wanted:
            places[posixpath.basename(name)].append(name)
    for key, item in wanted.items():
        if key in contents.maps:
            jobs.append(MapJob(contents.maps[key], key, item.path, posixpath.dirname(item.key)))
            continue
        elsewhere = places.pop(posixpath.basename(key), None)
        if elsewhere:
            name = elsewhere.pop()
            text = f"expected as {key}: about 13 % of the images of ImageNet-S lie in another folder than in ImageNet"
            problems.append(Problem("folder", name, text))
            problems += [Problem("extra", other, f"belongs to no image of {split}") for other in elsewhere]
            jobs.append(MapJob(contents.maps[name], name, item.path, posixpath.dirname(item.key)))
        else:
            problems.append(Problem("missing", key, "no such label map in the archive"))
    problems += [Problem("extra", name, f"belongs to no image of {split}") for names in places.values() for name in names]
    return jobs, problems


def map_name(key: str, flat: bool) -> str:
    """Name in the archive of the map of an image's key."""
    name = os.path.splitext(key)[0] + ".png"
    return posixpath.basename(name) if flat else name
