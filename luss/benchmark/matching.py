"""Which generated category is which class: the image-level assignment of spec/pass.md 10.2, and match.json.

In memory a match is a dict {generated id: class id}, ids from 1 up, without the fixed 0 -> 0. A generated id without a partner has class 0.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from engine.runtime.errors import LussError
from engine.storage.atomic import PathLike, read_json
from luss.benchmark.counts import GT, PIXELS, PRED, CountTable, checked_ids, require_entries
from luss.benchmark.label_map import MAX_ID

_EXACT = 2**52  # integers below are exact in the solver's float64


def cooccurrence(table: CountTable, num_clusters: int, num_classes: int) -> np.ndarray:
    """N[i, j] = number of images in which generated category i + 1 and class j + 1 both occur on valid pixels; (num_clusters, num_classes) int64.

    One pixel is enough to occur. Ids above the numbers given do not count.
    """
    together = np.zeros((num_clusters, num_classes), np.int64)
    clusters = _occurrences(table, PRED, num_clusters)
    classes = _occurrences(table, GT, num_classes)
    starts = np.searchsorted(classes[:, 0], np.arange(table.images + 1))
    repeats = (starts[1:] - starts[:-1])[clusters[:, 0]]  # classes in the image of each (image, cluster)
    first = np.repeat(starts[:-1][clusters[:, 0]] - np.cumsum(repeats) + repeats, repeats)
    partner = classes[first + np.arange(len(first)), 1]
    np.add.at(together, (np.repeat(clusters[:, 1], repeats) - 1, partner - 1), 1)
    return together


def overlap(table: CountTable, num_clusters: int, num_classes: int) -> np.ndarray:
    """Valid pixels that carry generated category i + 1 and class j + 1; (num_clusters, num_classes) int64."""
    pred, gt = table.rows[:, PRED], table.rows[:, GT]
    keep = (pred >= 1) & (pred <= num_clusters) & (gt >= 1) & (gt <= num_classes)
    pixels = np.zeros((num_clusters, num_classes), np.int64)
    np.add.at(pixels, (pred[keep] - 1, gt[keep] - 1), table.rows[keep, PIXELS])
    return pixels


def assign(together: np.ndarray, pixels: np.ndarray | None = None) -> dict[int, int]:
    """One-to-one match with the largest sum of `together`; among equals, the one with the largest sum of `pixels`.

    Pairs that never occur together fill up the assignment, as in the published match.json; they cannot score on these images. With more generated
    categories than classes those left over get class 0; with fewer, some classes get none.

    Args:
        together: (clusters, classes) integers >= 0, see `cooccurrence`.
        pixels: same shape, see `overlap`; None = ties fall as the solver decides.

    Returns:
        {generated id: class id}, all ids 1..clusters.
    """
    from scipy.optimize import linear_sum_assignment  # more than a second to import

    weight = np.asarray(together, np.int64)
    if weight.ndim != 2 or weight.size == 0 or weight.min() < 0:
        raise ValueError(f"together: expected a non-empty (clusters, classes) array of counts, found shape {weight.shape}")
    if pixels is not None:
        weight = _with_tie_break(weight, np.asarray(pixels, np.int64))
    clusters, classes = linear_sum_assignment(-weight.astype(np.float64))
    match = dict.fromkeys(range(1, weight.shape[0] + 1), 0)
    match.update(zip((clusters + 1).tolist(), (classes + 1).tolist()))
    return match


def match_images(table: CountTable, num_clusters: int, num_classes: int) -> dict[int, int]:
    """The benchmark's default match of these images: `assign` of `cooccurrence`, ties by `overlap`."""
    return assign(cooccurrence(table, num_clusters, num_classes), overlap(table, num_clusters, num_classes))


def objective(together: np.ndarray, match: Mapping[int, int]) -> int:
    """Sum of `together` over the pairs of a match."""
    return sum(int(together[cluster - 1, label - 1]) for cluster, label in match.items() if label)


def identity_match(num_classes: int) -> dict[int, int]:
    """For predictions that carry class ids already."""
    return {label: label for label in range(1, num_classes + 1)}


