from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from luss.benchmark.counts import count_image, stack_counts
from luss.report.confusion import BLOCK, WHOLE, confused_pairs, confusion_counts, drawn_categories, heat_map
from tests.luss.report.samples import Page

IDS = [arrays(np.int32, (5, 6), elements=st.sampled_from(ids)) for ids in ([0, 1, 2, 3, 9], [0, 1, 2, 3, 1000])]


def texts(svg: str) -> list[str]:
    page = Page(svg.replace("<text", "<text>\n</text><text"))
    return [line for line in page.text.split("\n") if line]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(*IDS), min_size=1, max_size=3))
def test_counts_are_pixels(pairs):
    found = confusion_counts(stack_counts(count_image(pred, gt) for pred, gt in pairs), 3)
    for true in range(4):
        for predicted in range(4):
            assert found[true, predicted] == sum(int(((gt == true) & (pred == predicted)).sum()) for pred, gt in pairs)


def test_pairs_are_sorted_by_share_without_background():
    counts = np.array([[50, 9, 9, 9], [80, 10, 10, 0], [0, 30, 60, 10], [0, 0, 0, 0]])
    assert confused_pairs(counts, 9) == [(2, 1, 0.3), (1, 2, 0.1), (2, 3, 0.1)]
    assert confused_pairs(counts, 1) == [(2, 1, 0.3)]
    assert confused_pairs(np.diag([5, 5, 5]), 4) == []


def test_a_small_set_is_drawn_whole_with_its_percentages():
    counts = np.array([[90, 10, 0], [0, 25, 75], [0, 0, 0]])
    svg = heat_map(counts, drawn_categories(counts), ["other", "cat & <dog>", "x" * 30])
    found = texts(svg)
    assert found.count("cat & <dog>") == 2 and found.count("x" * 21 + "…") == 2
    assert sorted(text for text in found if text.isdigit()) == ["10", "25", "75", "90"]
    assert len(Page(svg).all("rect")) == 1 + 4 and "all the rest" not in found


def test_of_many_categories_the_most_confused_are_drawn():
    total = 919
    counts = np.diag(np.full(total + 1, 100))
    for rank in range(20):  # 10 + 40 rank is taken for the next one, the more the higher the rank
        counts[10 + 40 * rank, 11 + 40 * rank] = 100 + 10 * rank
    counts[11 + 40 * 19, 5] = 60
    drawn = drawn_categories(counts)
    assert len(drawn) == BLOCK and drawn == sorted(drawn) and {10 + 40 * 19, 11 + 40 * 19} <= set(drawn) and 10 not in drawn
    found = texts(heat_map(counts, drawn, [f"name {number}" for number in range(total + 1)]))
    assert "all the rest" in found and "name 0" in found and not any(text.isdigit() for text in found)
    assert len(heat_map(counts, drawn, ["a"] * (total + 1))) < 20_000


def test_what_falls_outside_the_drawn_ones_has_its_own_column():
    counts = np.zeros((4, 4), int)
    counts[1] = [10, 20, 30, 40]
    assert [text for text in texts(heat_map(counts, [1], list("abcd"))) if text.isdigit()] == ["10", "20", "70"]


def test_limits_of_a_whole_drawing():
    for total in (1, WHOLE):
        assert drawn_categories(np.eye(total + 1, dtype=int)) == list(range(1, total + 1))
    assert drawn_categories(np.eye(WHOLE + 2, dtype=int)) == []
    assert "other" in heat_map(np.eye(WHOLE + 2, dtype=int), [], ["other"] * (WHOLE + 2))
