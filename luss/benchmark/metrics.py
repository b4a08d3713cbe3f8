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


def compute_metrics(table: CountTable, num_classes: int, *, single: bool = False) -> dict:
    """All metrics of a set of images whose predictions carry class ids.

    Args:
        table: counts with predictions in class ids. Ids above `num_classes` count in no area (but as foreground for FMeasure), as in the published
            evaluators; callers that want them refused look before.
        num_classes: K.
        single: add up image by image and divide in float32, as the published evaluators do; differs by some 1e-7, depends on the order of images.

    Returns:
        Percentages under the published names: Acc (share of images whose largest predicted class is in the image), mIoU and mBIoU (boundary) as
        means over classes 0..K where a class never seen counts 0, FMeasure (foreground, mean over images), S MS ML L and BS BMS BML BL (mIoU over
        objects by size, None where no object has this size), and IoUs, a list of K + 1.
    """
    if num_classes < 1:
        raise ValueError(f"num_classes={num_classes}: expected at least 1")
    everything = np.ones(len(table.rows), bool)
    ious, _ = _ious(table, everything, _WHOLE, num_classes, single)
    boundary_ious, _ = _ious(table, everything, _BOUNDARY, num_classes, single)
    result = {
        "Acc": 100 * _accuracy(table, num_classes),
        "mIoU": 100 * float(ious.mean()),
        "mBIoU": 100 * float(boundary_ious.mean()),
        "FMeasure": 100 * _f_measure(table, single),
    }
    result.update({name: found["value"] for name, found in size_metrics(table, num_classes, single=single).items()})
    result["IoUs"] = (100 * ious.astype(np.float64)).tolist()
    return result


def size_metrics(table: CountTable, num_classes: int, *, single: bool = False) -> dict[str, dict]:
    """S MS ML L BS BMS BML BL, each as {"value", "old", "classes"}.

    "value" is the mean over the `classes` that occur in this size, None where there are none. "old" is the convention of before March 2022, in which
    a class without an object of the size counts 0: value * classes / (K + 1), 0 where there are none. Published tables follow either.
    """
    sizes = _object_sizes(table, num_classes)
    result = {}
    for prefix, columns in (("", _WHOLE), ("B", _BOUNDARY)):
        for number, name in enumerate(SIZES):
            ious = _size_ious(table, sizes, number, columns, num_classes, single)
            value = 100 * float(ious.mean()) if len(ious) else None
            result[prefix + name] = {"value": value, "old": (value or 0.0) * len(ious) / (num_classes + 1), "classes": len(ious)}
    return result


def extra_metrics(table: CountTable, num_classes: int) -> dict[str, float]:
    """Percentages that the published evaluators do not report, over valid pixels and classes 0..K.

    "pixel_accuracy"; "class_accuracy", the mean share of a class's pixels found; "frequency_weighted_iou", IoUs weighted by true area;
    "miou_present" and "mbiou_present", means over the classes that occur in the ground truth only.
    """
    everything = np.ones(len(table.rows), bool)
    ious, true = _ious(table, everything, _WHOLE, num_classes)
    boundary_ious, boundary_true = _ious(table, everything, _BOUNDARY, num_classes)
    same = table.rows[table.rows[:, PRED] == table.rows[:, GT]]
    found = _sum_by(same[:, GT], same[:, PIXELS], num_classes + 1)
    area = max(1, int(true.sum()))
    return {
        "pixel_accuracy": 100 * int(found.sum()) / area,
        "class_accuracy": 100 * _mean((found / np.maximum(true, 1))[true > 0]),
        "frequency_weighted_iou": 100 * math.fsum(ious * true) / area,
        "miou_present": 100 * _mean(ious[true > 0]),
        "mbiou_present": 100 * _mean(boundary_ious[boundary_true > 0]),
    }


def confusion(table: CountTable, num_classes: int) -> np.ndarray:
    """Valid pixels of each (true, predicted) pair of ids that occurs; (n, 3) int64: true class 0..K, predicted id, pixels, sorted."""
    keys, place = np.unique(table.rows[:, GT] * (MAX_ID + 1) + table.rows[:, PRED], return_inverse=True)
    keep = keys // (MAX_ID + 1) <= num_classes
    pixels = _sum_by(place, table.rows[:, PIXELS], len(keys))
    return np.stack([keys // (MAX_ID + 1), keys % (MAX_ID + 1), pixels], axis=1)[keep]


def iou(common: np.ndarray, predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Intersection over union element by element; float64 of integer areas, float32 of float32; 0 where both areas are empty."""
    return common / (predicted + true - common + 1e-10)


def _ious(
    table: CountTable, chosen: np.ndarray, columns: tuple[int, int, int], num_classes: int, single: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """IoU and true area of classes 0..K over the chosen rows."""
    image, rows = table.image[chosen], table.rows[chosen]
    same = rows[:, PRED] == rows[:, GT]
    areas = []
    for column, values, kept in ((PRED, columns[0], slice(None)), (GT, columns[1], slice(None)), (GT, columns[2], same)):
        ids, pixels = rows[kept, column], rows[kept, values]
        areas.append(_sum_single(image[kept], ids, pixels, num_classes + 1) if single else _sum_by(ids, pixels, num_classes + 1))
    predicted, true, common = areas
    return iou(common, predicted, true), true


def _sum_by(ids: np.ndarray, values: np.ndarray, size: int) -> np.ndarray:
    """int64 sum of `values` for each id below `size`; other ids are left out."""
    keep = ids < size
    sums = np.zeros(size, np.int64)
    np.add.at(sums, ids[keep], values[keep])
    return sums


def _sum_single(image: np.ndarray, ids: np.ndarray, values: np.ndarray, size: int) -> np.ndarray:
    """Like `_sum_by` in float32: exact within an image, then added image by image."""
    keys, place = np.unique(image * (MAX_ID + 1) + ids, return_inverse=True)
    sums = np.zeros(size, np.float32)
    ids = keys % (MAX_ID + 1)
    keep = ids < size
    np.add.at(sums, ids[keep], _sum_by(place, values, len(keys))[keep].astype(np.float32))  # one after another, in the order of images
    return sums


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else 0.0


def _f_measure(table: CountTable, single: bool = False) -> float:
    """Mean over images of F with beta^2 = 0.3, foreground against background; 0 for an image without common foreground."""
    pred, gt = table.rows[:, PRED] > 0, table.rows[:, GT] > 0
    predicted, true, common = (_sum_by(table.image[chosen], table.rows[chosen, PIXELS], table.images) for chosen in (pred, gt, pred & gt))
    precision = common / (predicted + 1e-20)
    recall = common / (true + 1e-20)
    if single:
        precision, recall = precision.astype(np.float32), recall.astype(np.float32)
        return float(np.mean(1.3 * precision * recall / (0.3 * precision + recall + 1e-20)))
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


def _size_ious(table: CountTable, sizes: np.ndarray, number: int, columns: tuple[int, int, int], num_classes: int, single: bool) -> np.ndarray:
    """IoUs over pixels of objects of one size and of class 0 in the images that have such an object, of the classes with true area there."""
    chosen = sizes == number
    has_size = np.zeros(table.images, bool)
    has_size[table.image[chosen]] = True
    chosen |= (table.rows[:, GT] == 0) & has_size[table.image]
    ious, true = _ious(table, chosen, columns, num_classes, single)
    return ious[true > 0]
