"""Check a data set in ImageNet-S layout: folders, counts, pairs of image and mask, and the content of every file."""

from __future__ import annotations

import dataclasses
import functools
import io
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

import numpy as np
from PIL import Image

from engine.data.decode import UnreadableImage, decode_image
from engine.data.folder import MASK_FOLDER
from engine.runtime.errors import LussError
from luss.benchmark.categories import SPLIT_SIZES, nearest_set
from luss.benchmark.folders import map_in_order
from luss.benchmark.label_map import IGNORE, decode_label_map
from luss.benchmark.layout import Problem, SplitFiles, class_ids, name_problems, recognise, scan_layout

_KINDS = {0: "grey", 2: "RGB", 3: "palette", 4: "grey + alpha", 6: "RGBA"}  # colour types of PNG
_STRANGE_SHARE = 0.5  # of a split's masks without the category of their folder, above which they are taken for those of another set

Job = tuple  # (split, class folder, image or None, mask or None)


@dataclass(frozen=True)
class SplitSummary:
    """One row of the summary."""

    split: str
    classes: int
    images: int
    expected: int | None  # images, where the set is a published one
    masks: int | None  # None: there is no folder of masks
    problems: int


@dataclass(frozen=True)
class Verification:
    """What a check found; without problems the data set is sound as far as it was looked at."""

    root: str
    num_classes: int  # K, ids 1..K
    published: int | None  # 50, 300 or 919
    note: str  # what to know about the recognition of the set; may be empty
    decoded: bool  # whether files were opened
    splits: tuple[SplitSummary, ...]
    problems: tuple[Problem, ...]

    def counts(self) -> dict[str, int]:
        """{kind of problem: how many}, most frequent first."""
        return dict(Counter(problem.kind for problem in self.problems).most_common())

    def as_dict(self) -> dict:
        """For JSON."""
        return {
            "root": self.root,
            "set": self.published,
            "classes": self.num_classes,
            "note": self.note,
            "decoded": self.decoded,
            "splits": [dataclasses.asdict(row) for row in self.splits],
            "counts": self.counts(),
            "problems": [dataclasses.asdict(problem) for problem in self.problems],
        }


def verify_layout(
    root: str,
    num_classes: int | None = None,
    *,
    fast: bool = False,
    workers: int = 0,
    progress: Callable[[int, int], object] | None = None,
) -> Verification:
    """Check the data set below `root`.

    Args:
        num_classes: 50, 300 or 919: the published set that it should be. None: recognised by its class folders; where they are those of no
            published set, counts are held against nothing and ids against the number of class folders.
        fast: look at names only and open no file.
        workers: processes that decode; 0 = this one. Spawned: a script that calls this needs the usual `if __name__ == "__main__"`.
        progress: called with (done, total) for each image, or mask without image, that was decoded.

    Raises:
        LussError: there is no data set at `root`, or no such published set. Everything that is wrong with the data is in the result.
    """
    if num_classes is not None and num_classes not in SPLIT_SIZES:
        raise LussError(f"{num_classes}: there is no ImageNet-S with so many categories; expected {', '.join(map(str, SPLIT_SIZES))}")
    splits = scan_layout(root)
    published = num_classes if num_classes is not None else recognise(splits)
    ids = class_ids(splits, published)
    problems = name_problems(splits, published)
    if not fast:
        problems += _content_problems(root, splits, ids, workers, progress)
    rows = tuple(_summary(files, published, problems) for files in splits)
    return Verification(root, len(ids), published, _note(splits, published), not fast, rows, tuple(problems))


