from __future__ import annotations

import json
import re

import pytest

from luss.report.clusters import cluster_charts
from tests.luss.report.samples import Page, finished_run
from tests.luss.report.test_html import page_of


def record(restart: int, iteration: int, objective: float, moved: int | None = None, splits: int = 0, approximate: bool = False) -> dict:
    figures = {"objective": objective, "seconds": 0.1, "moved": moved, "splits": splits, "imbalance": 1.5, "approximate": approximate}
    return {"restart": restart, "iteration": iteration, **figures}


def report(**changes) -> dict:
    """Three restarts, of which the second ends early and the third is the best; iterations come one after another, as they are made."""
    ways = {0: [9.0, 8.0, 7.5], 1: [8.5, 8.0], 2: [9.5, 7.0, 6.5]}
    records = [record(r, i, way[i], None if i == 0 else 30 - 10 * i) for i in range(3) for r, way in ways.items() if i < len(way)]
    made = {"engine": "luss", "seed": 3, "objective": 6.5, "best_restart": 2, "iterations": records}
    return {**made, "sizes": [5, 3, 2], "imbalance": 1.14, **changes}


def titles(charts: list[str]) -> list[str]:
    return [Page(chart).all("svg")[0]["aria-label"] for chart in charts]


def test_every_restart_has_a_line_and_the_best_stands_out():
    facts, charts = cluster_charts(report())
    assert titles(charts) == ["images in a cluster, largest first", "k-means objective", "images that changed cluster"]
    objective, moved = charts[1:]
    assert objective.count("<polyline") == 3 and moved.count("<polyline") == 2 and moved.count("<circle") == 1  # restart 1 moved once
    found = re.findall(r'<polyline points="([^"]*)"[^>]*stroke-width="([^"]*)"', objective)
    widths = [float(width) for _, width in found]
    assert widths[-1] == max(widths) and widths.count(max(widths)) == 1  # drawn last, over the others
    lowest = [max(float(pair.split(",")[1]) for pair in points.split()) for points, _ in found]
    assert lowest[-1] == max(lowest)  # its end is the lowest objective: y grows downwards
    kept = "the dark line is restart 3, kept with objective 6.5 after 3 iterations"
    assert facts == [f"k-means by luss, 3 restarts; {kept}; imbalance 1.14 (1: clusters of one size)."]


def test_splits_are_told_and_drawn_where_there_were_some():
    records = [record(0, 0, 9.0, splits=4), record(0, 1, 8.0, 5, splits=1)]
    facts, charts = cluster_charts(report(iterations=records, best_restart=0))
    assert facts[1] == "Clusters ran empty 5 times, and took half of another one."
    assert titles(charts)[-1] == "clusters that ran empty"


def test_mini_batches_are_called_so():
    records = [record(0, i, 9.0 - i, approximate=True) for i in range(3)]
    _, charts = cluster_charts(report(iterations=records, best_restart=0))
    assert titles(charts)[1:] == ["k-means objective, estimated on mini-batches"]


def test_a_report_of_before_is_drawn_as_one_line():
    facts, charts = cluster_charts({"sizes": [3, 4], "iterations": [{"objective": 9.0}, {"objective": 7.5, "splits": 0}]})
    assert facts == [] and titles(charts) == ["images in a cluster, largest first", "k-means objective"]
    assert charts[1].count("<polyline") == 1 and "restarts one after another" in charts[1]


@pytest.mark.parametrize(
    "changes",
    [
        {"iterations": None},
        {"iterations": []},
        {"iterations": [3, None]},
        {"iterations": [{"restart": "a", "iteration": 0}]},
        {"iterations": [{"restart": 0, "iteration": 0}], "best_restart": "x", "objective": None, "imbalance": "y", "engine": 3},
        {"iterations": [record(0, 0, float("nan"))], "sizes": "many"},
        {"objective": None},
    ],
    ids=str,
)
def test_damaged_figures_are_left_out(changes):
    facts, charts = cluster_charts(report(**changes))
    for text in facts + charts:
        assert "nan" not in text.lower()
        Page(text)


def test_the_page_shows_them(tmp_path):
    run = finished_run(tmp_path)
    path = run / "3-cluster" / "report.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **report()}))
    page = page_of(run)
    assert "the dark line is restart 3" in page.text and "images that changed cluster" in page.text
    assert len(page.all("svg")) == 8  # one more than without moved rows
