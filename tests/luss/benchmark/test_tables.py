from __future__ import annotations

import statistics

import pytest

from engine.runtime.errors import LussError
from luss.benchmark.baselines import baselines
from luss.benchmark.results import RunResult, load_result
from luss.benchmark.tables import COLUMNS, PROVENANCE, Entry, comparison_table, per_class_table
from tests.luss.benchmark.result_files import edit_json, evaluated_run


def result(
    miou: float = 20.0, *, classes: int = 50, seed: int | None = 1, images: int | None = 752, split: str = "validation", **changes
) -> RunResult:
    metrics = {**dict.fromkeys(COLUMNS, 10.0), "mIoU": miou, "S": None}
    given = dict(path=f"runs/{miou:g}", metrics=metrics, ious=(miou,) * (classes + 1), images=images, split=split, matching="image", seed=seed)
    return RunResult(**{**given, "counts": "", "workspace": "", **changes})


def entry(name: str, *runs: RunResult) -> Entry:
    return Entry(name, runs, is_group=len(runs) > 1)


def column(table, name: str):
    return [row.values[table.columns.index(name)] for row in table.rows]


def test_mean_and_spread_over_seeds():
    table = comparison_table([entry("one", result(5)), entry("three", *(result(v, seed=s) for s, v in enumerate((10.0, 14.0, 15.0), 1)))])
    one, three = column(table, "mIoU")
    assert (one.mean, one.std) == (5, None)
    assert three.mean == pytest.approx(13) and three.std == pytest.approx(statistics.stdev([10, 14, 15])) == pytest.approx(7**0.5)
    assert column(table, "S") == [None, None]
    assert [row.kind for row in table.rows] == ["run", "group"] and [row.provenance["seeds"] for row in table.rows] == ["1", "1, 2, 3"]
    assert "standard deviation over the runs of a group (three: 3)" in table.caption and table.shown == ("seeds",)


def test_a_size_that_one_run_lacks_has_no_mean():
    with_s = result(11, seed=2)
    with_s.metrics["S"] = 3.0
    assert column(comparison_table([entry("g", result(10), with_s)]), "S") == [None]


def test_the_caption_says_split_images_matching_seeds_and_background():
    caption = comparison_table([entry("a", result())]).caption
    for part in (
        "50 categories",
        "background (class 0) counts as one of the 51 classes",
        "Split validation",
        "752 images",
        "matching scheme 'image'",
        "seeds 1",
    ):
        assert part in caption
    unknown = comparison_table([entry("a", result(split="", images=None, seed=None, matching=""))]).caption
    for part in ("Split not recorded", "number of images not recorded", "matching scheme not recorded", "seeds not recorded"):
        assert part in unknown


def test_what_differs_becomes_a_column_and_leaves_the_caption():
    table = comparison_table([entry("a", result(images=100)), entry("b", result(11, split="test"))])
    assert table.shown == ("split", "images") and "plit validation" not in table.caption
    assert "The rows are of different images: they cannot be compared with each other." in table.notes


def test_what_is_not_recorded_is_no_difference():
    assert comparison_table([entry("a", result()), entry("b", result(11, split="", images=None))]).notes == ()
    assert comparison_table([entry("g", result(), result(11, split="", seed=2))]).notes == ()


def test_published_figures():
    table = comparison_table([entry("a", result())], published=baselines(50, "validation"))
    published = [row for row in table.rows if row.kind == "published"]
    assert {row.provenance["split"] for row in published} == {"validation", "not stated"} and all(row.provenance["source"] for row in published)
    best = next(row for row in published if row.labels[0].startswith("UO-SAM"))
    assert [value and value.mean for value in best.values] == [35.8, 25.7, 64.6, 56.7] + [None] * 8
    assert table.shown == ("split", "source")
    assert table.notes == ("Published figures are of ImageNet-S, as their sources give them; none of them was measured here.",)
    small = comparison_table([entry("a", result(images=160))], published=baselines(50, "validation"))
    assert "a was scored on 160 images, but validation of ImageNet-S-50 has 752: it cannot be compared with the published figures." in small.notes


def test_runs_that_do_not_go_together():
    with pytest.raises(LussError, match="50 categories, but .* has 300; expected runs on one set"):
        comparison_table([entry("a", result(classes=300)), entry("b", result())])
    with pytest.raises(LussError, match=r"group g: .* 700 images of validation .* on 752 images of validation"):
        comparison_table([entry("g", result(), result(11, images=700))])
    with pytest.raises(ValueError, match="distinct names"):
        comparison_table([entry("a", result()), entry("a", result(1))])
    with pytest.raises(LussError, match="nothing to compare it with"):
        comparison_table([], against=entry("a", result()))


