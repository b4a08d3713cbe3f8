"""Per-image figures against compute_metrics of single images, and by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from luss.benchmark.counts import count_image, stack_counts
from luss.benchmark.metrics import compute_metrics, iou
from luss.benchmark.per_image import class_areas, image_f_measures, image_is_right, image_mious

PAIRS = st.lists(
    st.tuples(*(arrays(np.int32, (5, 6), elements=st.sampled_from(ids)) for ids in ([0, 1, 2, 3, 9], [0, 1, 2, 3, 1000]))), min_size=1, max_size=5
)


@settings(max_examples=60, deadline=None)
@given(PAIRS)
def test_one_image_at_a_time_gives_the_same(pairs):
    counts = [count_image(pred, gt) for pred, gt in pairs]
    table = stack_counts(counts)
    alone = [compute_metrics(stack_counts([one]), 3) for one in counts]
    assert image_f_measures(table) == pytest.approx([one["FMeasure"] / 100 for one in alone], abs=1e-12)
    assert image_is_right(table, 3).tolist() == [one["Acc"] == 100 for one in alone]
    for values, (pred, gt), one in zip(image_mious(table, 3).tolist(), pairs, alone):
        valid = gt != 1000
        present = [label for label in range(4) if label in pred[valid] or label in gt[valid]]
        expected = np.mean([one["IoUs"][label] / 100 for label in present]) if present else np.nan
        assert values == pytest.approx(expected, abs=1e-12, nan_ok=True)


@settings(max_examples=40, deadline=None)
@given(PAIRS)
def test_means_and_sums_are_the_metrics_of_the_set(pairs):
    table = stack_counts(count_image(pred, gt) for pred, gt in pairs)
    metrics = compute_metrics(table, 3)
    assert 100 * image_f_measures(table).mean() == pytest.approx(metrics["FMeasure"])
    assert 100 * image_is_right(table, 3).mean() == pytest.approx(metrics["Acc"])
    for boundary, name in ((False, "mIoU"), (True, "mBIoU")):
        common, predicted, true = (np.asarray(matrix.sum(1)).ravel() for matrix in class_areas(table, 3, boundary))
        assert 100 * iou(common, predicted, true).mean() == pytest.approx(metrics[name])


def test_by_hand():
    table = stack_counts([count_image(np.array([[1, 1, 0, 2]]), np.array([[1, 0, 0, 1000]])), count_image(np.array([[1]]), np.array([[1000]]))])
    assert image_mious(table, 2).tolist() == pytest.approx([(1 / 2 + 1 / 2) / 2, np.nan], nan_ok=True)
    assert image_is_right(table, 2).tolist() == [True, False]
    assert class_areas(table, 2)[1].toarray().tolist() == [[1, 0], [2, 0], [0, 0]]
