"""What single images contribute to the metrics, or how well each of them was predicted: for resampling, and to find the worst and the best."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from luss.benchmark.counts import BOTH_BOUNDARY, GT, GT_BOUNDARY, PIXELS, PRED, PRED_BOUNDARY, CountTable
from luss.benchmark.label_map import MAX_ID
from luss.benchmark.metrics import iou

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

_WHOLE, _BOUNDARY = (PIXELS, PIXELS, PIXELS), (PRED_BOUNDARY, GT_BOUNDARY, BOTH_BOUNDARY)


def class_areas(table: CountTable, num_classes: int, boundary: bool = False) -> tuple[csr_matrix, csr_matrix, csr_matrix]:
    """Common, predicted and true area of classes 0..K in each image: three sparse (K + 1, images) int64 matrices.

    Args:
        table: counts with predictions in class ids; ids above `num_classes` count in no area, as in `compute_metrics`.
        boundary: count boundary pixels in place of all pixels.
    """
    predicted, true, common = _BOUNDARY if boundary else _WHOLE
    pred, gt = table.rows[:, PRED], table.rows[:, GT]
    return (
        _sparse(table, pred, common, (pred == gt) & (gt <= num_classes), num_classes),
        _sparse(table, pred, predicted, pred <= num_classes, num_classes),
        _sparse(table, gt, true, gt <= num_classes, num_classes),
    )


def image_f_measures(table: CountTable) -> np.ndarray:
    """F with beta^2 = 0.3 of foreground against background of each image; (images,) float64 in [0, 1]. Their mean is FMeasure / 100."""
    pred, gt, pixels = table.rows[:, PRED] > 0, table.rows[:, GT] > 0, table.rows[:, PIXELS]
    predicted, true, common = (np.bincount(table.image[kind], pixels[kind], table.images) for kind in (pred, gt, pred & gt))  # exact to 2^53
    precision, recall = common / (predicted + 1e-20), common / (true + 1e-20)
    return 1.3 * precision * recall / (0.3 * precision + recall + 1e-20)


def image_is_right(table: CountTable, num_classes: int) -> np.ndarray:
    """Whether the class 1..K with the largest predicted area, the lowest of equals, occurs in the image; (images,) bool. Their mean is Acc / 100."""
    pred = table.rows[:, PRED]
    keep = (pred >= 1) & (pred <= num_classes)
    keys, place = np.unique(table.image[keep] * (MAX_ID + 1) + pred[keep], return_inverse=True)
    area = np.bincount(place, table.rows[keep, PIXELS], len(keys))
    order = np.lexsort((keys, -area, keys // (MAX_ID + 1)))
    images, first = np.unique(keys[order] // (MAX_ID + 1), return_index=True)
    right = np.zeros(table.images, bool)
    right[images] = np.isin(keys[order][first], table.image * (MAX_ID + 1) + table.rows[:, GT])
    return right


def image_mious(table: CountTable, num_classes: int) -> np.ndarray:
    """Mean IoU of each image over the classes 0..K that occur in its prediction or ground truth; (images,) float64 in [0, 1].

    NaN where no pixel is valid. Not a published metric: it tells good images from bad ones, where the IoU of the set adds all images up.
    """
    pred, gt, pixels, width = table.rows[:, PRED], table.rows[:, GT], table.rows[:, PIXELS], num_classes + 1
    kinds = [((pred == gt) & (gt < width), gt), (pred < width, pred), (gt < width, gt)]  # common, predicted, true
    places = [table.image[keep] * width + ids[keep] for keep, ids in kinds]
    occurring = np.unique(np.concatenate(places))  # (image, class), those of no pixel are not among the rows
    areas = [np.bincount(np.searchsorted(occurring, place), pixels[keep], len(occurring)) for place, (keep, _) in zip(places, kinds)]
    image = occurring // width
    with np.errstate(invalid="ignore"):
        return np.bincount(image, iou(*areas), table.images) / np.bincount(image, minlength=table.images)


def _sparse(table: CountTable, ids: np.ndarray, column: int, keep: np.ndarray, num_classes: int) -> csr_matrix:
    from scipy.sparse import csr_matrix

    values, place = table.rows[keep, column], (ids[keep], table.image[keep])
    return csr_matrix((values, place), shape=(num_classes + 1, table.images), dtype=np.int64)  # entries of one place are added up