def match_table(match: Mapping[int, int]) -> np.ndarray:
    """Lookup table of a match: table[generated id] = class id, -1 where the match has no entry; (largest id + 1,) int32."""
    table = np.full(max(match, default=0) + 1, -1, np.int32)
    table[0] = 0
    for cluster, label in match.items():
        if cluster < 0 or label < 0 or (cluster == 0) and label != 0:
            raise ValueError(f"match: expected ids from 1 up, and 0 only for 0; found {cluster}: {label}")
        table[cluster] = label
    return table


def apply_match(ids: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Label map (H, W) with every id replaced through a `match_table`; int32.

    Raises:
        ValueError: the map holds an id without entry.
    """
    ids = checked_ids(ids, "ids")
    require_entries(np.flatnonzero(np.bincount(ids.ravel())), table)
    return table[ids]


def match_to_json(match: Mapping[int, int]) -> dict[str, int]:
    """The content of match.json as published: ids from "1" up in order, then "0": 0."""
    published = {str(cluster): int(match[cluster]) for cluster in sorted(match) if cluster}
    published["0"] = 0
    return published


def match_from_json(content: object, num_classes: int | None = None, name: str = "match.json") -> dict[int, int]:
    """The match in the parsed content of a match.json.

    Args:
        content: what `json` read.
        num_classes: largest class id allowed; None = any.
        name: stands in the error.

    Raises:
        LussError: not of the published form.
    """
    expected = f'{name}: expected one JSON object {{"<generated id>": <class id>, ..., "0": 0}} as luss predict writes it'
    if not isinstance(content, dict):
        raise LussError(f"{expected}; found a {type(content).__name__}")
    top = MAX_ID if num_classes is None else num_classes
    match = {}
    for key, label in content.items():
        if not (isinstance(key, str) and key.isascii() and key.isdigit() and int(key) <= MAX_ID and str(int(key)) == key):
            raise LussError(f"{expected}; found the key {key!r}")
        if type(label) is not int or not 0 <= label <= top or (key == "0" and label != 0):
            raise LussError(f"{expected}, class ids from 0 to {top} and 0 for 0; found {key!r}: {label!r}")
        if key != "0":
            match[int(key)] = label
    if not match:
        raise LussError(f"{expected}; found no generated id in it")
    return dict(sorted(match.items()))


def read_match(path: PathLike, num_classes: int | None = None) -> dict[int, int]:
    """The match in a match.json; see `match_from_json`.

    Raises:
        LussError: also where an id stands twice: JSON's readers would silently take the last.
    """
    read_json(path)  # absent, damaged or nested without end: refused with the file's name

    def once(pairs: list[tuple[str, object]]) -> dict:
        twice = [key for key, count in Counter(key for key, _ in pairs).items() if count > 1]
        if twice:
            raise LussError(f"{path}: the generated id {twice[0]!r} stands there more than once; expected each id once: mend the file")
        return dict(pairs)

    content = json.loads(Path(path).read_text(encoding="utf-8"), object_pairs_hook=once)
    return match_from_json(content, num_classes, os.fspath(path))


def _occurrences(table: CountTable, column: int, top: int) -> np.ndarray:
    """Distinct (image, id) with 1 <= id <= top, sorted; (n, 2) int64."""
    ids = table.rows[:, column]
    keep = (ids >= 1) & (ids <= top)
    keys = np.unique(table.image[keep] * (MAX_ID + 1) + ids[keep])
    return np.stack([keys // (MAX_ID + 1), keys % (MAX_ID + 1)], axis=1)


def _with_tie_break(together: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """One integer weight that orders assignments by `together` first and `pixels` second, exact in float64."""
    if pixels.shape != together.shape:
        raise ValueError(f"pixels: expected the shape of together, {together.shape}, found {pixels.shape}")
    best_sum = int(together.max(axis=1).sum()) + 1
    shift = 0  # halves the pixel counts until the sum of a whole assignment stays exact; not reached below millions of images
    while best_sum * (int((pixels >> shift).max(axis=1).sum()) + 1) >= _EXACT:
        shift += 1
    pixels = pixels >> shift
    return together * (int(pixels.max(axis=1).sum()) + 1) + pixels
