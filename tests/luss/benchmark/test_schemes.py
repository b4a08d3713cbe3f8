"""Matching schemes by hand, and uniqueness of the optimum against trying every assignment."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from luss.benchmark.counts import count_image, stack_counts
from luss.benchmark.matching import assign, cooccurrence, overlap
from luss.benchmark.schemes import SCHEMES, match_by, optimum_unique


def _table(*pairs):
    return stack_counts([count_image(np.array([pred]), np.array([gt])) for pred, gt in pairs])


# cluster 1: in both images of class 1, one pixel each, but 8 pixels of class 2 in one image
EXAMPLE = [
    ([1, 0, 0, 0, 0, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0, 0, 0, 0]),
    ([1, 2, 2, 2, 2, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0, 0, 0, 0]),
    ([1, 1, 1, 1, 1, 1, 1, 1, 2], [2, 2, 2, 2, 2, 2, 2, 2, 2]),
]


def test_schemes_by_hand():
    table = _table(*EXAMPLE)
    assert cooccurrence(table, 2, 2).tolist() == [[2, 1], [1, 1]]
    assert overlap(table, 2, 2).tolist() == [[2, 8], [1, 1]]
    image = match_by("image", table, 2, 2)
    assert (image.match, image.objective, image.optimum_unique, image.upper_bound) == ({1: 1, 2: 2}, 3, True, False)
    pixel = match_by("pixel", table, 2, 2)
    assert (pixel.match, pixel.objective, pixel.optimum_unique) == ({1: 2, 2: 1}, 9, True)
    # IoUs: 1-1 2/11, 1-2 8/11, 2-1 1/7, 2-2 1/13
    iou = match_by("iou", table, 2, 2)
    assert (iou.match, iou.optimum_unique) == ({1: 2, 2: 1}, True)
    assert iou.objective == pytest.approx(8 / 11 + 1 / 7, rel=1e-9)
    majority = match_by("majority", table, 3, 2)
    assert (majority.match, majority.objective, majority.upper_bound) == ({1: 2, 2: 1, 3: 0}, 9, True)
    assert majority.optimum_unique is False  # cluster 2 has one pixel of each class: the lower id
    assert match_by("identity", table, 2, 2).match == {1: 1, 2: 2}
    with pytest.raises(ValueError, match="expected one of image, pixel, iou, majority, identity"):
        match_by("best", table, 2, 2)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(("clusters", "classes"), [(5, 3), (3, 5), (1, 1), (1, 4), (4, 1)])
def test_more_and_fewer_clusters(scheme, clusters, classes):
    rng = np.random.default_rng(clusters * 10 + classes)
    table = _table(*[(rng.integers(0, clusters + 1, 20), rng.integers(0, classes + 1, 20)) for _ in range(6)])
    found = match_by(scheme, table, clusters, classes)
    assert sorted(found.match) == list(range(1, (classes if scheme == "identity" else clusters) + 1))
    given_labels = [label for label in found.match.values() if label]
    assert set(given_labels) <= set(range(1, classes + 1))
    if scheme != "majority":
        assert len(set(given_labels)) == len(given_labels)
        assert len(given_labels) == (classes if scheme == "identity" else min(clusters, classes))


def _best_matches(weight):
    """All best assignments as sets of the pairs that weigh something."""
    clusters, classes = weight.shape
    slots = list(range(classes)) + [None] * max(0, clusters - classes)
    found, best = set(), -1
    for order in itertools.permutations(slots, clusters):
        pairs = frozenset((i, j) for i, j in enumerate(order) if j is not None and weight[i, j] > 0)
        total = sum(int(weight[i, j]) for i, j in pairs)
        if total > best:
            found, best = set(), total
        if total == best:
            found.add(pairs)
    return found


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 5), st.integers(1, 5), st.integers(1, 6), st.data())
def test_uniqueness_against_all_assignments(clusters, classes, top, data):
    weight = data.draw(arrays(np.int64, (clusters, classes), elements=st.integers(0, top)))
    assert optimum_unique(weight, assign(weight)) == (len(_best_matches(weight)) == 1)


def test_uniqueness_at_full_size():
    rng = np.random.default_rng(0)
    weight = np.zeros((919, 919), np.int64)
    np.add.at(weight, (rng.integers(0, 919, 30_000), rng.integers(0, 919, 30_000)), 1)
    weight[np.arange(919), rng.permutation(919)] += 50
    match = assign(weight)
    assert optimum_unique(weight, match)
    first, second = match[1] - 1, match[2] - 1
    weight[0, second] = weight[0, first] + weight[1, second] - weight[1, first]  # swapping the two now costs nothing
    assert not optimum_unique(weight, assign(weight))


def test_a_match_that_is_not_best_is_refused():
    with pytest.raises(ValueError, match="not one of the best"):
        optimum_unique(np.array([[5, 0], [0, 5]]), {1: 2, 2: 1})
