"""Counts of a whole split in one file, from which any match, scheme or subset is scored again without the images.

The file is one of `engine.storage.arrays`: a zip of .npy entries (`numpy.load` opens it), every byte under a checksum, written atomically, no pickle.
Predicted ids are those of the label maps, before any renaming. An image takes 20 bytes for each pair of ids that meet in it, plus its name.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from engine.runtime.errors import LussError
from engine.storage.arrays import load_arrays, save_arrays
from engine.storage.atomic import PathLike
from luss.benchmark.counts import BOTH_BOUNDARY, GT, GT_BOUNDARY, PIXELS, PRED, PRED_BOUNDARY, CountTable, ImageCounts

FORMAT = "luss-counts 1"
_ARRAYS = {"ids": (np.uint16, 2), "pixels": (np.uint32, 4), "row_end": (np.int64, 0), "ignored_id": (np.uint16, 0)}
_ARRAYS.update({"ignored_pixels": (np.uint32, 0), "ignored_end": (np.int64, 0), "shapes": (np.int32, 2), "names": (np.uint8, 0)})
_REMEDY = "make it again with luss evaluate --save-counts"


@dataclass(frozen=True)
class StoredCounts:
    """Counts of n images.

    Attributes:
        names: keys of the images, "<class>/<stem>.png", distinct.
        table: all rows under each other, numbered in the order of `names`.
        ignored_image: (m,) int64, ascending: the image of each row of `ignored`.
        ignored: (m, 2) int64, predicted id and pixels under ignored pixels (see ImageCounts).
        shapes: (n, 2) int64, height and width.
        record: what the counts are of: its options and provenance, see `save_counts`.
    """

    names: tuple[str, ...]
    table: CountTable
    ignored_image: np.ndarray
    ignored: np.ndarray
    shapes: np.ndarray
    record: dict

    @functools.cached_property
    def counts(self) -> list[ImageCounts]:
        """One ImageCounts for each name; its arrays are views of the common ones."""
        positions = np.arange(len(self.names) + 1)
        rows = np.searchsorted(self.table.image, positions).tolist()
        ignored = np.searchsorted(self.ignored_image, positions).tolist()
        return [
            ImageCounts(self.table.rows[rows[i] : rows[i + 1]], self.ignored[ignored[i] : ignored[i + 1]], (int(height), int(width)))
            for i, (height, width) in enumerate(self.shapes.tolist())
        ]

    def select(self, positions: Sequence[int]) -> StoredCounts:
        """The counts of some images, in the order given, each at most once; at least one."""
        positions = np.asarray(positions, np.int64)
        if len(positions) == 0 or len(np.unique(positions)) != len(positions):
            raise ValueError("positions: expected distinct positions of images, at least one")
        names = tuple(self.names[position] for position in positions.tolist())
        image, kept = _select(self.table.image, positions, len(self.names))
        ignored_image, ignored_kept = _select(self.ignored_image, positions, len(self.names))
        table = CountTable(image, self.table.rows[kept], len(names))
        return StoredCounts(names, table, ignored_image, self.ignored[ignored_kept], self.shapes[positions], self.record)


def pack_counts(names: Sequence[str], counts: Sequence[ImageCounts], record: dict) -> StoredCounts:
    """Counts of single images as StoredCounts; at least one image, distinct names."""
    names = tuple(names)
    if not names or len(names) != len(counts) or len(set(names)) != len(names):
        raise ValueError(f"names, counts: expected as many distinct names as counts, at least one; found {len(set(names))} and {len(counts)}")
    number = np.arange(len(names), dtype=np.int64)
    image = np.repeat(number, [len(one.rows) for one in counts])
    ignored_image = np.repeat(number, [len(one.ignored) for one in counts])
    table = CountTable(image, np.concatenate([one.rows for one in counts]), len(names))
    shapes = np.array([one.shape for one in counts], np.int64)
    return StoredCounts(names, table, ignored_image, np.concatenate([one.ignored for one in counts]), shapes, dict(record))


def save_counts(path: PathLike, names: Sequence[str], counts: Sequence[ImageCounts], record: dict) -> None:
    """Atomically write the counts of images whose predictions carry the ids of the label maps.

    Args:
        names: key of each image, "<class>/<stem>.png".
        record: anything with a JSON form. `luss.benchmark.evaluate` writes "num_classes", "num_clusters", "scheme" (or "given"), "match" (as in
            match.json; None = a scheme's, still open), "boundary", "compat", "allow_unknown_ids", "threshold", "skip_bad", "bad" ({name: what was
            wrong with the prediction, which counts as empty}), "luss" (version), "predictions", "data", "split", "class_folders", "checksums".

    Raises:
        ValueError: names and counts do not fit each other, or the record has no JSON form.
        LussError: the disk is full or the folder not writable.
    """
    save_stored(path, pack_counts(names, counts, record))


def save_stored(path: PathLike, stored: StoredCounts) -> None:
    """`save_counts` for counts that are packed already."""
    rows, images = stored.table.rows, np.arange(1, len(stored.names) + 1)
    arrays = {
        "ids": rows[:, [PRED, GT]],
        "pixels": rows[:, [PIXELS, PRED_BOUNDARY, GT_BOUNDARY, BOTH_BOUNDARY]],
        "row_end": np.searchsorted(stored.table.image, images),
        "ignored_id": stored.ignored[:, 0],
        "ignored_pixels": stored.ignored[:, 1],
        "ignored_end": np.searchsorted(stored.ignored_image, images),
        "shapes": stored.shapes,
        "names": np.frombuffer(json.dumps(stored.names).encode(), np.uint8),
    }
    ready = {name: np.ascontiguousarray(value, _ARRAYS[name][0]) for name, value in arrays.items()}
    save_arrays(path, ready, {"format": FORMAT, "record": stored.record})


def load_counts(path: PathLike) -> StoredCounts:
    """Read what `save_counts` wrote; 12,419 images take some ten milliseconds.

    Raises:
        LussError: the file is absent, damaged, or holds something else.
    """
    arrays, meta = load_arrays(path, remedy=_REMEDY)
    if not isinstance(meta, dict) or meta.get("format") != FORMAT or not isinstance(meta.get("record"), dict):
        found = meta.get("format", "no format") if isinstance(meta, dict) else type(meta).__name__
        raise LussError(
            f"{path}: holds no counts of an evaluation (found {found!r}, expected {FORMAT!r}): give a file of luss evaluate --save-counts"
        )
    for name, (dtype, columns) in _ARRAYS.items():
        array = arrays.get(name)
        if array is None or array.dtype != dtype or array.ndim != (2 if columns else 1) or (columns and array.shape[1] != columns):
            found = "nothing" if array is None else f"{array.dtype} {array.shape}"
            raise LussError(f"{path}: the array {name} is {found}; expected {np.dtype(dtype)}, {columns or 1} columns: {_REMEDY}")
    names = tuple(json.loads(arrays["names"].tobytes()))
    row_end, ignored_end = arrays["row_end"], arrays["ignored_end"]
    if not (
        len(names) == len(set(names)) == len(row_end) == len(ignored_end) == len(arrays["shapes"]) > 0
        and len(arrays["ids"]) == len(arrays["pixels"])
        and len(arrays["ignored_id"]) == len(arrays["ignored_pixels"])
        and _ascends_to(row_end, len(arrays["ids"]))
        and _ascends_to(ignored_end, len(arrays["ignored_id"]))
    ):
        raise LussError(f"{path}: its arrays do not fit each other ({len(names)} names, {len(row_end)} images): {_REMEDY}")
    number = np.arange(len(names), dtype=np.int64)
    rows = np.concatenate([arrays["ids"].astype(np.int64), arrays["pixels"].astype(np.int64)], axis=1)
    ignored = np.stack([arrays["ignored_id"].astype(np.int64), arrays["ignored_pixels"].astype(np.int64)], axis=1)
    image, ignored_image = (np.repeat(number, np.diff(end, prepend=0)) for end in (row_end, ignored_end))
    return StoredCounts(names, CountTable(image, rows, len(names)), ignored_image, ignored, arrays["shapes"].astype(np.int64), meta["record"])


def merge_counts(paths: Iterable[PathLike], out: PathLike) -> StoredCounts:
    """`join_counts`, written to `out`; returns its content."""
    merged = join_counts(paths)
    save_stored(out, merged)
    return merged


def join_counts(paths: Iterable[PathLike]) -> StoredCounts:
    """The counts of files that hold different images of one evaluation (shards); images in the order of their names.

    Raises:
        LussError: an image stands in two files, or they are of different evaluations; names both files.
    """
    paths = list(paths)
    if not paths:
        raise ValueError("paths: expected at least one file of counts")
    parts = [load_counts(path) for path in paths]
    first = parts[0]
    seen: dict[str, PathLike] = {}
    for path, part in zip(paths, parts):
        for key in sorted((first.record.keys() | part.record.keys()) - {"bad"}):
            if first.record.get(key) != part.record.get(key):
                raise LussError(
                    f"{path}: its {key} is {part.record.get(key)!r}, but that of {paths[0]} is {first.record.get(key)!r}; "
                    "expected parts of one evaluation: count them again with the same options"
                )
        for name in part.names:
            if name in seen:
                raise LussError(f"{path}: the image {name} stands in {seen[name]} too; expected each image in one part: leave one of the files out")
            seen[name] = path
    names = [name for part in parts for name in part.names]
    order = sorted(range(len(names)), key=lambda position: names[position].split("/"))
    counts = [one for part in parts for one in part.counts]
    bad = {name: problem for part in parts for name, problem in part.record.get("bad", {}).items()}
    record = {**first.record, "bad": {names[position]: bad[names[position]] for position in order if names[position] in bad}}
    return pack_counts([names[position] for position in order], [counts[position] for position in order], record)


def _select(image: np.ndarray, positions: np.ndarray, images: int) -> tuple[np.ndarray, np.ndarray]:
    """New image number and old place of the rows of some images, in their order."""
    bounds = np.searchsorted(image, np.arange(images + 1))
    start, lengths = bounds[positions], (bounds[1:] - bounds[:-1])[positions]
    new = np.repeat(np.arange(len(positions), dtype=np.int64), lengths)
    return new, np.arange(len(new)) + np.repeat(start - np.cumsum(lengths) + lengths, lengths)


def _ascends_to(ends: np.ndarray, total: int) -> bool:
    return bool(len(ends) and ends[0] >= 0 and (np.diff(ends) >= 0).all() and ends[-1] == total)
