"""Masks as runs: every form against the reference and back, COCO's strings against pycocotools', faults."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.ops import masks_reference as reference
from engine.ops.masks import Masks, as_masks
from tests.engine.ops.mask_samples import sam_like


def sample(seed, count, height, width, share):
    """(count, height, width) bool: blots of several pixels, or single ones."""
    rng = np.random.default_rng(seed)
    side = int(rng.integers(1, 6))
    small = rng.random((count, height // side + 1, width // side + 1)) < share
    return np.ascontiguousarray(small.repeat(side, 1).repeat(side, 2)[:, :height, :width])


@settings(max_examples=200, deadline=None)
@given(
    st.integers(0, 10_000),
    st.integers(0, 5),
    st.integers(0, 70),
    st.integers(0, 140),
    st.sampled_from([0.0, 0.02, 0.5, 0.95, 1.0]),
    st.sampled_from([1, 2, 3]),
)
def test_every_form_equals_the_reference_and_comes_back(seed, count, height, width, share, threads):
    dense = sample(seed, count, height, width, share)
    masks = Masks.from_dense(dense, threads=threads)
    assert len(masks) == count and masks.shape == (height, width)
    for i, mask in enumerate(dense):
        assert np.array_equal(masks.runs[masks.offsets[i] : masks.offsets[i + 1]], reference.runs_of(mask))
    assert masks == Masks((height, width), masks.runs, masks.offsets)
    assert masks.areas.tolist() == dense.sum((1, 2)).tolist()

    found = masks.to_dense(threads=threads)
    assert found.dtype == np.bool_ and np.array_equal(found, dense)
    words = masks.to_packed(threads=threads)
    assert words.dtype == np.uint32 and words.shape == (count, (height * width + 31) // 32)
    assert all(np.array_equal(word, reference.packed(mask)) for word, mask in zip(words, dense))
    assert Masks.from_packed(words, (height, width), threads=threads) == masks

    lists = masks.to_coco(compressed=False, threads=threads)
    strings = masks.to_coco(threads=threads)
    for mask, one, other in zip(dense, lists, strings):
        assert one["size"] == other["size"] == [height, width]
        assert one["counts"] == reference.counts_of(mask)
        assert other["counts"] == reference.string_of(one["counts"])
    assert Masks.from_coco(lists, (height, width), threads=threads) == masks
    assert Masks.from_coco(strings, (height, width), threads=threads) == masks


def test_bytes_other_than_one_and_arrays_with_gaps():
    dense = sample(1, 3, 40, 50, 0.4)
    assert Masks.from_dense(dense.astype(np.uint8) * 128) == Masks.from_dense(dense)
    assert Masks.from_dense(dense[:, ::-1, ::2]) == Masks.from_dense(dense[:, ::-1, ::2].copy())


@pytest.mark.parametrize(
    ("text", "counts", "shape"),
    [  # made by pycocotools 2.0.11
        (b"12200ON400", [1, 2, 2, 2, 2, 1, 0, 5, 0, 5], (4, 5)),
        (b"d0", [20], (4, 5)),
        (b"0d0", [0, 20], (4, 5)),
        (b"P\\1b0", [1408, 18], (2, 713)),
        (b"31X11QOfb0e0]4", [3, 1, 40, 2, 9, 600, 30, 741], (31, 46)),
    ],
)
def test_strings_of_pycocotools(text, counts, shape):
    made = Masks.from_coco([{"size": list(shape), "counts": text}])
    assert np.array_equal(made.to_dense()[0], reference.mask_of(counts, shape))
    assert made == Masks.from_coco([{"size": list(shape), "counts": text.decode()}]) == Masks.from_coco([{"size": shape, "counts": counts}])


def test_pycocotools_makes_and_reads_the_same_strings():
    coco = pytest.importorskip("pycocotools.mask", reason="pycocotools, which only checks our strings, is not installed")
    for dense in (sam_like(20, 75, 101, seed=3), sample(2, 9, 1, 33, 0.5), sample(4, 9, 260, 3, 0.5), np.ones((1, 300, 300), bool)):
        strings = Masks.from_dense(dense).to_coco()
        assert coco.encode(np.asfortranarray(dense.transpose(1, 2, 0)).view(np.uint8)) == strings
        assert np.array_equal(coco.decode(strings).transpose(2, 0, 1), dense)


def test_counts_of_zero_join_runs():
    record = {"size": [2, 3], "counts": [1, 2, 0, 1, 0, 0, 2]}
    assert Masks.from_coco([record]).to_coco(compressed=False)[0]["counts"] == [1, 3, 2]


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ([-1, 11], r"masks\[1\]: counts: expected a sum of 2 x 5 = 10, found that count 0 is negative; 0 pixels before it: \[-1, 11\]"),
        ([3, 8], r"masks\[1\].*count 1 overruns; 3 pixels before it"),
        ([2**62, 2**62], r"masks\[1\].*count 0 overruns"),
        ([3, 4], r"masks\[1\].*it ends after 2 counts; 7 pixels before it"),
        ([], r"masks\[1\].*it ends after 0 counts; 0 pixels"),
        ([2.5, 7.5], r"masks\[1\]: counts: expected a list of integers or a string, found \[2.5, 7.5\]"),
        ([2**70], r"masks\[1\]: counts: expected a list of integers"),
    ],
)
def test_bad_counts_are_refused(counts, message):
    with pytest.raises(ValueError, match=message):
        Masks.from_coco([{"size": [2, 5], "counts": [10]}, {"size": [2, 5], "counts": counts}])


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        (b"", r"masks\[1\].*it ends after 0 counts"),
        (b"P", r"masks\[1\].*count 0 breaks off at the end.*b'P'"),
        (b"3/", r"masks\[1\].*character 1 cannot stand there; 3 pixels before it"),
        (b"\xff", r"masks\[1\].*character 0 cannot stand there"),
        ("oooooooooooo", r"masks\[1\].*character 8 cannot stand there"),
        ("\u1234", r"masks\[1\]: counts: expected ASCII"),
        (b"1234", r"masks\[1\].*count 3 overruns; 6 pixels"),
        (b"O", r"masks\[1\].*count 0 is negative"),
        ([10], r"masks\[1\]: counts: expected all strings or all lists"),
    ],
)
def test_bad_strings_are_refused(counts, message):
    with pytest.raises(ValueError, match=message):
        Masks.from_coco([{"size": [2, 5], "counts": b":"}, {"size": [2, 5], "counts": counts}])


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=30), st.lists(st.integers(-3, 30), max_size=12))
def test_any_string_or_list_is_read_or_refused(text, counts):
    for given_ in (text, counts):
        try:
            made = Masks.from_coco([{"size": [6, 7], "counts": given_}])
        except ValueError as error:
            assert "masks[0]: counts:" in str(error)
            continue
        assert Masks((6, 7), made.runs, made.offsets) == made


def test_sizes_and_types_are_checked():
    word = np.zeros((2, 1), np.uint32)
    word[1] = 1 << 10
    for make, message in (
        (lambda: Masks.from_dense(np.zeros((2, 3), bool)), r"masks: expected \(M, H, W\) bool or uint8, found \(2, 3\) bool"),
        (lambda: Masks.from_dense(np.zeros((1, 2, 3))), "found .* float64"),
        (lambda: Masks.from_packed(word, (2, 5)), "words: expected bits past the last pixel to be 0, found 0x00000400 at the end of mask 1"),
        (lambda: Masks.from_packed(word, (7, 5)), r"words: expected \(M, 2\) uint32 for 7 x 5 pixels, found \(2, 1\)"),
        (lambda: Masks.from_coco([{"size": [2, 5], "counts": [10]}, {"size": [5, 2], "counts": [10]}]), r"masks\[1\]: expected size \[2, 5\]"),
        (lambda: Masks.from_coco([]), "shape: expected"),
        (lambda: Masks((1 << 16, 1 << 16), np.zeros((0, 2), int), np.zeros(1, int)), "shape: expected"),
        (lambda: as_masks(np.zeros((1, 2, 3), bool), (3, 2)), "masks: expected masks of 3 x 2 pixels, the map's size, found 2 x 3"),
        (lambda: as_masks([1], (3, 2)), "masks: expected Masks, an array or a list of COCO records, found list"),
    ):
        with pytest.raises(ValueError, match=message):
            make()
    assert len(as_masks([], (3, 2))) == 0


@pytest.mark.parametrize(
    ("runs", "offsets", "message"),
    [
        ([[0, 2], [2, 3]], [0, 2], r"found \[2, 3\] as run 1 of mask 0"),
        ([[0, 2], [5, 5]], [0, 1, 2], r"found \[5, 5\] as run 0 of mask 1"),
        ([[0, 2], [5, 11]], [0, 0, 1, 2], r"found \[5, 11\] as run 0 of mask 2"),
        ([[-1, 2]], [0, 1], r"found \[-1, 2\] as run 0 of mask 0"),
        ([[0, 2]], [0, 2], r"offsets: expected .* rising from 0 to the 1 runs"),
        ([[0, 2]], [1, 0, 1], "offsets: expected"),
        ([[0.0, 2.0]], [0, 1], r"runs: expected \(R, 2\) integers"),
    ],
)
def test_runs_that_are_none_are_refused(runs, offsets, message):
    with pytest.raises(ValueError, match=message):
        Masks((2, 5), np.array(runs), np.array(offsets))
    assert len(Masks((2, 5), np.array([[0, 2], [0, 10]]), np.array([0, 1, 1, 2]))) == 3


def test_what_was_checked_stays_as_it_is():
    """The compiled code trusts the runs: neither the caller's array nor the attribute may change them later."""
    runs, offsets = np.array([[0, 2]], np.int32), np.array([0, 1], np.int64)
    masks = Masks((2, 5), runs, offsets)
    runs[0, 1] = offsets[1] = 99
    assert masks.runs.tolist() == [[0, 2]] and masks.offsets.tolist() == [0, 1]
    for made in (masks, masks[:], Masks.from_dense(masks.to_dense()), Masks.from_coco(masks.to_coco())):
        with pytest.raises(ValueError, match="read-only"):
            made.runs[0, 0] = 7
        with pytest.raises(ValueError, match="read-only"):
            made.offsets[0] = 7


def test_another_order_of_masks():
    dense = sample(5, 6, 20, 30, 0.3)
    masks = Masks.from_dense(dense)
    for order in ([3, 0, 5, 5], slice(None, None, -1), np.array([True, False, False, True, True, False]), []):
        chosen = np.array(order, int) if isinstance(order, list) else order
        assert masks[chosen] == Masks.from_dense(dense[chosen])
    assert repr(masks[[0]]).startswith("Masks(1 of 20 x 30, ")
    assert masks != masks[[1, 0]] and masks != 3
    with pytest.raises(ValueError, match="order: expected a slice"):
        masks[2]