def test_what_the_evaluation_noted_stands_below():
    table = comparison_table([entry("g", result(notes=("an upper bound",)), result(11, seed=2, notes=("an upper bound",)))])
    assert table.notes == ("g: an upper bound.",)


def test_equal_seeds_are_no_spread():
    assert "same seed (1, 1)" in comparison_table([entry("g", result(), result(11))]).notes[0]


def test_intervals_and_differences(tmp_path):
    good, bad = (Entry(name, (load_result(evaluated_run(tmp_path / name, wrong)),)) for name, wrong in (("good", 0.2), ("bad", 0.6)))
    table = comparison_table([good], against=bad, resamples=200)
    assert [(row.labels[0], row.kind) for row in table.rows] == [("good", "run"), ("bad", "run"), ("good minus bad", "difference")]
    for name in ("mIoU", "mBIoU", "Acc", "FMeasure"):
        first, second, difference = column(table, name)
        assert first.mean == good.runs[0].metrics[name] and first.low <= first.mean <= first.high
        assert difference.mean == pytest.approx(first.mean - second.mean) and difference.low <= difference.mean <= difference.high
    assert column(table, "mIoU")[2].low > 0
    assert all(value is None or value.low is None for value in column(table, "MS"))
    assert "200 paired bootstrap resamples of the images (seed 0)" in table.caption and table.notes == ()
    assert set(table.rows[2].provenance) == set(PROVENANCE)


def test_a_group_is_resampled_as_its_mean(tmp_path):
    runs = tuple(load_result(evaluated_run(tmp_path / str(seed), 0.4, seed=seed)) for seed in (1, 2))
    twice = comparison_table([Entry("g", runs, True), Entry("first", runs[:1])], resamples=100)
    group, first = column(twice, "mIoU")
    assert group.mean == pytest.approx((runs[0].metrics["mIoU"] + runs[1].metrics["mIoU"]) / 2) and group.std is not None
    assert group.low < group.mean < group.high and group.high - group.low != pytest.approx(first.high - first.low)


def test_runs_without_counts_keep_their_row(tmp_path):
    old, new = (Entry(str(counts), (load_result(evaluated_run(tmp_path / str(counts), 0.3, counts=counts)),)) for counts in (False, True))
    table = comparison_table([old], against=new, resamples=100)
    first, second, difference = column(table, "mIoU")
    assert first.low is None and second.low is not None and difference.low is None and difference.mean == 0
    assert len(table.notes) == 1 and "False: no intervals, " in table.notes[0] and "no counts.npz" in table.notes[0]


def test_differences_need_the_same_images(tmp_path):
    first, second = (Entry(str(n), (load_result(evaluated_run(tmp_path / str(n), 0.3, images=n)),)) for n in (8, 6))
    with pytest.raises(LussError, match=r"/6: not the images of .*/8: 2 are in one of them only"):
        comparison_table([first], against=second, resamples=100)
    assert len(comparison_table([first, second], resamples=100).rows) == 2  # each by itself is fine


def test_counts_that_do_not_give_a_metric_give_no_interval_for_it(tmp_path):
    root = evaluated_run(tmp_path / "a", 0.3)
    edit_json(root / "8-evaluate" / "metrics.json", mBIoU=1.0)
    table = comparison_table([Entry("a", (load_result(root),))], resamples=100)
    assert column(table, "mBIoU")[0].low is None and column(table, "mIoU")[0].low is not None
    assert "a: no interval of mBIoU" in table.notes[0]


def test_iou_of_every_class():
    table = per_class_table([entry("a", result(10)), entry("g", result(1), result(3, seed=2))], ["tench", "goldfish"])
    assert len(table.rows) == 51 and table.columns == ("a", "g") and table.head == ("id", "category")
    assert [row.labels for row in table.rows[:4]] == [("0", "other"), ("1", "tench"), ("2", "goldfish"), ("3", "category 3")]
    assert [value.mean for value in table.rows[1].values] == [10, 2] and table.rows[1].values[1].std == pytest.approx(2**0.5)
    assert "class 0 is background" in table.caption and "Split validation" in table.caption
