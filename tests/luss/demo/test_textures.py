"""Patterns of the objects."""

import numpy as np
import pytest

from luss.demo.categories import TEXTURES
from luss.demo.fields import cells
from luss.demo.textures import texture
from luss.demo.tones import colour, tones

Y, X = np.mgrid[:96, :128].astype(np.float32)


@pytest.mark.parametrize("name", TEXTURES)
def test_a_pattern_shows_both_tones_many_times(name):
    for seed in range(6):
        value, third = texture(name, np.random.default_rng(seed), X, Y)
        assert value.shape == third.shape == X.shape and value.dtype == np.float32
        assert value.min() == 0 and value.max() == 1 and third.min() >= 0 and third.max() <= 1
        assert 0.1 < value.mean() < 0.9
        changes = np.abs(np.diff(value > 0.5, axis=0)).sum(0).mean() + np.abs(np.diff(value > 0.5, axis=1)).sum(1).mean()
        assert 6 < changes < 36  # edges met along a column and a row: periods of about 16 to 32 pixels


@pytest.mark.parametrize("name", TEXTURES)
def test_patterns_of_two_draws_differ(name):
    first, second = (texture(name, np.random.default_rng(seed), X, Y)[0] for seed in (1, 2))
    assert np.abs(first - second).mean() > 0.1


def test_cells_against_a_search_over_all_centres():
    edge, tone = cells(np.random.default_rng(3), X, Y, 16)
    assert (edge >= 0).all() and edge.max() < 1.5
    flat = edge < 0.02  # on a border two tones meet: neighbours differ there and only there
    inside = ~flat[:, :-1] & ~flat[:, 1:] & (tone[:, :-1] == tone[:, 1:])
    assert inside.mean() > 0.8
    changes = tone[:, :-1] != tone[:, 1:]
    assert edge[:, :-1][changes].max() < 0.25 and changes.any()


def test_colours_have_the_lightness_asked_for():
    rng = np.random.default_rng(0)
    for lightness in np.linspace(0, 1, 21):
        rgb = colour(rng, lightness)
        assert rgb.min() >= 0 and rgb.max() <= 1 + 1e-6
        assert rgb @ [0.299, 0.587, 0.114] == pytest.approx(lightness, abs=1e-5)


def test_the_second_tone_is_clearly_lighter():
    light = np.array([tones(np.random.default_rng(seed))[:2] @ [0.299, 0.587, 0.114] for seed in range(60)])
    assert (light[:, 1] - light[:, 0]).min() > 0.4
