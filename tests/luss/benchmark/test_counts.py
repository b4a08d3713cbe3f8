"""Sparse joint counts: by hand, against plain masks, and under renaming."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from luss.benchmark.boundary import boundary_mask
from luss.benchmark.counts import ImageCounts, count_image, counts_follow, rename_predictions, stack_counts

MAPS = st.tuples(st.integers(1, 12), st.integers(1, 12)).flatmap(
    lambda shape: st.tuples(*(arrays(np.int32, shape, elements=st.sampled_from(ids)) for ids in ([0, 1, 2, 300, 1000, 65535], [0, 1, 2, 300, 1000])))
)


def test_by_hand():
    pred = np.array([[1, 1, 0], [5, 1, 0]])
    gt = np.array([[1, 2, 0], [1, 1, 1000]])
    counts = count_image(pred, gt)  # so small that every pixel is boundary
    assert counts.rows.tolist() == [[0, 0, 1, 1, 1, 1], [1, 1, 2, 2, 2, 2], [1, 2, 1, 1, 1, 1], [5, 1, 1, 1, 1, 1]]
    assert counts.ignored.tolist() == [[0, 1]]
    assert (counts.valid, counts.shape) == (5, (2, 3))
    assert counts.true_ids().tolist() == [0, 1, 2]
    assert counts.predicted_ids().tolist() == [0, 1, 5]


def _assert_equals_masks(counts, pred, gt):
    pred_boundary, gt_boundary = boundary_mask(pred), boundary_mask(gt)
    assert (counts.rows[:, 2] > 0).all()
    expected = []
    for p, g in sorted(set(zip(pred.ravel().tolist(), gt.ravel().tolist()))):
        if g != 1000:
            at = (pred == p) & (gt == g)
            masks = (at, at & pred_boundary, at & gt_boundary, at & pred_boundary & gt_boundary)
            expected.append([p, g, *(int(mask.sum()) for mask in masks)])
    assert counts.rows.tolist() == expected
    assert counts.ignored.tolist() == [[p, int(((pred == p) & (gt == 1000)).sum())] for p in np.unique(pred[gt == 1000]).tolist()]


@settings(max_examples=100, deadline=None)
@given(MAPS)
def test_equals_masks(maps):
    _assert_equals_masks(count_image(*maps), *maps)


def test_equals_masks_on_a_large_map():
    rng = np.random.default_rng(3)
    pred, gt = (np.kron(rng.choice(ids, (6, 7)), np.ones((21, 17), int)) for ids in ([0, 4, 9, 600], [0, 4, 9, 1000]))
    counts = count_image(pred, gt)
    _assert_equals_masks(counts, pred, gt)
    assert 0 < counts.rows[:, 5].sum() < counts.rows[:, 3].sum() < counts.valid


@settings(max_examples=60, deadline=None)
@given(MAPS, st.permutations([0, 1, 2, 300, 1000, 65535]))
def test_renaming_one_to_one_equals_renaming_the_map(maps, order):
    pred, gt = maps
    table = np.full(65536, -1)
    table[[0, 1, 2, 300, 1000, 65535]] = order
    counts = count_image(pred, gt)
    assert counts_follow(counts, table)
    renamed, direct = rename_predictions(counts, table), count_image(table[pred], gt)
    assert renamed.rows.tolist() == direct.rows.tolist()
    assert renamed.ignored.tolist() == direct.ignored.tolist()


def test_renaming_many_to_one_adds_up_but_keeps_old_boundaries():
    pred = np.repeat([[1] * 30 + [2] * 30], 60, axis=0)
    gt = np.ones((60, 60), int)
    table = np.array([0, 1, 1])
    counts = count_image(pred, gt)
    assert not counts_follow(counts, table)
    renamed, direct = rename_predictions(counts, table), count_image(table[pred], gt)
    assert renamed.rows[0, :3].tolist() == direct.rows[0, :3].tolist() == [1, 1, 3600]
    assert renamed.rows[0, 3] > direct.rows[0, 3]


def test_ids_under_ignored_pixels_count_for_boundaries():
    """Two ids become one only under ignored pixels: still a boundary that vanishes."""
    pred, gt = np.array([[1, 2, 3]]), np.array([[1, 1, 1000]])
    assert not counts_follow(count_image(pred, gt), np.array([0, 1, 2, 2]))
    assert not counts_follow(count_image(pred, gt), np.array([0, 1, 0, 0]))


def test_rename_names_ids_without_entry():
    counts = count_image(np.array([[1, 7, 2]]), np.array([[1, 1, 1000]]))
    with pytest.raises(ValueError, match=r"match: no entry for id 2, 7; it has ids up to 2"):
        rename_predictions(counts, np.array([0, 1, -1]))


def test_stack_keeps_images_without_valid_pixels():
    full, empty = count_image(np.array([[1]]), np.array([[1]])), count_image(np.array([[1]]), np.array([[1000]]))
    table = stack_counts([empty, full, empty, full])
    assert (table.images, table.image.tolist(), len(table.rows)) == (4, [1, 3], 2)
    with pytest.raises(ValueError, match="images: expected at least one"):
        stack_counts([])


@pytest.mark.parametrize(
    "pred, gt, message",
    [
        (np.zeros((2, 3), int), np.zeros((3, 2), int), r"equal shapes, found \(2, 3\) and \(3, 2\)"),
        (np.zeros((2, 3)), np.zeros((2, 3), int), "pred: expected a non-empty .* found shape .* float64"),
        (np.zeros((2, 3), int), np.full((2, 3), -1), r"gt: expected ids in \[0, 65535\], found -1..-1"),
        (np.full((1, 1), 65536), np.zeros((1, 1), int), "pred: expected ids in"),
        (np.zeros((0, 3), int), np.zeros((0, 3), int), "pred: expected a non-empty"),
    ],
)
def test_bad_arguments(pred, gt, message):
    with pytest.raises(ValueError, match=message):
        count_image(pred, gt)


def test_counts_are_small():
    rng = np.random.default_rng(0)
    pred = np.kron(rng.integers(0, 5, (5, 5)), np.ones((75, 100), int))
    counts = count_image(pred, np.roll(pred, 30))
    assert isinstance(counts, ImageCounts)
    assert counts.rows.nbytes + counts.ignored.nbytes <= 25 * 48
