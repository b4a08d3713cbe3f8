"""Boundary masks against hand-drawn ones and against erosion id by id."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from luss.benchmark.boundary import boundary_mask, boundary_radius


def _eroded_away(ids, radius):
    """The definition: erode the mask of each id r times with a 3 x 3 square, outside the frame counts as unset."""
    boundary = np.zeros(ids.shape, bool)
    for value in np.unique(ids):
        mask = ids == value
        for _ in range(radius):
            padded = np.pad(mask, 1)
            eroded = np.ones_like(mask)
            for dy in range(3):
                for dx in range(3):
                    eroded &= padded[dy : dy + mask.shape[0], dx : dx + mask.shape[1]]
            mask = eroded
        boundary |= (ids == value) & ~mask
    return boundary


@pytest.mark.parametrize("shape, radius", [((90, 120), 4), ((210, 280), 10), ((30, 40), 2), ((1, 1), 1), ((375, 500), 19)])
def test_radius_rounds_half_to_even(shape, radius):
    assert boundary_radius(*shape) == radius


def test_by_hand():
    ids = np.zeros((5, 6), int)
    ids[:, 3:] = 7
    drawn = ["######", "#.##.#", "#.##.#", "#.##.#", "######"]
    assert boundary_mask(ids, 1).tolist() == [[cell == "#" for cell in row] for row in drawn]


@settings(max_examples=200, deadline=None)
@given(arrays(np.int32, array_shapes(min_dims=2, max_dims=2, max_side=14), elements=st.integers(0, 1)), st.integers(1, 5))
def test_equals_erosion(ids, radius):
    np.testing.assert_array_equal(boundary_mask(ids, radius), _eroded_away(ids, radius))


@pytest.mark.parametrize("seed", range(4))
def test_equals_erosion_with_large_areas(seed):
    rng = np.random.default_rng(seed)
    ids = np.kron(rng.integers(0, 3, (4, 5)), np.ones((int(rng.integers(5, 16)), int(rng.integers(5, 16))), int))
    for radius in (1, 2, 3, 4, 6, 7):
        np.testing.assert_array_equal(boundary_mask(ids, radius), _eroded_away(ids, radius))


def test_radius_is_checked():
    with pytest.raises(ValueError, match="radius=0"):
        boundary_mask(np.zeros((3, 3), int), 0)
