"""upsample_argmax and vote_masks through the C interface, emulated: what the CPU path gives, whatever form the arguments have."""

import numpy as np
import pytest

from engine import capi
from engine.ops.masks import Masks
from engine.ops.pixel_nearest_centroid import pixel_nearest_centroid_host
from engine.ops.upsample_argmax import upsample_argmax_host
from engine.ops.vote_masks import vote_masks_host
from tests.engine.capi.emulated import on_gpu, set_order, use_emulation


@pytest.fixture(autouse=True)
def emulation(monkeypatch):
    use_emulation(monkeypatch)


SIZES = np.array([(19, 23), (7, 40)])


@pytest.mark.parametrize("order", ["forward", "reverse", "random"])
@pytest.mark.parametrize(
    ("dtype", "options"),
    [
        ("float32", {}),
        ("float16", {"first_id": 1}),
        ("float32", {"middle": (9, 11)}),
        ("float32", {"grid": (12, 13)}),
        ("float32", {"max_res": 10, "threshold": 0.4, "first_id": 1}),
    ],
)
def test_enlarged_labels(dtype, options, order):
    set_order(order)
    rng = np.random.default_rng(5)
    logits, attention = rng.standard_normal((2, 6, 4, 5)).astype(dtype), rng.random((2, 8, 9), np.float32)
    gate = {"attention": attention} if "threshold" in options else {}
    found = capi.upsample_argmax(on_gpu(logits), SIZES, **options, **{name: on_gpu(value) for name, value in gate.items()})
    for ours, expected in zip(found, upsample_argmax_host(logits, SIZES, **options, **gate)):
        assert ours.dtype == np.int32 and np.array_equal(ours.values, expected)


@pytest.mark.parametrize(("dtype", "gated", "factor"), [("float32", False, 4), ("float16", True, 2)])
def test_nearest_centroids_of_pixels(dtype, gated, factor):
    rng = np.random.default_rng(8)
    features, centroids = rng.standard_normal((2, 19, 3, 4)).astype(dtype), rng.standard_normal((67, 19)).astype(np.float32)
    gate = rng.random((2, 12, 16), np.float32)
    options = {"threshold": 0.3, "factor": factor}
    given = {"attention": on_gpu(gate)} if gated else {}
    found = capi.pixel_nearest_centroid(on_gpu(features), centroids, SIZES, **options, **given)
    expected = pixel_nearest_centroid_host(features, centroids, SIZES, **options, **({"attention": gate} if gated else {}))
    assert all(np.array_equal(ours.values, theirs) for ours, theirs in zip(found, expected))
    with pytest.raises(ValueError, match=r"centroids: expected \(k, 19\) float32"):
        capi.pixel_nearest_centroid(on_gpu(features), centroids[:, :5], SIZES)


def test_numbers_of_numpy_are_numbers():
    logits, gate = np.random.default_rng(9).standard_normal((2, 3, 4, 5)).astype(np.float32), np.random.default_rng(9).random((2, 8, 9), np.float32)
    found = capi.upsample_argmax(on_gpu(logits), SIZES, attention=on_gpu(gate), threshold=np.float32(0.4), first_id=np.int64(1), max_res=np.int64(10))
    expected = upsample_argmax_host(logits, SIZES, attention=gate, threshold=0.4, first_id=1, max_res=10)
    assert all(np.array_equal(ours.values, theirs) for ours, theirs in zip(found, expected))


def test_no_logits_and_wrong_ones():
    assert capi.upsample_argmax(on_gpu(np.zeros((0, 3, 2, 2), np.float32)), np.zeros((0, 2), int)) == []
    with pytest.raises(ValueError, match=r"logits: expected \(n, k, h, w\) float32 or float16, found \(2, 3\) float32"):
        capi.upsample_argmax(on_gpu(np.zeros((2, 3), np.float32)), SIZES)
    with pytest.raises(ValueError, match=r"sizes: expected \(1, 2\) integers"):
        capi.upsample_argmax(on_gpu(np.zeros((1, 3, 2, 2), np.float32)), SIZES)
    with pytest.raises(ValueError, match="attention: expected an array on a GPU"):
        capi.upsample_argmax(on_gpu(np.zeros((2, 3, 2, 2), np.float32)), SIZES, attention=np.zeros((2, 2, 2), np.float32))


def scene(seed, shape, count, dtype):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 7, shape).astype(dtype), rng.random((count, *shape)) < rng.random((count, 1, 1))


@pytest.mark.parametrize("order", ["forward", "reverse", "random"])
@pytest.mark.parametrize(
    ("dtype", "options"),
    [("uint16", {}), ("int32", {"on": "original"}), ("uint16", {"min_area": 30, "min_share": 0.2, "ignore_background": True})],
)
def test_votes_of_dense_and_packed_masks(dtype, options, order):
    set_order(order)
    labels, masks = scene(1, (9, 13), 4, dtype)
    expected, votes = vote_masks_host(labels, masks, **options)
    words = Masks.from_dense(masks).to_packed()
    for given in (masks, Masks.from_dense(masks), on_gpu(words)):
        found, cast = capi.vote_masks(on_gpu(labels), given, **options)
        assert np.array_equal(found.values, expected) and found.dtype == dtype
        assert np.array_equal(cast.values, votes.view(np.int32).reshape(-1, 4))


def test_votes_of_a_list_of_maps_with_many_bins():
    scenes = [scene(seed, shape, count, "int32") for seed, shape, count in ((1, (5, 9), 2), (2, (11, 3), 0), (3, (8, 8), 3))]
    maps, masks = [pair[0] for pair in scenes], [pair[1] for pair in scenes]
    expected, votes = vote_masks_host(maps, masks)
    for bins in (7, 13_000, None):  # the second goes through scratch
        found, cast = capi.vote_masks([on_gpu(one) for one in maps], masks, bins=bins)
        for ours, theirs, given, wanted in zip(found, expected, cast, votes):
            assert np.array_equal(ours.values, theirs) and np.array_equal(given.values, wanted.view(np.int32).reshape(-1, 4))


def test_no_masks_leave_the_map_as_it_is():
    labels, masks = scene(1, (4, 5), 0, "uint16")
    gpu = on_gpu(labels)
    found, cast = capi.vote_masks(gpu, masks)
    assert np.array_equal(found.values, labels) and found.values is not gpu.values and cast.shape == (0, 4)
    assert capi.vote_masks([], []) == ([], [])


def test_wrong_maps_and_masks_are_named():
    labels, masks = scene(1, (4, 5), 2, "uint16")
    with pytest.raises(ValueError, match=r"label_map\[0\]: expected an array on a GPU"):
        capi.vote_masks(labels, masks)
    with pytest.raises(ValueError, match=r"label_map\[1\]: expected uint16 as label_map\[0\], found int32"):
        capi.vote_masks([on_gpu(labels), on_gpu(labels.astype(np.int32))], [masks, masks])
    with pytest.raises(ValueError, match=r"masks\[0\]: expected \(M, 1\) uint32, found \(2, 2\) uint32"):
        capi.vote_masks(on_gpu(labels), on_gpu(np.zeros((2, 2), np.uint32)))
    with pytest.raises(ValueError, match="bins: expected 1..65536, found 70000"):
        capi.vote_masks(on_gpu(labels), masks, bins=70_000)
    with pytest.raises(ValueError, match="label_map: expected ids 0..65535, found -1..3"):
        capi.vote_masks(on_gpu(np.array([[-1, 3]], np.int32)), np.ones((1, 1, 2), bool))
