"""Outlines and rasterisation."""

import numpy as np
import pytest

from luss.demo import shapes
from luss.demo.categories import SHAPES


def test_a_square_is_rasterised_where_it_lies():
    square = [(np.array([[2.0, 1.0], [6.0, 1.0], [6.0, 4.0], [2.0, 4.0]]), True)]
    cover = shapes.rasterise(square, 5, 8)
    assert cover.shape == (5, 8) and cover.dtype == np.float32
    assert (cover[1:4, 2:6] == 1).all() and cover[:, 7].max() == 0
    # Pillow paints the pixels an edge only touches, too: at most one fine pixel of three too much on every side
    assert 12 <= cover.sum() <= (4 + 2 / 3) * (3 + 2 / 3)


def test_a_part_that_cuts_leaves_a_hole():
    square = np.array([[0.0, 0.0], [9.0, 0.0], [9.0, 9.0], [0.0, 9.0]])
    cover = shapes.rasterise([(square, True), (square / 3 + 3, False)], 9, 9)
    assert cover[4, 4] == 0 and cover[1, 1] == 1


def test_area_of_a_disc():
    angle = np.linspace(0, 2 * np.pi, 200)
    disc = [(np.stack([np.cos(angle), np.sin(angle)], 1), True)]
    assert shapes.area(disc) == pytest.approx(np.pi, rel=0.05)


@pytest.mark.parametrize("shape", SHAPES)
def test_every_family_keeps_its_size_and_varies(shape):
    rng = np.random.default_rng(1)
    areas = []
    for _ in range(20):
        parts, matrix = shapes.deform(shapes.outline(shape, rng), rng)
        low, high = shapes.bounds(parts)
        assert (high - low > 0.7).all() and (high - low < 3.6).all()
        assert abs(np.linalg.det(matrix)) == pytest.approx(1)
        areas.append(shapes.area(parts))
    assert min(areas) > 0.9 and max(areas) < 3.2 and np.std(areas) > 0.01
