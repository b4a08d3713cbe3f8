"""Semantic voting: CPU path and Jittor op against the reference, the reference against the spec's example, faults."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.ops.backend import backend
from engine.ops.masks import Masks
from engine.ops.vote_masks import VOTE, short_runs, vote_masks, vote_masks_host
from engine.ops.vote_masks_reference import vote_masks as reference
from tests.engine.ops.mask_samples import predicted, sam_like

GOLDEN = np.array([[0, 1, 1, 2], [0, 1, 2, 2], [0, 0, 2, 3]], np.int32)  # spec/sampass.md 1.4.1
GOLDEN_MASKS = np.zeros((3, 3, 4), bool)
GOLDEN_MASKS[0, :2, 1:] = GOLDEN_MASKS[1, :, :2] = GOLDEN_MASKS[2, :, 3] = True
GOLDEN_STEPS = [
    [[0, 1, 1, 2], [0, 1, 2, 2], [0, 0, 2, 3]],
    [[0, 1, 1, 1], [0, 1, 1, 1], [0, 0, 2, 3]],
    [[0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 2, 3]],
    [[0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 2, 1]],
]
GOLDEN_OTHER_ORDER = [[0, 2, 2, 2], [0, 2, 2, 2], [0, 0, 2, 2]]  # masks 2, 1, 3


def image(seed, height, width, count, labels, kind):
    """A map with regions and noise, and masks that overlap, repeat, are full or empty."""
    rng = np.random.default_rng(seed)
    side = int(rng.integers(1, 9))
    coarse = rng.integers(0, labels, (height // side + 1, width // side + 1)).repeat(side, 0).repeat(side, 1)[:height, :width]
    map_ = np.where(rng.random((height, width)) < rng.choice([0, 0.1, 1]), rng.integers(0, labels, (height, width)), coarse).astype(kind)
    masks = np.zeros((count, height, width), bool)
    for mask in masks:
        choice = rng.integers(0, 6)
        if choice == 0:
            mask[:] = True
        elif choice == 1 and count > 1:
            mask[:] = masks[0]
        elif choice == 2:
            mask[:] = rng.random((height, width)) < rng.random()
        elif choice > 2 and height and width:
            mask[rng.integers(height) :, rng.integers(width) :] = True
    return map_, masks


OPTIONS = st.fixed_dictionaries(
    {
        "on": st.sampled_from(["current", "original"]),
        "min_area": st.sampled_from([0, 1, 7, 300, 1 << 40]),
        "min_share": st.sampled_from([0.0, 0.3, 0.5, 1.0]),
        "ignore_background": st.booleans(),
    }
)


@settings(max_examples=250, deadline=None)
@given(
    st.integers(0, 10_000),
    st.integers(0, 50),
    st.integers(0, 80),
    st.integers(0, 8),
    st.sampled_from([1, 2, 51, 920, 5000, 65536]),
    st.sampled_from(["uint16", "int32"]),
    OPTIONS,
)
def test_equals_the_reference(seed, height, width, count, labels, kind, options):
    map_, masks = image(seed, height, width, count, labels, kind)
    before = map_.copy()
    found, votes = vote_masks_host(map_, masks, **options, threads=1)
    expected, expected_votes = reference(map_, masks, **options)
    assert found.dtype == kind and np.array_equal(found, expected)
    assert votes.dtype == VOTE and np.array_equal(votes.view(np.int32).reshape(-1, 4), expected_votes)
    assert np.array_equal(map_, before)


def test_the_example_of_the_spec():
    for steps in range(4):
        for op in (reference, vote_masks_host):
            assert op(GOLDEN, GOLDEN_MASKS[:steps])[0].tolist() == GOLDEN_STEPS[steps]
    for op in (reference, vote_masks_host):
        assert op(GOLDEN, GOLDEN_MASKS[[1, 0, 2]])[0].tolist() == GOLDEN_OTHER_ORDER
    votes = vote_masks_host(GOLDEN, GOLDEN_MASKS)[1]
    assert votes.tolist() == [(1, 3, 6, 1), (0, 4, 6, 1), (1, 2, 3, 1)]


def test_every_form_of_masks_gives_the_same():
    map_, masks = predicted(60, 71, 51), sam_like(12, 60, 71, seed=1)
    runs = Masks.from_dense(masks)
    expected = reference(map_, masks)[0]
    for form in (masks, masks.astype(np.uint8), runs, runs.to_packed(), runs.to_coco(), runs.to_coco(compressed=False)):
        assert np.array_equal(vote_masks_host(map_, form)[0], expected)
    assert not np.array_equal(vote_masks_host(map_, runs[::-1])[0], expected)


@pytest.mark.parametrize("labels", [920, 30_000])
@pytest.mark.parametrize("on", ["current", "original"])
def test_many_images_and_any_number_of_threads(labels, on):
    rng = np.random.default_rng(0)
    maps, masks = zip(*(image(i, *rng.integers(1, 90, 2).tolist(), int(rng.integers(0, 9)), labels, "uint16") for i in range(24)))
    alone = [vote_masks_host(one, some, on=on, threads=1) for one, some in zip(maps, masks)]
    for threads in (1, 2, 5, None):
        found, votes = vote_masks_host(list(maps), list(masks), on=on, threads=threads)
        assert all(np.array_equal(a, b[0]) and np.array_equal(c, b[1]) for a, c, b in zip(found, votes, alone))
    assert vote_masks_host([], []) == ([], [])


def test_options_say_which_masks_act():
    map_ = np.array([[0, 0, 0, 5, 5, 7, 7, 7]], np.uint16)
    masks = np.zeros((4, 1, 8), bool)
    masks[0, 0, :5] = masks[1, 0, :3] = masks[2, 0, 4:6] = masks[3, 0, 3:] = True
    with_background, votes = vote_masks_host(map_, masks)
    assert with_background.tolist() == [[0, 0, 0, 0, 0, 0, 0, 0]] and votes["label"].tolist() == [0, 0, 0, 0]
    ignored, votes = vote_masks_host(map_, masks, ignore_background=True)
    assert ignored.tolist() == [[5, 5, 5, 5, 5, 5, 5, 5]]
    assert votes.tolist() == [(5, 2, 5, 1), (5, 3, 3, 1), (5, 1, 2, 1), (5, 3, 5, 1)]
    original, votes = vote_masks_host(map_, masks, on="original")
    assert original.tolist() == [[0, 0, 0, 7, 7, 7, 7, 7]] and votes["label"].tolist() == [0, 0, 5, 7]
    large, votes = vote_masks_host(map_, masks, min_area=4)
    assert votes["written"].tolist() == [1, 0, 0, 1] and votes["label"].tolist()[1:3] == [-1, -1]
    sure, votes = vote_masks_host(map_, masks, min_share=0.6, on="original")
    assert votes["written"].tolist() == [1, 1, 0, 1]  # 3 of 5 is a share of 0.6
    only_background, votes = vote_masks_host(map_, masks[1:2], ignore_background=True)
    assert np.array_equal(only_background, map_) and votes.tolist() == [(-1, 0, 3, 0)]


def test_jittor_gives_the_same():
    map_, masks = predicted(30, 41, 51), sam_like(6, 30, 41, seed=2)
    from engine.runtime import jt

    expected, expected_votes = reference(map_, masks, min_share=0.3)
    for one, form in ((map_, masks), (jt.array(map_), jt.array(Masks.from_dense(masks).to_packed())), (jt.array(map_), Masks.from_dense(masks))):
        found, votes = vote_masks(one, form, min_share=0.3, bins=51)
        assert str(found.dtype) == "uint16" and np.array_equal(found.numpy(), expected) and np.array_equal(votes.numpy(), expected_votes)
    found, votes = vote_masks([jt.array(map_.astype(np.int32)), map_.astype(np.int32)], [masks, masks[:0]])
    assert np.array_equal(found[0].numpy(), reference(map_, masks)[0]) and np.array_equal(found[1].numpy(), map_)
    assert [tuple(one.shape) for one in votes] == [(6, 4), (0, 4)]
    with pytest.raises(ValueError, match=r"label_map\[0\]: expected ids 0\.\.9"):
        vote_masks(map_, masks, bins=10)
    with pytest.raises(ValueError, match=r"label_map\[1\]: expected \(H, W\) uint16 or int32, found \(\) int"):
        vote_masks([map_, 3], [masks, masks])
    with pytest.raises(ValueError, match="bins=70000: expected"):
        vote_masks(map_, masks, bins=70000)
    with pytest.raises(ValueError, match="bins=51.5: expected a whole number"):
        vote_masks(map_, masks, bins=51.5)
    with pytest.raises(ValueError, match="masks: expected a list with the masks of each of the 1 maps, found Masks"):
        vote_masks([map_], Masks.from_dense(masks))


def test_the_reference_can_take_its_place():
    map_, masks = image(7, 20, 30, 5, 20, "uint16")
    expected = vote_masks_host(map_, masks, on="original")
    with backend("reference"):
        found = vote_masks_host(map_, masks, on="original")
        several = vote_masks_host([map_], [masks], on="original")
    assert np.array_equal(found[0], expected[0]) and np.array_equal(found[1], expected[1])
    assert np.array_equal(several[0][0], expected[0])


def test_short_runs_are_the_same_pixels():
    dense = [np.ones((2, 40, 50), bool), np.zeros((3, 4, 4), bool), sam_like(4, 64, 64)]
    masks = [Masks.from_dense(one) for one in dense]
    runs, offsets = short_runs(masks)
    assert (runs[:, 1] - runs[:, 0]).max() == 512 and (runs[:, 1] > runs[:, 0]).all() and len(offsets) == 10
    for i, (pixels, mask) in enumerate((one.size // len(one), mask) for one in dense for mask in one):
        found = np.zeros(pixels, bool)
        for start, stop in runs[offsets[i] : offsets[i + 1]]:
            assert not found[start:stop].any()
            found[start:stop] = True
        assert np.array_equal(found, mask.ravel())


def test_what_does_not_fit_is_refused():
    map_, masks = image(1, 6, 7, 3, 9, "int32")
    negative, large = map_.copy(), map_.copy()
    negative[2, 3], large[2, 3] = -1, 65536
    for arguments, options, message in (
        ((map_.astype(np.int64), masks), {}, r"label_map\[0\]: expected \(H, W\) uint16 or int32, found \(6, 7\) int64"),
        ((map_[0], masks), {}, r"label_map\[0\]: expected \(H, W\)"),
        ((negative, masks), {}, r"label_map\[0\]: expected ids 0\.\.65535, found -1"),
        ((large, masks), {}, r"label_map\[0\]: expected ids 0\.\.65535, found 0\.\.65536"),
        ((map_, masks[:, :5]), {}, "masks of image 0: expected masks of 6 x 7 pixels, the map's size, found 5 x 7"),
        ((map_, "masks"), {}, "masks of image 0: expected Masks, .* found str"),
        (([map_, map_], [masks, np.zeros((3, 1), np.uint32)]), {}, r"masks of image 1: words: expected \(M, 2\) uint32"),
        (([map_, map_], [masks, masks.astype(int)]), {}, r"masks of image 1: masks: expected \(M, H, W\) bool or uint8"),
        (([map_, map_], [masks]), {}, "masks: expected a list with the masks of each of the 2 maps, found 1"),
        (([map_, map_.astype(np.uint16)], [masks, masks]), {}, "label_map: expected maps of one type, found int32, uint16"),
        ((map_, masks), {"on": "both"}, "on='both': expected one of current, original"),
        ((map_, masks), {"min_area": -1}, "min_area=-1"),
        ((map_, masks), {"min_area": 0.5}, "min_area=0.5: expected a whole number"),
        ((map_, masks), {"min_share": float("nan")}, "min_share=nan"),
        ((map_, masks), {"min_share": 1.5}, "min_share=1.5"),
        ((map_, masks), {"threads": 0}, "threads=0"),
        (([1, 2], masks), {}, "masks: expected a list"),
    ):
        with pytest.raises(ValueError, match=message):
            vote_masks_host(*arguments, **options)
