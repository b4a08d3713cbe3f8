"""Paired bootstrap over images: how far the metrics of a run, or their difference between two runs, would move with other images of the same kind.

Images are drawn with replacement, the same draws for every run. What a metric needs of an image is a few sums, so that a resample is a row of
weights, and all of them together are one sparse matrix product.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from engine.runtime.errors import LussError
from luss.benchmark.counts import CountTable
from luss.benchmark.metrics import iou
from luss.benchmark.per_image import class_areas, image_f_measures, image_is_right

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

METRICS = ("mIoU", "mBIoU", "FMeasure", "Acc")  # those that can be resampled
LEVEL = 0.95
_BLOCK = 1 << 22  # weights held at once: 32 MiB of int64


@dataclass(frozen=True)
class ImageSums:
    """What the bootstrap needs of one run.

    Attributes:
        names: name of each image, in the order of the columns below.
        num_classes: K.
        areas: sparse (6 (K + 1), images) int64: common, predicted and true area of each class, then the same of the boundaries.
        f_measures: (images,) float64 in [0, 1].
        right: (images,) bool.
        shapes: (images, 2) int64, height and width.
    """

    names: tuple[str, ...]
    num_classes: int
    areas: csr_matrix
    f_measures: np.ndarray
    right: np.ndarray
    shapes: np.ndarray


@dataclass(frozen=True)
class Interval:
    """A figure and its percentile interval, in the unit of the figure."""

    value: float
    low: float
    high: float


def image_sums(names: Sequence[str], table: CountTable, shapes: np.ndarray, num_classes: int) -> ImageSums:
    """Sums of a run, images sorted by name.

    Args:
        names: distinct, one for each image of the table.
        table: predictions in class ids, boundaries as they are to be scored. Rows of one pair of ids need not be added up.
        shapes: (images, 2) height and width.
    """
    from scipy.sparse import vstack

    if not len(names) == len(set(names)) == len(shapes) == table.images > 0:
        raise ValueError(f"names: expected {table.images} distinct names and as many shapes, found {len(set(names))} and {len(shapes)}")
    order = sorted(range(len(names)), key=names.__getitem__)
    areas = vstack([*class_areas(table, num_classes), *class_areas(table, num_classes, boundary=True)], format="csr")[:, order]
    f_measures, right = image_f_measures(table)[order], image_is_right(table, num_classes)[order]
    return ImageSums(tuple(names[position] for position in order), num_classes, areas, f_measures, right, np.asarray(shapes, np.int64)[order])


def resample(runs: Sequence[ImageSums], resamples: int = 1000, seed: int = 0) -> list[dict[str, np.ndarray]]:
    """The metrics of every run on the same resamples.

    A class whose images were all not drawn is left out of the means of that resample: to count it 0, as for a class that the whole set lacks, would
    push the intervals of sets with few images a class below the figure itself.

    Args:
        runs: of the same images; `require_same_images` is called for all.
        resamples: how often as many images as there are are drawn.

    Returns:
        For each run {metric: (resamples + 1,) float64 in percent}. The first value is that of the images themselves.
    """
    if not runs or resamples < 1:
        raise ValueError(f"runs, resamples: expected at least one of each, found {len(runs)} and {resamples}")
    for other in runs[1:]:
        require_same_images(runs[0], other)
    parts: list[list[dict[str, np.ndarray]]] = [[] for _ in runs]
    for weights in _weights(len(runs[0].names), resamples, seed):
        for part, run in zip(parts, runs):
            part.append(_metrics(run, weights))
    return [{name: np.concatenate([piece[name] for piece in part]) for name in METRICS} for part in parts]


def interval(values: np.ndarray, level: float = LEVEL) -> Interval:
    """Percentile interval of what `resample` returned for one metric, or of the difference of two such arrays.

    A mean over classes of a dozen images each comes out lower in resamples than in the set itself, since an IoU is no sum over images: an interval
    may lie askew about its figure. In differences this cancels for the most part.
    """
    low, high = np.percentile(values[1:], [50 * (1 - level), 50 * (1 + level)])
    return Interval(float(values[0]), float(low), float(high))


def require_same_images(first: ImageSums, second: ImageSums, names: tuple[str, str] = ("the first run", "the second run")) -> None:
    """LussError unless two runs were scored on the same images, ground truth and number of classes; `names` of the runs stand in it."""
    here, there = names
    expected = "expected two runs of the same images: score both on the same split and masks"
    if first.num_classes != second.num_classes:
        raise LussError(f"{there}: {second.num_classes} categories, but {here} has {first.num_classes}; {expected}")
    missing = sorted(set(first.names) ^ set(second.names))
    if missing:
        whose = here if missing[0] in first.names else there
        raise LussError(f"{there}: not the images of {here}: {len(missing)} are in one of them only, e.g. {missing[0]} in {whose}; {expected}")
    classes = first.num_classes + 1
    differing = np.flatnonzero((first.shapes != second.shapes).any(1))
    truth = abs(first.areas[2 * classes : 3 * classes] - second.areas[2 * classes : 3 * classes])
    differing = np.union1d(differing, truth.tocoo().col[truth.tocoo().data > 0])
    if len(differing):
        name = first.names[int(differing[0])]
        raise LussError(f"{there}: {len(differing)} images have another ground truth than in {here}, e.g. {name}; {expected}")


def _weights(images: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """(images, n) int64 blocks: how often each image counts. The first column of all is the set itself; the draws do not depend on the blocks."""
    rng = np.random.default_rng(seed)
    size = max(1, _BLOCK // images)
    for first in range(0, resamples + 1, size):
        block = np.empty((min(size, resamples + 1 - first), images), np.int64)
        for number, row in enumerate(block, first):
            row[:] = 1 if number == 0 else np.bincount(rng.integers(images, size=images), minlength=images)
        yield np.ascontiguousarray(block.T)


def _metrics(run: ImageSums, weights: np.ndarray) -> dict[str, np.ndarray]:
    """The metrics of METRICS in percent, one value for each column of the weights."""
    areas = (run.areas @ weights).reshape(6, run.num_classes + 1, -1)
    occurs = np.asarray(run.areas[2 * (run.num_classes + 1) : 3 * (run.num_classes + 1)].sum(1)).ravel() > 0
    not_drawn = (areas[2] == 0) & occurs[:, None]
    means = []
    for common, predicted, true in (areas[:3], areas[3:]):
        values = np.where(not_drawn, 0.0, iou(common, predicted, true))
        means.append(values.sum(0) / np.maximum(1, len(occurs) - not_drawn.sum(0)))
    columns = weights.astype(np.float64)
    images = columns.sum(0)
    f_measure, accuracy = run.f_measures @ columns / images, run.right.astype(np.float64) @ columns / images
    return {name: 100 * values for name, values in zip(METRICS, (*means, f_measure, accuracy))}
