from __future__ import annotations

import math
import re

import numpy as np
import pytest

from luss.report.curves import HEIGHT, WIDTH, bar_chart, line_chart, running_mean, series_chart, ticks
from tests.luss.report.samples import Page


def lines(chart: str) -> list[np.ndarray]:
    """Points (n, 2) of each polyline."""
    return [np.array([pair.split(",") for pair in found.split()], float) for found in re.findall(r'<polyline points="([^"]*)"', chart)]


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]), (0, 10, [0, 2, 4, 6, 8, 10]), (3.1, 4.4, [3.25, 3.5, 3.75, 4, 4.25]), (-2, 3, [-2, -1, 0, 1, 2, 3])],
)
def test_ticks_are_round_numbers(low, high, expected):
    assert np.allclose(ticks(low, high), expected)


@pytest.mark.parametrize("high", [1e-12, 0.003, 7, 12345, 3e20])
def test_ticks_stay_inside_and_are_few(high):
    found = ticks(0, high)
    assert 3 <= len(found) <= 7 and found[0] >= 0 and found[-1] <= high * (1 + 1e-9)


def test_a_line_keeps_its_order_and_stays_inside_the_axes():
    (points,) = lines(line_chart([3, 1, 2], [1.0, 5.0, 3.0], "t"))
    assert (np.diff(points[:, 0]) > 0).all() and (np.diff(points[:, 1]) > 0).all()  # falling values, y grows downwards
    assert (points >= 0).all() and (points <= [WIDTH, HEIGHT]).all()


def test_smoothing_adds_a_second_line_of_smaller_range():
    rng = np.random.default_rng(0)
    raw, smooth = lines(line_chart(range(200), rng.random(200), "t", smooth=True))
    assert len(raw) == len(smooth) == 200 and np.ptp(smooth[:, 1]) < 0.5 * np.ptp(raw[:, 1])


def test_running_mean_against_loops():
    values = np.random.default_rng(0).random(60)
    expected = [values[max(0, i - 5) : i + 6].mean() for i in range(60)]
    assert np.allclose(running_mean(values), expected)
    assert running_mean([4.0]).tolist() == [4.0]


def test_a_long_log_is_thinned_but_keeps_its_spike():
    y = np.zeros(100_000)
    y[54_321] = 9
    (points,) = lines(line_chart(np.arange(100_000), y, "t"))
    assert len(points) <= 800 and np.count_nonzero(points[:, 1] < HEIGHT / 3) == 1


def test_values_that_are_not_finite_are_counted():
    chart = line_chart([1, 2, 3, 4], [1.0, math.nan, math.inf, 2.0], "t")
    assert "2 not finite" in chart and len(lines(chart)[0]) == 2
    assert line_chart([1], [math.nan], "a<b") == '<p class="note">a&lt;b: no finite value.</p>'


def test_one_point_and_a_constant_are_drawn():
    assert "<circle" in line_chart([10], [4.6], "t", smooth=True)
    (points,) = lines(line_chart([1, 2], [3.0, 3.0], "t"))
    assert np.isfinite(points).all()


def test_the_mark_is_drawn_also_beyond_the_curve():
    chart = line_chart([0, 0.1], [1.0, 2.0], "t", mark=0.9)
    at = float(re.search(r'<line x1="([\d.]+)" x2="\1"[^>]*stroke-dasharray', chart).group(1))
    assert lines(chart)[0][:, 0].max() < at <= WIDTH and ">0.9<" in chart


def test_charts_are_well_formed_and_escaped():
    line, bars = line_chart([1, 2], [3, 4], "<x>&", True, 1.5, "<y>"), bar_chart([1, 2, math.nan], "<x>&", "<y>")
    for chart in (line, bars, series_chart([([1, 2], [3, 4])], "<x>&", 0, "<y>")):
        page = Page(chart)
        assert "<x>&" in page.text and "<y>" in page.text and page.all("svg")[0]["aria-label"] == "<x>&"


def test_several_lines_share_one_frame_and_one_stands_out():
    chart = series_chart([([1, 2, 3], [9.0, 5.0, 4.0]), ([1, 2], [8.0, math.nan]), ([1, 2, 3], [7.0, 3.0, 2.0])], "t", dark=2)
    first, third = lines(chart)
    assert (first[:, 1] < third[:, 1]).all() and np.array_equal(first[:, 0], third[:, 0])
    strokes = re.findall(r'<polyline[^>]*stroke="([^"]*)"', chart)
    assert strokes[0] != strokes[1] and chart.count("<circle") == 1  # a line of one point
    assert len(set(re.findall(r'stroke="([^"]*)" stroke-width="2"', series_chart([([1, 2], [1.0, 2.0])] * 2, "t")))) == 1
    assert series_chart([([1], [math.nan])], "a<b") == series_chart([], "a<b") == '<p class="note">a&lt;b: no finite value.</p>'
    with pytest.raises(ValueError, match=r"lines\[1\]"):
        series_chart([([1], [1.0]), ([1], [1.0, 2.0])], "t")


def test_bars():
    chart = bar_chart([4, 2, 0, 1], "t")
    floor, *_ = {float(found) for found in re.findall(r"M[\d.]+,([\d.]+)V[\d.]+H[\d.]+V", chart)}
    tops = [float(found) for found in re.findall(r"M[\d.]+,[\d.]+V([\d.]+)H[\d.]+V", chart)]
    assert np.allclose((floor - np.array(tops)) / (floor - tops[0]), [1, 0.5, 0.25], atol=0.01)
    assert "nothing to draw" in bar_chart([], "t") and "<svg" in bar_chart([0, 0], "t") and "<svg" in bar_chart([1] * 919, "t")


def test_lengths_must_agree():
    with pytest.raises(ValueError, match="x, y"):
        line_chart([1, 2], [1.0], "t")
