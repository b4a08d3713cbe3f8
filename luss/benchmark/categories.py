"""ImageNet-S with 50, 300 and 919 categories: who is in it, under which id, and how many images (spec/benchmark.md 1.2 to 1.4).

The id of a category is its rank, from 1, among the sorted WordNet ids of its set; so one category has different ids in different sets.
Names are for people: "crane" names a bird and a machine, "Cardigan" and "cardigan" differ in case only. Never use them as keys.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from engine.runtime.errors import LussError

SETS = (50, 300, 919)  # each contains the ones before it

SPLIT_SIZES = {
    50: {"train": 64_431, "train-semi": 500, "validation": 752, "test": 1_682},
    300: {"train": 384_862, "train-semi": 3_000, "validation": 4_097, "test": 9_088},
    919: {"train": 1_183_322, "train-semi": 9_190, "validation": 12_419, "test": 27_423},
}
IMAGES_PER_CATEGORY = {  # smallest and largest number in a class folder
    50: {"train-semi": (10, 10), "validation": (10, 20), "test": (22, 45)},
    300: {"train-semi": (10, 10), "validation": (5, 22), "test": (12, 50)},
    919: {"train-semi": (10, 10), "validation": (3, 30), "test": (3, 65)},
}

# (smaller set, larger set): test images of the smaller one whose masks are public, since they are validation images of the larger one
NESTED_TEST_IN_LARGER_VAL = {(50, 300): 1, (50, 919): 4, (300, 919): 19}

# ImageNet category -> the sibling into which the 919 set merges it; none of the ten is in 50 or 300
MERGED = {
    "n03642806": "n03832673",  # laptop -> notebook
    "n03887697": "n15075141",  # paper towel -> toilet tissue
    "n04008634": "n03773504",  # projectile -> missile
    "n04356056": "n04355933",  # sunglasses -> sunglass
    "n04493381": "n02808440",  # tub -> bathtub
}

# ImageNet categories that are in no set; with the five merged ones they make up 1000 - 919
DROPPED = tuple(
    """
    n02699494 n02776631 n02777292 n02788148 n02791270 n02807133 n02825657 n02837789 n02871525 n02877765 n02894605 n02927161 n02966193
    n02974003 n02977058 n02988304 n03000247 n03032252 n03042490 n03065424 n03085013 n03089624 n03160309 n03180011 n03208938 n03216828
    n03218198 n03220513 n03290653 n03388043 n03457902 n03459775 n03461385 n03529860 n03637318 n03661043 n03697007 n03710637 n03710721
    n03733281 n03871628 n03899768 n03967562 n04081281 n04111531 n04152593 n04200800 n04239074 n04251144 n04264628 n04296562 n04357314
    n04372370 n04392985 n04443257 n04462240 n04501370 n04523525 n04592741 n04599235 n06359193 n06785654 n07248320 n07590611 n07836838
    n07892512 n07920052 n09193705 n09288635 n09332890 n09399592 n09421951 n09428293 n09468604 n09472597 n10148035
    """.split()
)

_TABLE = Path(__file__).with_name("imagenet_s.tsv")


@dataclass(frozen=True)
class Category:
    """One category in one set."""

    id: int  # 1..K
    wnid: str
    name: str


@functools.cache
def categories(num_classes: int) -> tuple[Category, ...]:
    """The categories of ImageNet-S with 50, 300 or 919 categories; position i holds id i + 1.

    Raises:
        LussError: there is no such set.
    """
    if num_classes not in SETS:
        raise LussError(f"{num_classes}: there is no ImageNet-S with so many categories; expected {', '.join(map(str, SETS))}")
    members = [(wnid, name) for wnid, name, smallest in _table() if smallest <= num_classes]
    return tuple(Category(number, wnid, name) for number, (wnid, name) in enumerate(members, 1))


def category_ids(num_classes: int) -> dict[str, int]:
    """{wnid: id} of a set; the ids 1..K in order."""
    return {category.wnid: category.id for category in categories(num_classes)}


def id_of(num_classes: int, wnid: str) -> int:
    """Id of a category in a set.

    Raises:
        LussError: the set has no such category; the message says what became of it where ImageNet has it.
    """
    found = category_ids(num_classes).get(wnid)
    if found is None:
        if wnid in MERGED:
            fate = f"it is merged into {MERGED[wnid]} in the 919 set"
        elif wnid in DROPPED:
            fate = "ImageNet has it, but no ImageNet-S set"
        else:
            larger = [num for num in SETS if wnid in category_ids(num)]
            fate = f"it is in {' and '.join(map(str, larger))}" if larger else "no set has it"
        raise LussError(f"{wnid}: no category of ImageNet-S-{num_classes}: {fate}")
    return found


def wnid_of(num_classes: int, category_id: int) -> str:
    """WordNet id of the category with this id, 1..K.

    Raises:
        LussError: out of range; 0 is "other" and belongs to no category.
    """
    known = categories(num_classes)
    if not 1 <= category_id <= num_classes:
        raise LussError(f"id {category_id}: no category of ImageNet-S-{num_classes}; expected 1..{num_classes} (0 is other, 1000 is ignored)")
    return known[category_id - 1].wnid


def category_names() -> dict[str, str]:
    """{wnid: name} of all 919 categories."""
    return {wnid: name for wnid, name, _ in _table()}


def category_list(num_classes: int) -> str:
    """Content of the published category file of a set: one WordNet id a line, sorted, no newline at the end."""
    return "\n".join(category.wnid for category in categories(num_classes))


def dataset_of(classes: Iterable[str]) -> int | None:
    """50, 300 or 919 where these class folders are exactly the categories of that set, in any order; else None."""
    given = sorted(classes)
    if len(given) not in SETS:
        return None
    return len(given) if given == [category.wnid for category in categories(len(given))] else None


def nearest_set(classes: Iterable[str]) -> tuple[int, int] | None:
    """(set, how many of its categories are here) of the set that shares the largest part with `classes`; None below one half."""
    given = set(classes)
    shared = {num: len(given & set(category_ids(num))) for num in SETS}
    best = max(SETS, key=lambda num: shared[num] / len(given | set(category_ids(num))))
    return (best, shared[best]) if 2 * shared[best] >= len(given | set(category_ids(best))) else None


@functools.cache
def _table() -> tuple[tuple[str, str, int], ...]:
    """(wnid, name, smallest set) in the order of the packaged file."""
    lines = _TABLE.read_text(encoding="utf-8").splitlines()
    rows = [line.split("\t") for line in lines if not line.startswith("#")]
    return tuple((wnid, name, int(smallest)) for wnid, name, smallest in rows)
