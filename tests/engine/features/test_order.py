from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from engine.features.order import global_order


def plain(parts, many):
    """(image, number as stored) of all rows in order, by the definition."""
    groups: dict[int, list[int]] = {}
    number = 0
    for part in parts:
        previous, open_group = None, False
        for image in part:
            if not (many and image == previous):
                open_group = image not in groups
                if open_group:
                    groups[image] = []
            if open_group:
                groups[image].append(number)
                open_group = many
            previous = image
            number += 1
    return [(image, stored) for image in sorted(groups) for stored in groups[image]]


@given(st.lists(st.lists(st.integers(0, 12), max_size=8), max_size=5), st.booleans())
def test_against_the_definition(parts, many):
    ids, order = global_order([np.array(part, np.uint32) for part in parts], many)
    order = np.arange(len(ids)) if order is None else order
    assert list(zip(ids.tolist(), order.tolist())) == plain(parts, many)
    assert ids.dtype == np.uint32


def test_rows_in_their_order_need_no_index():
    parts = [np.array([1, 3, 4], np.uint32), np.array([9, 2**32 - 1], np.uint32)]
    assert global_order(parts, False)[1] is None
    assert global_order([np.array([1, 1, 2], np.uint32)], True)[1] is None
    assert global_order([np.array([1, 1, 2], np.uint32)], False)[1].tolist() == [0, 2]
    assert len(global_order([], False)[0]) == 0
