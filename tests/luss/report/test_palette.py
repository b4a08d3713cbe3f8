from __future__ import annotations

import numpy as np

from luss.report.palette import IGNORE_DARK, IGNORE_LIGHT, OTHER, category_colours, colour, css, heat, heat_gradient


def test_colours_are_fixed_and_all_different():
    colours = category_colours()
    assert colours.shape == (1000, 3) and len(np.unique(colours, axis=0)) == 1000
    assert colour(1) == tuple(colours[0]) and colour(1001) == colour(1) and colour(0) == OTHER


def test_the_first_colours_are_far_from_each_other_and_from_the_special_ones():
    first = np.array([OTHER, IGNORE_LIGHT, IGNORE_DARK, *(colour(i) for i in range(1, 31))], float)
    distance = np.linalg.norm(first[:, None] - first[None], axis=-1)[np.triu_indices(len(first), 1)]
    assert np.sort(distance)[1] > 50  # the nearest pair are the two tones of the hatch


def test_heat_grows_brighter_and_bears_any_value():
    shades = heat(np.linspace(0, 1, 11)).astype(int).sum(1)
    assert (np.diff(shades) > 0).all()
    assert (heat(np.array([np.nan, -5, -np.inf])) == heat(np.zeros(3))).all() and (heat(np.array([7, np.inf])) == heat(np.ones(2))).all()


def test_css():
    assert css((1, 16, 255)) == "#0110ff" and heat_gradient().count("#") == 5
