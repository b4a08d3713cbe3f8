"""Sparse joint histograms of prediction and ground truth: all that the metrics and the matching need to know of an image.

They are small (about a kilobyte an image), so a whole split fits in memory and can be matched and scored again without the images. Renaming ids one
to one renames rows and changes no number; see `counts_follow` for many to one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from luss.benchmark.boundary import boundary_mask
from luss.benchmark.label_map import IGNORE, MAX_ID
from luss.benchmark.runs import compact, joint_runs, sparse_bincount

PRED, GT, PIXELS, PRED_BOUNDARY, GT_BOUNDARY, BOTH_BOUNDARY = range(6)  # columns of ImageCounts.rows


@dataclass(frozen=True)
class ImageCounts:
    """Counts of one image; build it with `count_image`.

    Attributes:
        rows: (n, 6) int64, one row for each (predicted, true) pair of ids on valid pixels, sorted by the pair: predicted id, true id, pixels, pixels
            that are boundary in the prediction, in the ground truth, in both. Boundary maps are those of the full frame.
        ignored: (m, 2) int64, predicted id and pixels where the ground truth says ignore. They enter no metric.
        shape: (height, width).
    """

    rows: np.ndarray
    ignored: np.ndarray
    shape: tuple[int, int]

    @property
    def valid(self) -> int:
        """Pixels that are not ignored."""
        return int(self.rows[:, PIXELS].sum())

    def predicted_ids(self) -> np.ndarray:
        """Sorted distinct predicted ids, under ignored pixels too."""
        return np.union1d(self.rows[:, PRED], self.ignored[:, 0])

    def true_ids(self) -> np.ndarray:
        """Sorted distinct true ids without the ignore id."""
        return np.unique(self.rows[:, GT])


@dataclass(frozen=True)
class CountTable:
    """The counts of many images under each other.

    Attributes:
        image: (n,) int64, position of the image each row belongs to, ascending.
        rows: (n, 6) int64 as in ImageCounts.
        images: how many images, also such without a valid pixel.
    """

    image: np.ndarray
    rows: np.ndarray
    images: int


def count_image(pred: np.ndarray, gt: np.ndarray) -> ImageCounts:
    """Joint histogram of two label maps in one pass.

    Args:
        pred, gt: (H, W) integers in [0, 65535], equal shapes; 1000 in `gt` is ignore.
    """
    pred, gt = checked_ids(pred, "pred"), checked_ids(gt, "gt")
    if pred.shape != gt.shape:
        raise ValueError(f"pred, gt: expected equal shapes, found {pred.shape} and {gt.shape}")
    flags = boundary_mask(gt).view(np.uint8)
    flags <<= 1
    flags |= boundary_mask(pred).view(np.uint8)
    starts, lengths = joint_runs(pred, gt, flags)
    pred_ids, row = compact(pred.ravel()[starts])
    gt_ids, column = compact(gt.ravel()[starts])
    row *= len(gt_ids)
    row += column
    row *= 4
    row += flags.ravel()[starts]
    cells, pixels = sparse_bincount(row, 4 * len(pred_ids) * len(gt_ids), lengths)
    pairs, flag = cells >> 2, cells & 3
    new = np.concatenate(([True], pairs[1:] != pairs[:-1]))
    place, pairs = np.cumsum(new) - 1, pairs[new]
    by_flag = np.zeros((len(pairs), 4), np.int64)
    by_flag[place, flag] = pixels
    neither, only_pred, only_gt, both = by_flag.T
    areas = [neither + only_pred + only_gt + both, only_pred + both, only_gt + both, both]
    rows = np.stack([pred_ids[pairs // len(gt_ids)], gt_ids[pairs % len(gt_ids)], *areas], axis=1)
    ignore = rows[:, GT] == IGNORE
    return ImageCounts(rows[~ignore], rows[ignore][:, [PRED, PIXELS]], (int(gt.shape[0]), int(gt.shape[1])))


def rename_predictions(counts: ImageCounts, table: np.ndarray) -> ImageCounts:
    """Counts with every predicted id q replaced by table[q], rows of the same pair added up.

    Boundary counts stay those of the ids before renaming. `counts_follow` tells whether that equals counting the renamed map.

    Args:
        table: new id of each old one, -1 = none, as `luss.benchmark.matching.match_table` makes it.

    Raises:
        ValueError: a predicted id has no entry.
    """
    require_entries(counts.predicted_ids(), table)
    rows = counts.rows.copy()
    rows[:, PRED] = table[rows[:, PRED]]
    ignored = counts.ignored.copy()
    ignored[:, 0] = table[ignored[:, 0]]
    return ImageCounts(_merged(rows, 2), _merged(ignored, 1), counts.shape)


def require_entries(ids: np.ndarray, table: np.ndarray) -> None:
    """ValueError if one of these distinct ids has no entry (-1, or beyond the end) in a lookup table."""
    inside = ids < len(table)
    missing = ids[~inside | (table[np.where(inside, ids, 0)] < 0)]
    if len(missing):
        raise ValueError(f"match: no entry for id {', '.join(map(str, missing[:5].tolist()))}; it has ids up to {len(table) - 1}")


def counts_follow(counts: ImageCounts, table: np.ndarray) -> bool:
    """Whether renaming this image's counts equals counting its renamed map: no two of its ids become one, so that no boundary vanishes."""
    ids = counts.predicted_ids()
    return len(np.unique(table[ids])) == len(ids)


def stack_counts(images: Iterable[ImageCounts]) -> CountTable:
    """One table of all images, numbered in their order."""
    images = list(images)
    if not images:
        raise ValueError("images: expected at least one")
    image = np.repeat(np.arange(len(images), dtype=np.int64), [len(counts.rows) for counts in images])
    return CountTable(image, np.concatenate([counts.rows for counts in images]), len(images))


def checked_ids(ids: np.ndarray, name: str) -> np.ndarray:
    """The map as uint16, the narrowest type that holds every id: the passes over it are bound by memory."""
    ids = np.asarray(ids)
    if ids.ndim != 2 or ids.size == 0 or ids.dtype.kind not in "iu":
        raise ValueError(f"{name}: expected a non-empty (H, W) array of integers, found shape {ids.shape}, {ids.dtype}")
    if ids.dtype != np.uint16:
        low, high = int(ids.min()), int(ids.max())
        if low < 0 or high > MAX_ID:
            raise ValueError(f"{name}: expected ids in [0, {MAX_ID}], found {low}..{high}")
    return np.ascontiguousarray(ids, np.uint16)


def _merged(rows: np.ndarray, keys: int) -> np.ndarray:
    """Rows sorted by their first `keys` columns, those with equal keys added up."""
    ids, place = np.unique(rows[:, :keys], axis=0, return_inverse=True)
    sums = np.zeros((len(ids), rows.shape[1] - keys), np.int64)
    np.add.at(sums, place.ravel(), rows[:, keys:])
    return np.concatenate([ids, sums], axis=1)
