"""Ways to match generated categories to classes, and whether the best match is the only one.

"image"     one to one, most images in which both occur (the benchmark's published rule)
"pixel"     one to one, most common pixels
"iou"       one to one, largest sum of the pairs' intersections over unions, so that small categories weigh as much as large ones
"majority"  many to one: each generated category gets the class it shares most pixels with. It uses the masks far more freely than a one-to-one match:
            an upper bound for what a better match could reach, never a result to compare with others
"identity"  the predictions carry class ids already

Class 0 (other) takes part in none of them: what a method calls background stays background.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from luss.benchmark.counts import GT, PIXELS, PRED, CountTable
from luss.benchmark.matching import assign, cooccurrence, identity_match, objective, overlap
from luss.benchmark.runs import sparse_bincount

SCHEMES = ("image", "pixel", "iou", "majority", "identity")
_IOU_UNIT = 2.0**-40  # IoUs are matched as integers: sums over a thousand pairs stay exact in float64, and 1e-12 is no difference


@dataclass(frozen=True)
class SchemeMatch:
    """A match and what is known of it.

    Attributes:
        scheme: one of SCHEMES.
        match: {generated id: class id}, 0 = no class.
        objective: what the scheme makes as large as possible, for this match: images, pixels, or a sum of IoUs; None for "identity".
        optimum_unique: whether every best match has the same pairs among those that score on these images; None where nothing was optimised.
            Ties are broken by pixels ("image") or images ("pixel").
        upper_bound: the figures of this match are not comparable with those of a one-to-one match.
    """

    scheme: str
    match: dict[int, int]
    objective: float | None
    optimum_unique: bool | None
    upper_bound: bool


def match_by(scheme: str, table: CountTable, num_clusters: int, num_classes: int) -> SchemeMatch:
    """The match of these images under a scheme. Ids above the numbers given do not take part.

    Args:
        table: counts with the ids of the label maps.
    """
    if scheme == "identity":
        return SchemeMatch(scheme, identity_match(num_classes), None, None, False)
    if scheme not in SCHEMES:
        raise ValueError(f"scheme={scheme!r}: expected one of {', '.join(SCHEMES)}")
    pixels = overlap(table, num_clusters, num_classes)
    if scheme == "majority":
        match = {i + 1: int(pixels[i].argmax()) + 1 if pixels[i].any() else 0 for i in range(num_clusters)}
        first, second = np.sort(pixels, axis=1)[:, -2:].T if num_classes > 1 else (np.zeros(num_clusters), pixels[:, 0])
        return SchemeMatch(scheme, match, objective(pixels, match), bool(((first < second) | (second == 0)).all()), True)
    together = cooccurrence(table, num_clusters, num_classes)
    if scheme == "image":
        weight, tie_break, unit = together, pixels, 1
    elif scheme == "pixel":
        weight, tie_break, unit = pixels, together, 1
    else:
        weight, tie_break, unit = _iou_weights(table, pixels), None, _IOU_UNIT
    match = assign(weight, tie_break)
    return SchemeMatch(scheme, match, objective(weight, match) * unit, optimum_unique(weight, match), False)


def optimum_unique(weight: np.ndarray, match: dict[int, int]) -> bool:
    """Whether all one-to-one matches with the largest sum of `weight` agree on the pairs with a weight above 0.

    Exact, for integers. From the match come dual prices of rows and columns (shortest paths between rows, in integers); a pair is in some best match
    only if its price is met, and then if an alternating cycle of such pairs runs through it: if both ends lie in one strongly connected component.

    Args:
        weight: (clusters, classes) integers >= 0.
        match: one of the best, all ids 1..clusters, as `assign` gives it.
    """
    clusters, classes = weight.shape
    size = max(clusters, classes)
    square = np.zeros((size, size), np.int64)  # with partners of weight 0 for those left over
    square[:clusters, :classes] = weight
    partner = np.full(size, -1)
    for cluster, label in match.items():
        partner[cluster - 1] = label - 1
    free = np.ones(size, bool)
    free[partner[partner >= 0]] = False
    partner[partner < 0] = np.flatnonzero(free)
    ours = square[:, partner]  # [i, k] = weight of row i on the partner of row k
    own = ours.diagonal()
    slack = own[None, :] - ours  # price[i] <= price[k] + slack[i, k]
    price = np.zeros(size, np.int64)
    for _ in range(size + 1):
        lower = (price[None, :] + slack).min(axis=1)
        if (lower == price).all():
            break
        price = lower
    else:
        raise ValueError("match: not one of the best for these weights")
    tight = price[None, :] + slack == price[:, None]
    component = _components(tight)
    return not bool(((component[:, None] == component[None, :]) & tight & (ours > 0) & ~_lonely(component)).any())


def _components(edges: np.ndarray) -> np.ndarray:
    """Number of the strongly connected component of each node of a dense graph, (n, n) bool."""
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import connected_components

    return connected_components(csr_matrix(edges), directed=True, connection="strong")[1]


def _lonely(component: np.ndarray) -> np.ndarray:
    """(n, 1) bool: nodes that are alone in their component."""
    return (np.bincount(component)[component] == 1)[:, None]


def _iou_weights(table: CountTable, pixels: np.ndarray) -> np.ndarray:
    """IoU of every generated category with every class over the whole set in units of `_IOU_UNIT`; int64."""
    clusters, classes = pixels.shape
    predicted, true = np.zeros(clusters + 1, np.int64), np.zeros(classes + 1, np.int64)
    for column, sums in ((PRED, predicted), (GT, true)):
        keep = table.rows[:, column] < len(sums)
        ids, area = sparse_bincount(table.rows[keep, column], len(sums), table.rows[keep, PIXELS])
        sums[ids] = area
    union = predicted[1:, None] + true[None, 1:] - pixels
    return np.rint(pixels / np.maximum(union, 1) / _IOU_UNIT).astype(np.int64)
