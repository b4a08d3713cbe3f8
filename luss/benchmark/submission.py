"""Build a submission zip (spec/benchmark.md 4.5): one PNG for each test image, method.txt, and match.json where the maps hold generated ids.

The same maps and texts give the same bytes: sorted names, fixed dates, nothing compressed twice.
"""

from __future__ import annotations

import functools
import os
import stat
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Callable

from engine.data.folder import ImageItem
from engine.runtime.errors import LussError
from engine.storage.atomic import atomic_file
from luss.benchmark.folders import map_in_order
from luss.benchmark.label_map import decode_label_map, encode_label_map
from luss.benchmark.submission_archive import Problem
from luss.benchmark.submission_map import Allowed, image_size, read_content, wrong_ids
from luss.benchmark.submission_names import map_name
from luss.benchmark.submission_texts import MATCH_FILE, METHOD_FILE, MethodText, match_bytes

_DATE = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip can hold
_SHOWN = 50  # problems written out in the message


@dataclass(frozen=True)
class SubmissionReport:
    """What was built."""

    path: str
    images: int
    reencoded: int  # maps that were no plain 8-bit RGB, written anew with the same ids
    passed_over: int  # PNGs below the folder that belong to no image
    size: int  # bytes


class SubmissionRefused(LussError):
    """Label maps that cannot be submitted; `problems` holds all of them, the message the first."""

    def __init__(self, folder: str, problems: Sequence[Problem]):
        self.folder, self.problems = folder, list(problems)
        lines = [problem.line for problem in self.problems[:_SHOWN]]
        if len(self.problems) > _SHOWN:
            lines.append(f"and {len(self.problems) - _SHOWN} more")
        count = "1 problem" if len(self.problems) == 1 else f"{len(self.problems)} problems"
        super().__init__(f"{folder}: {count}, so no submission was written:\n  " + "\n  ".join(lines))

    def __reduce__(self):
        return SubmissionRefused, (self.folder, self.problems)


@dataclass(frozen=True)
class _Source:
    """One map to go in: where it lies, its image, and its name in the archive."""

    path: str
    image: str
    name: str


def build_submission(
    pred_dir: str | os.PathLike,
    out_zip: str | os.PathLike,
    *,
    test_images: Sequence[ImageItem],
    num_classes: int,
    match: Mapping[int, int] | None = None,
    method: MethodText,
    flat: bool = False,
    workers: int = 0,
    progress: Callable[[int, int], object] | None = None,
) -> SubmissionReport:
    """Check the label maps of all test images and write them as one zip; it appears complete or not at all.

    Args:
        pred_dir: holds <class>/<stem>.png, or <stem>.png without class folders.
        out_zip: its folder must exist.
        test_images: those of the split, as `list_images(root, split).items`.
        num_classes: K.
        match: {generated id: class id}, written as match.json; the maps then hold these ids and 0. None = they hold class ids.
        flat: names without class folders.
        workers: processes; 0 = this one.
        progress: called with (done, total) for each map.

    Raises:
        SubmissionRefused: maps that are missing, damaged, of another size than their image, or with ids that mean nothing; one line each.
        LussError: no images, two images of one name, a match or method text that is not valid, or a zip that cannot be written.
    """
    folder = os.fspath(pred_dir)
    texts = {METHOD_FILE: method.text().encode()}
    allowed: Allowed = num_classes
    if match is not None:
        wrong = [f"{cluster}: {label}" for cluster, label in match.items() if not (cluster >= 0 and 0 <= label <= num_classes)]
        if wrong or match.get(0, 0) != 0:
            raise LussError(f"match: found {', '.join(wrong[:5]) or '0: ' + str(match[0])}; expected class ids from 0 to {num_classes}, and 0 for 0")
        texts[MATCH_FILE] = match_bytes(match)
        allowed = frozenset(match) | {0}
    sources = _sources(folder, test_images, flat)
    names = sorted([*texts, *sources])
    jobs = [sources[name] for name in names if name in sources]
    problems: list[Problem] = []
    reencoded = 0
    with atomic_file(out_zip) as stream:
        with zipfile.ZipFile(stream, "w") as archive:
            results = map_in_order(functools.partial(_prepare, allowed=allowed), jobs, workers, progress)
            for name in names:
                if name in texts:
                    archive.writestr(_entry(name), texts[name])
                    continue
                data, problem, changed = next(results)
                reencoded += changed
                if problem is not None:
                    problems.append(problem)
                elif not problems:
                    archive.writestr(_entry(name), data)
            next(results, None)  # the last report of progress comes after the last result was taken
        if problems:
            raise SubmissionRefused(folder, problems)
        size = stream.tell()
    used = {os.path.realpath(source.path) for source in jobs}
    extra = sum(os.path.realpath(path) not in used for path in _pngs(folder))
    return SubmissionReport(os.fspath(out_zip), len(jobs), reencoded, extra, size)


def _sources(folder: str, images: Sequence[ImageItem], flat: bool) -> dict[str, _Source]:
    """{name in the archive: map}, whether or not the files are there."""
    if not images:
        raise LussError(f"{folder}: there are no test images that label maps could belong to")
    if not os.path.isdir(folder):
        raise LussError(f"{folder}: no such folder; expected label maps, <class>/<stem>.png for each test image")
    class_folders = any(os.path.isfile(os.path.join(folder, map_name(item.key, False))) for item in images)
    sources: dict[str, _Source] = {}
    for item in images:
        name = map_name(item.key, flat)
        if name in sources:
            raise LussError(f"{item.path} and {sources[name].image}: both would have the map {name}; rename one of them, or leave out --flat")
        sources[name] = _Source(os.path.join(folder, map_name(item.key, not class_folders)), item.path, name)
    if not class_folders and len({source.path for source in sources.values()}) < len(sources):
        raise LussError(f"{folder}: several test images have the same name in different class folders; expected label maps in class folders")
    return sources


def _prepare(source: _Source, allowed: Allowed) -> tuple[bytes | None, Problem | None, bool]:
    """Job of a worker: (bytes to store, what forbids it, whether the bytes are new)."""
    name = source.path
    try:
        with open(name, "rb") as stream:
            data = stream.read()
    except FileNotFoundError:
        return None, Problem("missing", name, f"no such file; expected the label map of {source.image}"), False
    except OSError as error:
        return None, Problem("missing", name, f"cannot be read ({error.strerror})"), False
    try:
        content = read_content(data, image_size(source.image))
    except LussError as error:
        return None, Problem("map", name, str(error)), False
    wrong = wrong_ids(content.ids, allowed)
    if wrong:
        return None, Problem("ids", name, wrong), False
    if content.header.published and not content.blue:
        return data, None, False
    return encode_label_map(decode_label_map(data, name)), None, True


def _entry(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, _DATE)
    info.create_system = 3  # Unix on every system, so that the bytes do not depend on it
    info.external_attr = (stat.S_IFREG | 0o644) << 16
    info.compress_type = zipfile.ZIP_STORED  # a PNG is compressed already
    return info


def _pngs(folder: str) -> list[str]:
    return [os.path.join(place, name) for place, _, names in os.walk(folder) for name in names if name.endswith(".png")]
