"""Check anybody's submission zip (spec/benchmark.md 4.5, 4.7): names, counts, sizes, ids, modes, texts, and everything a hostile zip can do.

Nothing is extracted to the disk: entries are read one at a time into memory, after their sizes were found to be in order.
"""

from __future__ import annotations

import functools
import os
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Callable

from engine.data.folder import list_images
from engine.runtime.errors import LussError
from luss.benchmark.folders import map_in_order
from luss.benchmark.rules import protocol_named
from luss.benchmark.submission_archive import Archive, Problem, archive_problems, read_entry
from luss.benchmark.submission_map import Allowed, ModeError, SizeError, image_size, read_content, wrong_ids
from luss.benchmark.submission_names import Contents, MapJob, expected_maps, sort_entries
from luss.benchmark.submission_texts import MATCH_FILE, METHOD_FILE, match_problems, method_problems

PARALLEL_FROM = 1000  # maps; below, starting processes takes longer than the work
LEAK_SHARE = 0.95  # of the maps with foreground: so many carry the one id of their folder and no other


def check_submission(
    zip_path: str | os.PathLike,
    *,
    data_root: str | None = None,
    split: str = "test",
    num_classes: int,
    protocol: str | None = None,
    workers: int = -1,
    progress: Callable[[int, int], object] | None = None,
) -> list[Problem]:
    """All that is wrong with a submission, warnings among it; an empty list means valid and unsuspicious.

    Args:
        zip_path: read and never changed.
        data_root: data set with <split>/, whose images give names and sizes; None = the number of the published set's images is all that is known.
        num_classes: K; with a match.json, generated ids are those that it names.
        protocol: unsupervised, distance, semi or free; None = unknown.
        workers: processes; -1 = one per core where there are many maps, 0 = this one.
        progress: called with (done, total) for each map.

    Raises:
        LussError: no such file; or `data_root` has no images of `split`.
    """
    path = os.fspath(zip_path)
    if protocol is not None:
        protocol_named(protocol)
    items = None if data_root is None else list_images(data_root, split).items
    if not os.path.isfile(path):
        raise LussError(f"{path}: no such file; expected the zip of a submission")
    try:
        archive = Archive(path)
    except LussError as error:
        return [Problem("zip", "", str(error)[len(path) + 2 :])]
    with archive:
        return _check(archive, path, items, split, num_classes, protocol, workers, progress)


def _check(archive: Archive, path: str, items, split: str, num_classes: int, protocol: str | None, workers: int, progress) -> list[Problem]:
    entries = archive.infolist()
    problems = archive_problems(entries, os.path.getsize(path))
    whole_is_bad = any(problem.kind == "bomb" for problem in problems)
    contents, found = sort_entries(entries)
    problems += found
    jobs, found = expected_maps(contents, items, split, num_classes)
    problems += found
    if whole_is_bad:
        return problems  # nothing of it is read
    allowed, found = _texts(archive, entries, contents, num_classes, protocol)
    problems += found
    return problems + list(_maps(archive, path, entries, jobs, allowed, workers, progress))


def _texts(archive, entries, contents: Contents, num_classes: int, protocol: str | None) -> tuple[Allowed, list[Problem]]:
    """Ids that the maps may hold (a set; or the largest; or None = any), and what is wrong with method.txt and match.json."""
    problems = []
    allowed: Allowed = num_classes
    texts = {}
    for name in (METHOD_FILE, MATCH_FILE):
        if name in contents.texts:
            try:
                texts[name] = read_entry(archive, entries[contents.texts[name]])
            except LussError as error:
                problems.append(Problem("damage", name, str(error)))
                allowed = None if name == MATCH_FILE else allowed
    if METHOD_FILE in texts:
        errors, warnings = method_problems(texts[METHOD_FILE])
        problems += [Problem("method", METHOD_FILE, text) for text in errors]
        problems += [Problem("method", METHOD_FILE, text, warning=True) for text in warnings]
    elif METHOD_FILE not in contents.texts:
        problems.append(Problem("method", METHOD_FILE, "missing; expected this file of six lines at the archive's root"))
    if MATCH_FILE in texts:
        match, errors = match_problems(texts[MATCH_FILE], num_classes)
        problems += [Problem("match", MATCH_FILE, text) for text in errors]
        allowed = frozenset(match) | {0} if match else None  # the absent 0 has its own line
        if protocol is not None and not protocol_named(protocol).match:
            text = f"the protocol {protocol} takes maps of class ids; with this file the server maps them once more"
            problems.append(Problem("match", MATCH_FILE, text, warning=True))
    return allowed, problems


