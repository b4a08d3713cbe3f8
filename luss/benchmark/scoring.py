"""From counts to figures: match, rename, and compute, without the images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Callable, Union

import numpy as np

from engine.runtime.errors import LussError
from luss.benchmark.counts import CountTable, ImageCounts, require_entries
from luss.benchmark.label_map import MAX_ID
from luss.benchmark.matching import match_table
from luss.benchmark.metrics import compute_metrics, extra_metrics, size_metrics
from luss.benchmark.schemes import SCHEMES, SchemeMatch, match_by
from luss.benchmark.store import StoredCounts

Match = Union[str, Mapping[int, int]]
Recount = Callable[[Sequence[int], np.ndarray], Sequence[ImageCounts]]  # (positions, table) -> counts of the renamed maps
COMPAT = (None, "toolbox", "pass")


def check_options(match: Match, num_classes: int, num_clusters: int | None, boundary: str, compat: str | None) -> None:
    """ValueError for options that make no sense, before any image is read."""
    if num_classes < 1:
        raise ValueError(f"num_classes={num_classes}: expected at least 1")
    if num_clusters is not None and num_clusters < 1:
        raise ValueError(f"num_clusters={num_clusters}: expected at least 1, or None")
    if boundary not in ("after", "before"):
        raise ValueError(f"boundary={boundary!r}: expected 'after' or 'before'")
    if compat not in COMPAT:
        raise ValueError(f"compat={compat!r}: expected 'toolbox', 'pass' or None")
    if isinstance(match, str):
        if match not in SCHEMES:
            raise ValueError(f"match={match!r}: expected one of {', '.join(SCHEMES)}, or a dict")
    elif not isinstance(match, Mapping):
        raise ValueError(f"match: expected one of {', '.join(SCHEMES)}, or a dict; found {type(match).__name__}")
    elif any(label > num_classes for label in match.values()):
        raise ValueError(f"match: expected class ids up to num_classes={num_classes}, found {max(match.values())}")


def boundary_order(boundary: str, compat: str | None) -> str:
    """Where boundaries are taken: as asked for, or as the evaluator does it whose figures are wanted."""
    return {None: boundary, "toolbox": "before", "pass": "after"}[compat]


def score(
    stored: StoredCounts,
    num_classes: int,
    match: Match = "image",
    *,
    num_clusters: int | None = None,
    boundary: str = "after",
    compat: str | None = None,
    allow_unknown_ids: bool = False,
    recount: Recount | None = None,
) -> dict:
    """Metrics of counted images.

    Args:
        stored: counts with the ids of the label maps.
        match: a scheme of `luss.benchmark.schemes`, or {generated id: class id}.
        num_clusters: largest generated id; None = K.
        boundary: take the prediction's boundaries "after" renaming (PASS) or "before" (dataset toolbox). They differ only where several generated ids
            of an image get one class, and then "after" needs its label maps again.
        compat: "toolbox" or "pass" = that evaluator's order of boundaries and its float32 sums; None = exact integers, float64 ratios.
        allow_unknown_ids: with "identity", ids above K count in no area, as the published evaluators do it; also with compat "toolbox".
        recount: counts of the renamed label maps at some positions; None = there are no images: where they would be needed the boundaries are those
            before renaming, and the result says so.

    Returns:
        "metrics": percentages by name, see `compute_metrics`; "ious": K + 1 percentages; "match": {generated id: class id}; "images": their number;
        "matching": "scheme", "objective", "optimum_unique", "upper_bound" (see SchemeMatch), "clusters", "classes"; "boundary": "after" or "before";
        "sizes": see `size_metrics`; "extra": see `extra_metrics`; "notes": sentences on what a reader of the figures must know.

    Raises:
        LussError: an id without class; names the image.
    """
    check_options(match, num_classes, num_clusters, boundary, compat)
    boundary = boundary_order(boundary, compat)
    allow_unknown_ids = allow_unknown_ids or (compat == "toolbox" and match == "identity")
    clusters = num_classes if num_clusters is None else num_clusters
    if isinstance(match, str):
        found = match_by(match, stored.table, clusters, num_classes)
    else:
        found = SchemeMatch("given", {int(key): int(label) for key, label in match.items() if key}, None, None, False)
    notes = []
    if found.upper_bound:
        notes.append(f"matching {found.scheme!r} is many to one and chosen with the masks: an upper bound, not comparable with one-to-one figures")
    if found.optimum_unique is False:
        notes.append(f"matching {found.scheme!r} has several best matches with different pairs: another of them may give other figures")
    table, boundary = _renamed(stored, found, boundary, allow_unknown_ids, recount, notes)
    metrics = compute_metrics(table, num_classes, single=compat is not None)
    ious = metrics.pop("IoUs")
    return {
        "metrics": metrics,
        "match": {cluster: found.match[cluster] for cluster in sorted(found.match)},
        "images": table.images,
        "ious": ious,
        "matching": {
            "scheme": found.scheme,
            "objective": found.objective,
            "optimum_unique": found.optimum_unique,
            "upper_bound": found.upper_bound,
            "clusters": clusters,
            "classes": num_classes,
        },
        "boundary": boundary,
        "compat": compat,
        "sizes": size_metrics(table, num_classes),
        "extra": extra_metrics(table, num_classes),
        "notes": notes,
    }


def renamed_counts(stored: StoredCounts, match: Mapping[int, int]) -> CountTable:
    """Counts with class ids instead of generated ids; boundary counts stay those before renaming (see `score`).

    Raises:
        LussError: an id without entry; names the image.
    """
    return _rename(stored, match_table(match))


def _renamed(
    stored: StoredCounts, found: SchemeMatch, boundary: str, allow_unknown_ids: bool, recount: Recount | None, notes: list[str]
) -> tuple[CountTable, str]:
    """Counts in class ids, and where their boundaries are from."""
    if found.scheme == "identity":
        if not allow_unknown_ids:
            _rename(stored, match_table(found.match))  # for its check
        return stored.table, boundary
    lookup = match_table(found.match)
    table = _rename(stored, lookup)
    if boundary == "before":
        return table, boundary
    again = np.flatnonzero(~_follows(stored, lookup))
    if len(again) == 0:
        return table, boundary
    if recount is None:
        notes.append(
            f"in {len(again)} of {table.images} images several generated ids get one class: without the label maps the boundary metrics are those of "
            "boundaries taken before renaming, for all images (the dataset toolbox's order)"
        )
        return table, "before"
    fresh = recount(again.tolist(), lookup)
    keep = ~np.isin(table.image, again)
    image = np.concatenate([table.image[keep], np.repeat(again, [len(one.rows) for one in fresh])])
    rows = np.concatenate([table.rows[keep], *(one.rows for one in fresh)])
    order = np.argsort(image, kind="stable")
    return CountTable(image[order], rows[order], table.images), boundary


def _rename(stored: StoredCounts, lookup: np.ndarray) -> CountTable:
    ids = [stored.table.rows[:, 0], stored.ignored[:, 0]]
    try:
        require_entries(np.unique(np.concatenate(ids)), lookup)
    except ValueError as error:
        missing = np.append(lookup < 0, True)  # the last stands for all ids beyond the end
        places = [image[missing[np.minimum(one, len(lookup))]] for image, one in zip((stored.table.image, stored.ignored_image), ids)]
        first = stored.names[int(min(place[0] for place in places if len(place)))]
        raise LussError(f"{first}: {error}; is it the match of these predictions?") from error
    rows = stored.table.rows.copy()
    rows[:, 0] = lookup[rows[:, 0]]
    return CountTable(stored.table.image, rows, stored.table.images)


def _follows(stored: StoredCounts, lookup: np.ndarray) -> np.ndarray:
    """For each image whether no two of its ids become one, so that no boundary vanishes; (images,) bool."""
    images = stored.table.images
    number = np.concatenate([stored.table.image, stored.ignored_image]) * (MAX_ID + 1)
    ids = np.concatenate([stored.table.rows[:, 0], stored.ignored[:, 0]])
    different = [np.bincount(np.unique(number + one) // (MAX_ID + 1), minlength=images) for one in (ids, lookup[ids])]
    return different[0] == different[1]
