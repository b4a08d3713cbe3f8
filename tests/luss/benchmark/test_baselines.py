"""The file of published figures: complete, well-formed, installed, and in agreement with the specification's text."""

import re
from pathlib import Path

import pytest

from luss.benchmark.baselines import METRICS, PROTOCOLS, all_baselines, baselines

ROOT = Path(__file__).parents[3]


def test_every_row_is_well_formed():
    rows = all_baselines()
    assert len(rows) > 60
    for row in rows:
        assert row.protocol in PROTOCOLS and row.classes in (50, 300, 919) and row.split in ("validation", "test", "")
        assert row.method and row.source and "mIoU" in row.metrics
        assert set(row.metrics) <= set(METRICS) and all(1 <= value <= 100 for value in row.metrics.values())
        assert (row.split == "") == ("split not stated" in row.remark)
    keys = [(row.protocol, row.classes, row.split, row.name, row.source) for row in rows]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize(
    ("classes", "split", "protocol", "method", "mious"),
    [
        (919, "validation", "unsupervised", "PASS", [11.5, 11.4]),
        (300, "test", "unsupervised", "PASS", [18.1, 17.4]),
        (50, "test", "unsupervised", "PASS", [29.3, 29.8]),
        (50, "validation", "distance", "PASS", [39.6]),
        (919, "test", "semi", "SERE", [40.2, 40.5, 57.8, 59.0, 48.2, 63.3]),
        (919, "validation", "semi", "PASS", [21.0, 21.6]),
        (919, "validation", "semi", "MAE", [38.3, 40.0, 61.0, 61.6]),  # the port's split is not stated: listed with either
    ],
)
def test_selection(classes, split, protocol, method, mious):
    assert [row.metrics["mIoU"] for row in baselines(classes, split, protocol) if row.method == method] == mious


def test_figures_beside_miou():
    (found,) = [row for row in baselines(50, "validation") if row.name == "UO-SAM on PASS, SAM post-processing"]
    assert found.metrics == {"mIoU": 35.8, "mBIoU": 25.7, "Acc": 64.6, "FMeasure": 56.7} and "table II" in found.source


def test_nothing_for_other_sets_and_no_other_protocols():
    assert baselines(8) == []
    assert len(baselines(50)) > len(baselines(50, "test")) > 0
    with pytest.raises(ValueError, match="protocol='free': expected one of unsupervised"):
        baselines(50, protocol="free")


def test_the_file_is_packaged():
    assert '"*.csv"' in (ROOT / "setup.py").read_text()
    assert re.search(r"^recursive-include luss .*\*\.csv", (ROOT / "MANIFEST.in").read_text(), re.MULTILINE)


@pytest.mark.golden
def test_figures_stand_in_the_specification():
    from shared_folder import shared_path

    text = shared_path("spec", "benchmark.md").read_text(encoding="utf-8")
    section = text[text.index("## 7. Published results") : text.index("**7.4")]
    for row in all_baselines():
        for value in row.metrics.values():
            written = f"{value / 100:.2f}" if "published as" in row.remark else f"{value:.1f}"
            assert re.search(rf"(?<![\d.]){re.escape(written)}(?![\d])", section), (row.name, value)
