"""mIoU as a function of the attention threshold, matched anew at each, in one pass over the images (spec/pass.md 10.4).

Below a threshold t a pixel is background: where attention < float32(t). Each pixel is binned by the number of thresholds it reaches; sums over the
upper bins then give areas, overlaps and presence for every threshold at once.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from luss.benchmark.counts import checked_ids
from luss.benchmark.folders import check_ids, check_shapes
from luss.benchmark.label_map import IGNORE
from luss.benchmark.matching import assign, objective
from luss.benchmark.metrics import iou
from luss.benchmark.runs import compact, joint_runs, sparse_bincount

DEFAULT_THRESHOLDS = tuple(k / 100 for k in range(81))
_IDS = 1 << 16
_BUFFER = 1 << 20  # sparse entries held before they are added up: 16 MB


@dataclass(frozen=True)
class CurveCounts:
    """What one image adds to the curve; keys are (generated id * 65536 + true id) * (thresholds + 1) + bin.

    Attributes:
        keys, pixels: (n,) int64, valid pixels of a generated id over a true id (0 included) in a bin >= 1.
        present: (m,) int64, one key for each generated id and class that are both in the image; its bin is the highest of the generated id.
        true_ids, true_area: (k,) int64, valid pixels of each true id.
    """

    keys: np.ndarray
    pixels: np.ndarray
    present: np.ndarray
    true_ids: np.ndarray
    true_area: np.ndarray


def apply_threshold(labels: np.ndarray, attention: np.ndarray, threshold: float) -> np.ndarray:
    """Label map with 0 where attention < float32(threshold); (H, W), type of `labels`."""
    return np.where(attention < np.float32(threshold), labels.dtype.type(0), labels)


def threshold_edges(thresholds: Sequence[float]) -> np.ndarray:
    """The thresholds as float32, (T,), checked to be ascending."""
    edges = np.asarray(thresholds, np.float64)
    if edges.ndim != 1 or len(edges) == 0 or not np.isfinite(edges).all() or (np.diff(edges) <= 0).any():
        raise ValueError(f"thresholds: expected at least one number, ascending; found {thresholds!r}")
    return edges.astype(np.float32)


def threshold_bins(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """How many thresholds each value reaches: values >= edge, both float32; (n,) float32 -> (n,) uint16.

    Float32 values of one sign are ordered like their bits, so the upper 16 bits name a narrow interval of numbers (1/256 of the value); where
    no interval holds two edges, one table look-up and one comparison tell the bin.
    """
    table = _bin_table(edges.tobytes())
    if table is None or len(values) == 0 or not values.min() >= 0:  # not: NaN too
        return np.searchsorted(edges, values, side="right").astype(np.uint16)
    below, next_edge = table
    interval = (values.view(np.uint32) >> 16).astype(np.intp)
    bins = below.take(interval, mode="wrap")  # nothing wraps; the default mode copies once more
    bins += values >= next_edge.take(interval, mode="wrap")
    return bins


@functools.lru_cache(maxsize=8)
def _bin_table(edges: bytes) -> tuple[np.ndarray, np.ndarray] | None:
    """For each upper half of the bits of a float32 >= 0: edges below all its numbers, and the next edge; None where one interval holds two edges."""
    values = np.frombuffer(edges, np.float32)
    starts = (np.arange(0x7F81, dtype=np.uint32) << 16).view(np.float32)  # up to infinity
    below = np.searchsorted(values, starts, side="right")
    if (np.diff(below) > 1).any():
        return None
    table = np.zeros(0x8001, np.uint16)  # one more entry than a number can ask for: -0.0
    table[: len(below)] = below
    following = np.full(len(table), np.nan, np.float32)  # no number reaches it, infinity neither
    following[: len(below)] = np.append(values, np.float32(np.nan))[below]
    table[0x8000], following[0x8000] = table[0], following[0]
    return table, following


def count_attention(labels: np.ndarray, attention: np.ndarray, gt: np.ndarray, edges: np.ndarray) -> CurveCounts:
    """Joint histogram of label, true id and threshold bin of one image.

    Args:
        labels: (H, W) integers in [0, 65535], made without a threshold.
        attention: (H, W) float32, finite.
        gt: (H, W) integers in [0, 65535], 1000 = ignore.
        edges: `threshold_edges` of the thresholds.
    """
    labels, gt = checked_ids(labels, "labels"), checked_ids(gt, "gt")
    bins = len(edges) + 1
    starts, lengths = joint_runs(labels, gt)
    true_ids, true_index = compact(gt.ravel()[starts])
    area = np.bincount(true_index, weights=lengths).astype(np.int64)
    label, label_index = compact(labels.ravel()[starts])
    pair = label_index * len(true_ids) + true_index
    active = (label[label_index] > 0) & (true_ids[true_index] != IGNORE)
    bin_ = threshold_bins(np.asarray(attention, np.float32).reshape(-1), edges)
    if not active.all():  # leave out whole runs before the passes over pixels
        bin_ = bin_[np.repeat(active, lengths)]
        pair, lengths = pair[active], lengths[active]
    cell = np.repeat(pair * bins, lengths)
    cell += bin_
    found, pixels = sparse_bincount(cell, len(label) * len(true_ids) * bins)
    reached = found % bins > 0
    found, pixels = found[reached], pixels[reached]
    pair, bin_ = found // bins, found % bins
    label_index, true_index = pair // len(true_ids), pair % len(true_ids)
    label, true = label.astype(np.int64), true_ids.astype(np.int64)
    valid = true_ids != IGNORE
    true_ids, area = true_ids[valid], area[valid]
    highest = np.zeros(len(label), np.int64)
    np.maximum.at(highest, label_index, bin_)
    classes = true_ids[true_ids > 0]
    seen = highest > 0
    present = (label[seen, None] * _IDS + classes[None, :]) * bins + highest[seen, None]
    return CurveCounts((label[label_index] * _IDS + true[true_index]) * bins + bin_, pixels, present.ravel(), true_ids, area)


class CurveSums:
    """Adds up CurveCounts of many images; its size depends on which pairs of ids occur, not on the number of images."""

    def __init__(self, thresholds: Sequence[float], num_clusters: int, num_classes: int):
        if num_clusters < 1 or num_classes < 1:
            raise ValueError(f"num_clusters={num_clusters}, num_classes={num_classes}: expected at least 1")
        self.thresholds = [float(threshold) for threshold in thresholds]
        self.edges = threshold_edges(self.thresholds)
        self.num_clusters = num_clusters
        self.num_classes = num_classes
        self.images = 0
        self._true_area = np.zeros(num_classes + 1, np.int64)
        self._pixels = _SparseSum()
        self._present = _SparseSum()

    def add(self, counts: CurveCounts) -> None:
        """One more image, with ids within the numbers given."""
        self.images += 1
        self._true_area[counts.true_ids] += counts.true_area
        self._pixels.add(counts.keys, counts.pixels)
        self._present.add(counts.present, np.ones(len(counts.present), np.int64))

    def result(self) -> dict:
        """See `curve`."""
        if self.images == 0:
            raise ValueError("triples: expected at least one image")
        pixels, present = _by_bin(self._pixels, len(self.edges)), _by_bin(self._present, len(self.edges))
        overlap = np.zeros((self.num_clusters, self.num_classes + 1), np.int64)
        together = np.zeros((self.num_clusters, self.num_classes + 1), np.int64)
        miou, matches, objectives = [], [], []
        for index in reversed(range(len(self.edges))):  # downwards, more and more bins are foreground
            for dense, entries in ((overlap, pixels), (together, present)):
                cluster, label, count = entries[index + 1]
                dense[cluster - 1, label] += count  # each pair stands once in a bin
            match = assign(together[:, 1:], overlap[:, 1:])
            miou.append(100 * self._miou(overlap, match))
            matches.append(match)
            objectives.append(objective(together[:, 1:], match))
        miou, matches, objectives = miou[::-1], matches[::-1], objectives[::-1]
        best = miou.index(max(miou))
        return {
            "thresholds": self.thresholds,
            "miou": miou,
            "best_threshold": self.thresholds[best],
            "best_miou": miou[best],
            "matches": dict(zip(self.thresholds, matches)),
            "objectives": objectives,
        }

    def _miou(self, overlap: np.ndarray, match: dict[int, int]) -> float:
        label = np.array([match[cluster] for cluster in range(1, self.num_clusters + 1)])
        chosen = np.flatnonzero(label)  # generated ids without a class count as class 0
        predicted = np.zeros(self.num_classes + 1, np.int64)
        common = np.zeros(self.num_classes + 1, np.int64)
        predicted[label[chosen]] = overlap[chosen].sum(axis=1)
        predicted[0] = self._true_area.sum() - predicted.sum()
        common[label[chosen]] = overlap[chosen, label[chosen]]
        common[0] = self._true_area[0] - overlap[chosen, 0].sum()
        return float(iou(common, predicted, self._true_area).mean())


def curve(
    triples: Iterable[tuple[np.ndarray, np.ndarray, np.ndarray]],
    num_classes: int,
    thresholds: Sequence[float] = DEFAULT_THRESHOLDS,
    num_clusters: int | None = None,
) -> dict:
    """mIoU in percent at every threshold.

    Args:
        triples: (labels, attention, gt) of each image, see `count_attention`; taken one by one.
        num_classes: K.
        thresholds: ascending.
        num_clusters: largest generated id; None = K.

    Returns:
        {"thresholds", "miou", "best_threshold" (the first of the best), "best_miou", "matches": {threshold: match}, "objectives"}; a match is
        {generated id: class id}, an objective its number of images where both occur.
    """
    sums = CurveSums(thresholds, num_classes if num_clusters is None else num_clusters, num_classes)
    for number, (labels, attention, gt) in enumerate(triples):
        sums.add(count_checked(labels, attention, gt, sums.edges, sums.num_clusters, num_classes, f"triples[{number}]", f"triples[{number}][2]"))
    return sums.result()


def count_checked(
    labels: np.ndarray,
    attention: np.ndarray,
    gt: np.ndarray,
    edges: np.ndarray,
    num_clusters: int,
    num_classes: int,
    name: str,
    gt_name: str,
) -> CurveCounts:
    """`count_attention` after checks whose errors carry the names given."""
    check_shapes(labels, gt, name, gt_name)
    check_shapes(attention, gt, f"attention of {name}", gt_name)
    counts = count_attention(labels, attention, gt, edges)
    check_ids(np.unique(counts.keys // (len(edges) + 1) // _IDS), num_clusters, name, "generated", "is the number of generated categories right?")
    check_ids(counts.true_ids, num_classes, gt_name, "class", "is the number of classes that of this data set?")
    return counts


class _SparseSum:
    """Sum of integer counts by key, added up whenever the buffer is full."""

    def __init__(self) -> None:
        self._parts: list[tuple[np.ndarray, np.ndarray]] = []
        self._buffered = 0
        self._settled = 0

    def add(self, keys: np.ndarray, counts: np.ndarray) -> None:
        self._parts.append((keys, counts))
        self._buffered += len(keys)
        if self._buffered > max(_BUFFER, self._settled):  # also more than what is settled, so that settling stays a fixed cost per entry
            self.items()

    def items(self) -> tuple[np.ndarray, np.ndarray]:
        """Sorted distinct keys and their sums."""
        if not self._parts:
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        keys, place = np.unique(np.concatenate([part[0] for part in self._parts]), return_inverse=True)
        counts = np.zeros(len(keys), np.int64)
        np.add.at(counts, place, np.concatenate([part[1] for part in self._parts]))
        self._parts = [(keys, counts)]
        self._buffered, self._settled = 0, len(keys)
        return keys, counts


def _by_bin(sums: _SparseSum, top: int) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """For each bin 0..top its generated ids, true ids and counts."""
    keys, counts = sums.items()
    pair, bin_ = keys // (top + 1), keys % (top + 1)
    order = np.argsort(bin_, kind="stable")
    bounds = np.searchsorted(bin_[order], np.arange(top + 2))
    pieces = [order[start:stop] for start, stop in zip(bounds[:-1], bounds[1:])]
    return [(pair[piece] // _IDS, pair[piece] % _IDS, counts[piece]) for piece in pieces]