def _maps(archive, path: str, entries, jobs: list[MapJob], allowed, workers: int, progress) -> Iterator[Problem]:
    """Problems of the maps themselves, in the order of `jobs`, then the warning about folder names."""
    workers = worker_count(workers, len(jobs))
    if workers == 0:
        function = functools.partial(check_map, archive=archive, allowed=allowed)
    else:
        function = functools.partial(_check_map_of, path, allowed=allowed)
    folders: dict[str, Counter] = defaultdict(Counter)  # class folder: how many maps have this one id as foreground, None = several
    for (problems, foreground), job in zip(map_in_order(function, jobs, workers, progress), jobs):
        yield from problems
        if foreground:
            folders[job.folder][foreground[0] if len(foreground) == 1 else None] += 1
    yield from leak_warning(folders)


def worker_count(workers: int, maps: int) -> int:
    """Processes for so many maps; -1 = one per core where that pays."""
    return workers if workers >= 0 else (os.cpu_count() or 1) if maps >= PARALLEL_FROM else 0


def check_map(job: MapJob, archive: Archive, allowed: Allowed) -> tuple[list[Problem], tuple[int, ...]]:
    """Problems of one map, and its distinct ids without 0 (none where it cannot be read)."""
    try:
        size = None if job.image is None else image_size(job.image)
    except LussError as error:
        return [Problem("image", job.name, str(error))], ()
    try:
        data = read_entry(archive, archive.infolist()[job.index])
        content = read_content(data, size)
    except SizeError as error:
        return [Problem("size", job.name, str(error))], ()
    except ModeError as error:
        return [Problem("mode", job.name, str(error))], ()
    except LussError as error:
        return [Problem("damage", job.name, str(error))], ()
    problems = []
    header = content.header
    if not header.published:
        text = f"found a PNG of mode {header.mode}; expected 8-bit RGB, id = R + 256 G"
        problems.append(Problem("mode", job.name, text, warning=header.mode == "8-bit RGBA"))
    if content.blue:
        problems.append(Problem("mode", job.name, "the blue channel is not 0; the evaluator passes over it", warning=True))
    text = wrong_ids(content.ids, allowed)
    if text:
        problems.append(Problem("ids", job.name, text))
    return problems, tuple(value for value in content.ids if value)


_kept_open = functools.lru_cache(maxsize=1)(Archive)  # the zip of a worker process, opened once for all its maps


def _check_map_of(path: str, job: MapJob, allowed) -> tuple[list[Problem], tuple[int, ...]]:
    """`check_map` in a worker process."""
    return check_map(job, _kept_open(path), allowed)


def leak_warning(folders: dict[str, Counter]) -> Iterator[Problem]:
    """A warning where (almost) every map's only foreground id is that of its class folder (spec/benchmark.md 4.7).

    Args:
        folders: {class folder: {id, or None for several: number of maps with this foreground}}.
    """
    common = {name: counts.most_common(1)[0] for name, counts in folders.items() if name and sum(counts.values()) >= 2}
    total = sum(sum(folders[name].values()) for name in common)
    ids = {value for value, _ in common.values()}
    if len(common) < 2 or None in ids or 2 * len(ids) < len(common):
        return  # one id everywhere says nothing about folders
    alike = sum(number for _, number in common.values())
    if alike >= LEAK_SHARE * total:
        yield Problem(
            "leak",
            "",
            f"{alike} of {total} maps in {len(common)} class folders have one single foreground id, the same in the whole folder: it looks as if the "
            "folder's name, which is the image's label, was used; every protocol forbids that",
            warning=True,
        )
