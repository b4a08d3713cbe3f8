"""The benchmark's metrics (spec/pass.md 10.3) from joint counts: int64 sums, float64 ratios, all in percent.

IoUs are taken over the whole set of images, not image by image. Class 0 is a class like any other, except for Acc and for the sizes.
"""

from __future__ import annotations

import math

import numpy as np

from luss.benchmark.counts import BOTH_BOUNDARY, GT, GT_BOUNDARY, PIXELS, PRED, PRED_BOUNDARY, CountTable
from luss.benchmark.label_map import MAX_ID

SCALARS = ("Acc", "mIoU", "mBIoU", "FMeasure", "S", "MS", "ML", "L", "BS", "BMS", "BML", "BL")
SIZES = ("S", "MS", "ML", "L")
SIZE_LIMITS = (5, 25, 50)  # percent of the valid pixels, inclusive; above the last is L

_WHOLE = (PIXELS, PIXELS, PIXELS)  # columns with the predicted area, the true area, the common area
_BOUNDARY = (PRED_BOUNDARY, GT_BOUNDARY, BOTH_BOUNDARY)


def compute_metrics(table: CountTable, num_classes: int) -> dict:
    """All metrics of a set of images whose predictions carry class ids.

    Args:
        table: counts with predictions in class ids. Ids above `num_classes` count in no area (but as foreground for FMeasure), as in the published
            evaluators; callers that want them refused look before.
        num_classes: K.

    Returns:
        Percentages under the published names: Acc (share of images whose largest predicted class is in the image), mIoU and mBIoU (boundary) as
        means over classes 0..K where a class never seen counts 0, FMeasure (foreground, mean over images), S MS ML L and BS BMS BML BL (mIoU over
        objects by size, None where no object has this size), and IoUs, a list of K + 1.
    """
    if num_classes < 1:
        raise ValueError(f"num_classes={num_classes}: expected at least 1")
    everything = np.ones(len(table.rows), bool)
    ious, _ = _ious(table, everything, _WHOLE, num_classes)
    boundary_ious, _ = _ious(table, everything, _BOUNDARY, num_classes)
    result = {
        "Acc": 100 * _accuracy(table, num_classes),
        "mIoU": 100 * float(ious.mean()),
        "mBIoU": 100 * float(boundary_ious.mean()),
        "FMeasure": 100 * _f_measure(table),
    }
    sizes = _object_sizes(table, num_classes)
    for prefix, columns in (("", _WHOLE), ("B", _BOUNDARY)):
        for number, name in enumerate(SIZES):
            result[prefix + name] = _size_miou(table, sizes, number, columns, num_classes)
    result["IoUs"] = (100 * ious).tolist()
    return result


def iou(common: np.ndarray, predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Intersection over union of integer areas, element by element, float64; 0 where both areas are empty."""
    return common / (predicted + true - common + 1e-10)


def _ious(table: CountTable, chosen: np.ndarray, columns: tuple[int, int, int], num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """IoU and true area of classes 0..K over the chosen rows."""
    rows = table.rows[chosen]
    pred, gt = rows[:, PRED], rows[:, GT]
    predicted = _sum_by(pred, rows[:, columns[0]], num_classes + 1)
    true = _sum_by(gt, rows[:, columns[1]], num_classes + 1)
    same = pred == gt
    common = _sum_by(pred[same], rows[same, columns[2]], num_classes + 1)
    return iou(common, predicted, true), true


def _sum_by(ids: np.ndarray, values: np.ndarray, size: int) -> np.ndarray:
    """int64 sum of `values` for each id below `size`; other ids are left out."""
    keep = ids < size
    sums = np.zeros(size, np.int64)
    np.add.at(sums, ids[keep], values[keep])
    return sums


def _f_measure(table: CountTable) -> float:
    """Mean over images of F with beta^2 = 0.3, foreground against background; 0 for an image without common foreground."""
    pred, gt = table.rows[:, PRED] > 0, table.rows[:, GT] > 0
    predicted, true, common = (_sum_by(table.image[chosen], table.rows[chosen, PIXELS], table.images) for chosen in (pred, gt, pred & gt))
    precision = common / (predicted + 1e-20)
    recall = common / (true + 1e-20)
    return math.fsum(1.3 * precision * recall / (0.3 * precision + recall + 1e-20)) / table.images  # fsum: the order of images does not matter


def _accuracy(table: CountTable, num_classes: int) -> float:
    """Share of images where the class 1..K with the largest predicted area, the lowest of equals, occurs in the ground truth."""
    pred = table.rows[:, PRED]
    keep = (pred >= 1) & (pred <= num_classes)
    keys, place = np.unique(table.image[keep] * (MAX_ID + 1) + pred[keep], return_inverse=True)
    area = _sum_by(place, table.rows[keep, PIXELS], len(keys))
    image = keys // (MAX_ID + 1)
    order = np.lexsort((keys, -area, image))
    first = order[np.unique(image[order], return_index=True)[1]]
    present = table.image * (MAX_ID + 1) + table.rows[:, GT]
    return int(np.isin(keys[first], present).sum()) / table.images


def _object_sizes(table: CountTable, num_classes: int) -> np.ndarray:
    """For each row the size (0..3) of its true class in its image, all objects of a class together; -1 for class 0 and ids above K."""
    gt, pixels = table.rows[:, GT], table.rows[:, PIXELS]
    valid = _sum_by(table.image, pixels, table.images)
    keys, place = np.unique(table.image * (MAX_ID + 1) + gt, return_inverse=True)
    area = _sum_by(place, pixels, len(keys))
    percent = -(-100 * area // valid[keys // (MAX_ID + 1)])  # ceil in integers
    size = np.searchsorted(SIZE_LIMITS, percent, side="left")[place]
    size[(gt == 0) | (gt > num_classes)] = -1
    return size


def _size_miou(table: CountTable, sizes: np.ndarray, number: int, columns: tuple[int, int, int], num_classes: int) -> float | None:
    """Mean IoU in percent over pixels of objects of one size and of class 0 in the images that have such an object; classes with true area only."""
    chosen = sizes == number
    has_size = np.zeros(table.images, bool)
    has_size[table.image[chosen]] = True
    chosen |= (table.rows[:, GT] == 0) & has_size[table.image]
    ious, true = _ious(table, chosen, columns, num_classes)
    present = true > 0
    return 100 * float(ious[present].mean()) if present.any() else None
