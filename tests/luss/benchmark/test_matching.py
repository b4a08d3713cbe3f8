"""Image-level matching: co-occurrence by hand, optimality against all permutations, ties, unequal numbers, match.json."""

import itertools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from engine.runtime.errors import LussError
from luss.benchmark.counts import count_image, stack_counts
from luss.benchmark.matching import (
    apply_match,
    assign,
    cooccurrence,
    identity_match,
    match_from_json,
    match_images,
    match_table,
    match_to_json,
    objective,
    overlap,
)


def _table(*pairs):
    return stack_counts([count_image(np.array([pred]), np.array([gt])) for pred, gt in pairs])


def test_cooccurrence_by_hand():
    table = _table(
        ([1, 1, 0, 0], [2, 0, 0, 1]),  # cluster 1 with classes 1 and 2, though it covers no pixel of class 1
        ([1, 2, 0, 3], [2, 2, 0, 1000]),  # cluster 3 only under ignore
        ([0, 0, 0, 0], [1, 1, 1, 1]),
        ([2, 9, 0, 0], [0, 0, 0, 0]),  # cluster 9 is beyond the number given
    )
    assert cooccurrence(table, 3, 2).tolist() == [[1, 2], [0, 1], [0, 0]]
    assert overlap(table, 3, 2).tolist() == [[0, 2], [0, 1], [0, 0]]
    # 1-1 with 2-2 and 1-2 with 2-1 both share two images; the second shares two pixels, the first only one
    assert match_images(table, 3, 2) == {1: 2, 2: 1, 3: 0}


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 5), st.integers(1, 5), st.data())
def test_best_of_all_assignments(clusters, classes, data):
    together = data.draw(arrays(np.int64, (clusters, classes), elements=st.integers(0, 4)))
    pixels = data.draw(arrays(np.int64, (clusters, classes), elements=st.integers(0, 1000)))
    match = assign(together, pixels)
    given_labels = [label for label in match.values() if label]
    assert sorted(match) == list(range(1, clusters + 1))
    assert len(set(given_labels)) == len(given_labels) == min(clusters, classes)
    slots = list(range(classes)) + [None] * max(0, clusters - classes)
    best = max(
        tuple(sum(int(grid[i, j]) for i, j in enumerate(order) if j is not None) for grid in (together, pixels))
        for order in itertools.permutations(slots, clusters)
    )
    assert (objective(together, match), objective(pixels, match)) == best


def test_tie_break_stays_exact_with_huge_areas():
    together = np.full((40, 40), 12_000, np.int64)
    pixels = np.full((40, 40), 2**40, np.int64) + np.eye(40, dtype=np.int64) * 2**30
    assert assign(together, pixels) == identity_match(40)


def test_more_and_fewer_clusters_than_classes():
    assert assign(np.array([[1, 0], [5, 0], [0, 3]])) == {1: 0, 2: 1, 3: 2}
    assert assign(np.array([[1, 0, 7]])) == {1: 3}


def test_apply_match():
    table = match_table({1: 2, 3: 1})
    assert apply_match(np.array([[0, 1, 3, 3]]), table).tolist() == [[0, 2, 1, 1]]
    for missing in (2, 4):
        with pytest.raises(ValueError, match=f"match: no entry for id {missing}; it has ids up to 3"):
            apply_match(np.array([[0, missing]]), table)
    with pytest.raises(ValueError, match="found 0: 3"):
        match_table({0: 3})


def test_json_has_the_published_form():
    match = {10: 1, 2: 0, 1: 3}
    text = json.dumps(match_to_json(match))
    assert text == '{"1": 3, "2": 0, "10": 1, "0": 0}'
    assert match_from_json(json.loads(text)) == {1: 3, 2: 0, 10: 1}


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(st.integers(1, 1000), st.integers(0, 919), min_size=1))
def test_json_round_trip(match):
    assert match_from_json(json.loads(json.dumps(match_to_json(match))), 919) == match


@pytest.mark.parametrize(
    "content", [[], {}, {"0": 0}, {"a": 1}, {"1": "2"}, {"1": True}, {"1": -1}, {"1": 51}, {"0": 1}, {"-1": 1}, {"01": 1}, {"²": 1}]
)
def test_bad_json_is_named(content):
    with pytest.raises(LussError, match=r"some/match\.json: expected one JSON object"):
        match_from_json(content, 50, "some/match.json")


def test_bad_arguments():
    with pytest.raises(ValueError, match="together: expected"):
        assign(np.zeros((0, 3), int))
    with pytest.raises(ValueError, match="pixels: expected the shape"):
        assign(np.zeros((2, 3), int), np.zeros((3, 2), int))
