from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from luss.benchmark.label_map import write_label_map
from luss.report.extremes import extremes, worst_and_best
from luss.report.scored import scored_images
from luss.report.sources import Absent, Run
from tests.luss.report.samples import CLASSES, Page, finished_run


@given(st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0, np.nan]), max_size=12), st.integers(1, 6))
def test_worst_and_best_do_not_overlap(values, count):
    names = [f"image {number:02}" for number in range(len(values))]
    worst, best = worst_and_best(names, np.array(values), count)
    finite = [value for value in values if value == value]
    assert len(worst) == min(count, (len(finite) + 1) // 2) and len(best) == min(count, len(finite) // 2)
    assert not set(worst) & set(best)
    assert [values[i] for i in worst] == sorted(finite)[: len(worst)]
    assert [values[i] for i in best] == sorted(finite, reverse=True)[: len(best)]


def test_equal_values_are_taken_by_name():
    assert worst_and_best(["b", "a", "c", "d"], np.zeros(4), 1) == ([1], [3])


def test_the_right_images_with_their_figures(tmp_path):
    root = finished_run(tmp_path)
    good, bad = np.full((200, 300), 0), np.full((200, 300), 3)  # cluster 2 is category 2, cluster 3 is category 1
    good[:, :150] = 2
    write_label_map(root / "7-predict" / "validation" / "n02" / "a.3.png", good)
    write_label_map(root / "7-predict" / "validation" / "n02" / "a.1.png", bad)
    run = Run(root)
    page = Page(extremes(run, scored_images(run), 1))
    assert re.findall(r"n0./a\.\d: mean IoU [\d.]+", page.text) == ["n02/a.1: mean IoU 0.0", "n02/a.3: mean IoU 100.0"]
    assert page.text.index("Worst") < page.text.index("n02/a.1") < page.text.index("Best")
    names = ("photo", "prediction", "ground truth")
    expected = [f"{role}: {name} of n02/a.{i}.jpg" for role, i in (("worst", 1), ("best", 3)) for name in names]
    assert [image["alt"] for image in page.all("img")] == expected
    assert "striped ring" in page.text and "Counted from the label maps of 15 of the 15" in page.text


def test_names_are_escaped(tmp_path):
    run = Run(finished_run(tmp_path))
    page = Page(extremes(run, scored_images(run), 8))
    assert CLASSES[0] in page.text and not page.all("script") and len(page.all("figure")) == 15


def test_a_photo_that_went_away(tmp_path):
    root = finished_run(tmp_path)
    scored = scored_images(Run(root))
    for path in (tmp_path / "data" / "validation" / "n02").iterdir():
        path.unlink()
    assert "no such image in validation any more" in Page(extremes(Run(root), scored, 8)).text


def test_nothing_to_show(tmp_path):
    root = finished_run(tmp_path)
    run = Run(root)
    scored = scored_images(run)
    with pytest.raises(Absent, match="No pictures were asked for"):
        extremes(run, scored, 0)
    for path in (tmp_path / "data" / "validation-segmentation").rglob("*.png"):
        write_label_map(path, np.full((200, 300), 1000))
    with pytest.raises(Absent, match="No image of validation has a valid pixel"):
        extremes(run, scored_images(run), 3)