def _content_problems(root: str, splits: list[SplitFiles], ids: Mapping[str, int], workers: int, progress) -> list[Problem]:
    """Decode everything."""
    jobs = [(files.split, *pair) for files in splits for pair in files.pairs()]
    found: list[Problem] = []
    masks, strange = Counter(), Counter()
    results = map_in_order(functools.partial(_check_files, root=root, ids=dict(ids)), jobs, workers, progress)
    for (problems, has_own), (split, _, _, mask) in zip(results, jobs):  # results first: their end reports the last progress
        found += problems
        masks[split] += mask is not None
        strange[split] += has_own is False
    for split, number in strange.items():
        if number > _STRANGE_SHARE * masks[split]:
            text = f"{number:,} of {masks[split]:,} masks lack the category of their folder: most likely they belong to another set, with other ids"
            found.append(Problem("masks of another set", split + MASK_FOLDER, text))
    return found


def _check_files(job: Job, root: str, ids: Mapping[str, int]) -> tuple[list[Problem], bool | None]:
    """Problems of one image and its mask; and whether the mask shows the category of its folder (None: not known)."""
    split, name, image, mask = job
    problems: list[Problem] = []
    size = labels = None
    if image is not None:
        try:
            size = decode_image(os.path.join(root, split, name, image)).size
        except UnreadableImage as error:
            problems.append(Problem("unreadable image", f"{split}/{name}/{image}", error.reason))
    if mask is not None:
        place = f"{split}{MASK_FOLDER}/{name}/{mask}"
        labels = _check_mask(root, place, len(ids), problems)
        if labels is not None and size is not None and labels.shape[::-1] != size:
            found = " x ".join(map(str, labels.shape[::-1]))
            problems.append(Problem("size mismatch", place, f"{found} pixels (width x height), but the image has {size[0]} x {size[1]}"))
    has_own = None if labels is None or name not in ids else bool((labels == ids[name]).any())
    return problems, has_own


def _check_mask(root: str, place: str, top: int, problems: list[Problem]) -> np.ndarray | None:
    """Ids of a mask, (H, W) int32, or None where it cannot be read; what is wrong with it is appended to `problems`."""
    try:
        data = Path(root, place).read_bytes()
        labels = decode_label_map(data, name="mask")
    except OSError as error:
        problems.append(Problem("unreadable mask", place, f"cannot be read ({error.strerror})"))
        return None
    except LussError as error:
        problems.append(Problem("unreadable mask", place, str(error).partition(": ")[2].partition(";")[0]))
        return None
    depth, kind = data[24], _KINDS[data[25]]
    if (depth, kind) != (8, "RGB"):
        problems.append(Problem("wrong mode", place, f"{depth}-bit {kind} PNG; expected 8-bit RGB"))
    else:
        with Image.open(io.BytesIO(data), formats=("PNG",)) as picture:
            blue = picture.getchannel("B").getextrema()[1]
        if blue:
            problems.append(Problem("wrong mode", place, f"blue values up to {blue}; expected id = R + 256 G with B = 0: this is no label map"))
    if labels.max() > top:  # the usual mask without ignored pixels is done here
        present = np.flatnonzero(np.bincount(labels.ravel()))
        wrong = present[(present > top) & (present != IGNORE)]
        if len(wrong):
            more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
            numbers = ", ".join(map(str, wrong[:5].tolist()))
            problems.append(Problem("id out of range", place, f"found the id {numbers}{more}; expected 0..{top}, or {IGNORE} for ignore"))
    return labels


def _summary(files: SplitFiles, published: int | None, problems: list[Problem]) -> SplitSummary:
    own = (files.split, files.split + MASK_FOLDER)
    expected = SPLIT_SIZES[published][files.split] if published is not None else None
    number = sum(problem.path.partition("/")[0] in own for problem in problems)
    return SplitSummary(files.split, len(files.images), files.image_count, expected, None if files.masks is None else files.mask_count, number)


def _note(splits: list[SplitFiles], published: int | None) -> str:
    if published is not None:
        return ""
    nearest = nearest_set({name for files in splits for name in files.images})
    if nearest is None:
        return "not a published set: counts are held against nothing"
    num, shared = nearest
    return f"not a published set, but {shared} of the {num} categories of ImageNet-S-{num} are here: add --set {num} to hold it against that set"
