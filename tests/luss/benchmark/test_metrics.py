"""Metrics of tiny cases by hand, and laws they obey."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from luss.benchmark.counts import count_image, rename_predictions, stack_counts
from luss.benchmark.metrics import SCALARS, compute_metrics


def _metrics(pairs, num_classes):
    return compute_metrics(stack_counts(count_image(np.array(pred), np.array(gt)) for pred, gt in pairs), num_classes)


def test_by_hand():
    first = ([[1, 1, 0, 0, 0], [2, 0, 0, 0, 2]], [[1, 1, 1, 0, 0], [1, 0, 0, 0, 1000]])
    second = ([[2, 2, 0, 0, 0], [0] * 5], [[2, 0, 0, 0, 0], [0] * 5])
    result = _metrics([first, second], 2)  # two rows: every pixel is boundary
    expected = {
        "Acc": 100,
        "mIoU": 100 * (13 / 15 + 2 / 4 + 1 / 3) / 3,
        "FMeasure": 100 * (1.3 * 0.75 / (0.3 + 0.75) + 1.3 * 0.5 / (0.15 + 1)) / 2,
        "S": None,
        "MS": 100 * (8 / 9 + 1 / 2) / 2,  # second image: class 2 has 10 % of the pixels
        "ML": 100 * (5 / 6 + 2 / 4) / 2,  # first image: class 1 has ceil(100 * 4 / 9) = 45 %
        "L": None,
    }
    expected.update({"mBIoU": expected["mIoU"], "BS": None, "BMS": expected["MS"], "BML": expected["ML"], "BL": None})
    assert set(expected) == set(SCALARS)
    for name, value in expected.items():
        assert result[name] == (None if value is None else pytest.approx(value, rel=1e-10)), name
    assert result["IoUs"] == pytest.approx([100 * 13 / 15, 50, 100 / 3], rel=1e-9)


def test_size_limits_are_inclusive():
    for pixels, name in ((1, "S"), (5, "S"), (6, "MS"), (25, "MS"), (26, "ML"), (50, "ML"), (51, "L"), (100, "L")):
        gt = np.zeros((10, 10), int)
        gt.ravel()[:pixels] = 1
        result = _metrics([(gt, gt)], 1)
        assert [size for size in ("S", "MS", "ML", "L") if result[size] is not None] == [name]
        assert result[name] == pytest.approx(100)


def test_sizes_of_one_image_share_its_background():
    gt = np.zeros((10, 10), int)
    gt[0, :3], gt[1, :] = 1, 2  # 3 % and 10 %
    pred = np.where(gt == 2, 1, gt)
    result = _metrics([(pred, gt)], 2)
    assert result["S"] == pytest.approx(100)  # pixels of class 2 are left out, also where class 1 was predicted on them
    assert result["MS"] == pytest.approx(100 * (1 + 0) / 2)


def test_accuracy_takes_the_lowest_of_equals_and_needs_it_in_the_truth():
    assert _metrics([([[1, 2, 0]], [[2, 2, 0]])], 2)["Acc"] == 0  # tie: class 1, which is not there
    assert _metrics([([[1, 2, 0]], [[1, 1, 2]])], 2)["Acc"] == 100
    assert _metrics([([[0, 0, 2]], [[0, 2, 0]])], 2)["Acc"] == 100  # present, not overlapping
    assert _metrics([([[0, 0, 0]], [[0, 1, 0]])], 2)["Acc"] == 0
    assert _metrics([([[1, 2, 2]], [[1, 1000, 1000]])], 2)["Acc"] == 100  # ignored pixels do not vote


def test_ids_above_k_are_misses_but_no_false_positives():
    result = _metrics([([[9, 1, 0, 0]], [[1, 1, 0, 0]])], 1)
    assert result["IoUs"] == pytest.approx([100, 50])
    assert result["FMeasure"] == pytest.approx(100)


def test_image_that_is_all_ignored_counts_as_failed():
    result = _metrics([([[1, 0]], [[1, 0]]), ([[1, 0]], [[1000, 1000]])], 1)
    assert (result["Acc"], result["FMeasure"]) == (50, pytest.approx(50))
    assert result["mIoU"] == pytest.approx(100)


def test_nothing_valid_at_all():
    result = _metrics([([[1, 0]], [[1000, 1000]])], 3)
    assert [result[name] for name in SCALARS] == [0, 0, 0, 0] + [None] * 8
    assert result["IoUs"] == [0, 0, 0, 0]


MAPS = st.lists(
    st.tuples(*(arrays(np.int32, (6, 7), elements=st.sampled_from(ids)) for ids in ([0, 1, 2, 3], [0, 1, 2, 3, 1000]))), min_size=1, max_size=4
)


@settings(max_examples=40, deadline=None)
@given(MAPS)
def test_perfect_prediction(pairs):
    gts = [gt for _, gt in pairs]
    classes = set(np.concatenate([np.unique(gt) for gt in gts]).tolist()) - {1000}
    result = _metrics([(gt, gt) for gt in gts], 3)
    assert result["mIoU"] == pytest.approx(100 * len(classes) / 4)
    for name in SCALARS[4:]:
        assert result[name] is None or result[name] == pytest.approx(100)


@settings(max_examples=40, deadline=None)
@given(MAPS, st.randoms(use_true_random=False))
def test_order_of_images_does_not_matter(pairs, random):
    shuffled = list(pairs)
    random.shuffle(shuffled)
    assert _metrics(pairs, 3) == _metrics(shuffled, 3)


@settings(max_examples=30, deadline=None)
@given(MAPS, st.permutations([1, 2, 3]))
def test_renaming_prediction_and_truth_alike_permutes_ious(pairs, order):
    table = np.arange(1001)
    table[[1, 2, 3]] = order
    result = _metrics(pairs, 3)
    other = compute_metrics(stack_counts(rename_predictions(count_image(pred, table[gt]), table) for pred, gt in pairs), 3)
    assert [other["IoUs"][table[c]] for c in range(4)] == result["IoUs"]
    assert other["mBIoU"] == pytest.approx(result["mBIoU"])
    assert other["FMeasure"] == result["FMeasure"]


def test_number_of_classes_is_checked():
    with pytest.raises(ValueError, match="num_classes=0"):
        _metrics([([[0]], [[0]])], 0)
