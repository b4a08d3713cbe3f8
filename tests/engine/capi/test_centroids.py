"""nearest_centroid through the C interface, emulated: labels of float64 wherever float32 can tell, the same bits in both modes."""

import numpy as np
import pytest

from engine import capi
from engine.ops.fixed_sums_reference import fixed_sums
from engine.ops.unit_rows import unit_rows_host
from tests.engine.capi.emulated import on_gpu, set_order, use_emulation
from tests.engine.capi.test_arrays import Exchanged


@pytest.fixture(autouse=True)
def emulation(monkeypatch):
    use_emulation(monkeypatch)


@pytest.mark.parametrize("order", ["forward", "reverse", "random"])
@pytest.mark.parametrize(("dtype", "d", "k", "cosine"), [("float16", 16, 5, False), ("float32", 19, 70, True)])
def test_labels_and_scores(dtype, d, k, cosine, order):
    set_order(order)
    rng = np.random.default_rng(d)
    x, centroids = rng.standard_normal((37, d)).astype(dtype), rng.standard_normal((2, k, d)).astype(np.float32)
    wide, sets = x.astype(np.float64), centroids.astype(np.float64)
    products = np.einsum("nd,rkd->rnk", wide, sets)
    distance = (wide**2).sum(1)[:, None] + (sets**2).sum(2)[:, None, :] - 2 * products
    best = products.argmax(2) if cosine else distance.argmin(2)
    exact = np.take_along_axis(products if cosine else distance, best[..., None], 2)[..., 0]
    label, score = capi.nearest_centroid(on_gpu(x), on_gpu(centroids), cosine=cosine, mode="fp32")
    assert np.array_equal(label.values, best)  # of these few rows none is as close as rounding
    # d + 3 roundings of sums and products of that size, of the parts that make a distance
    size = np.abs(wide).sum(1).max() * np.abs(sets).max() + (wide**2).sum(1).max() + (sets**2).sum(2).max()
    assert (np.abs(score.values - exact) <= (d + 3) * 2.0**-24 * size).all()
    again, same = capi.nearest_centroid(on_gpu(x), on_gpu(centroids), cosine=cosine, mode="certified")
    assert np.array_equal(again.values, best) and same.values.tobytes() == score.values.tobytes()
    one, none = capi.nearest_centroid(on_gpu(x), on_gpu(centroids[1]), cosine=cosine, scored=False)
    assert none is None and one.shape == (37,) and np.array_equal(one.values, best[1])


def test_arrays_that_have_nothing_but_dlpack():
    rng = np.random.default_rng(4)
    x, centroids = rng.standard_normal((9, 8)).astype(np.float32), rng.standard_normal((2, 3, 8)).astype(np.float32)
    label, score = capi.nearest_centroid(on_gpu(x), Exchanged(centroids))
    assert np.array_equal(label.values, capi.nearest_centroid(on_gpu(x), on_gpu(centroids))[0].values)
    assert np.array_equal(capi.score_sums(Exchanged(score.values)).values, capi.score_sums(score).values)


def test_no_rows_and_wrong_arguments():
    x, centroids = on_gpu(np.zeros((0, 8), np.float32)), on_gpu(np.zeros((3, 8), np.float32))
    label, score = capi.nearest_centroid(x, centroids)
    assert label.shape == score.shape == (0,) and label.dtype == np.int32
    x = on_gpu(np.zeros((4, 8), np.float32))
    for bad, message in (
        ((x, on_gpu(np.zeros((3, 7), np.float32))), r"centroids: expected \(K, 8\) float32, found \(3, 7\) float32"),
        ((x, on_gpu(np.zeros((0, 8), np.float32))), r"k: expected 1..4096, found 0"),
        ((on_gpu(np.zeros((4, 8), np.int32)), centroids), r"x: expected \(N, d\) float32 or float16"),
        ((on_gpu(np.zeros((1, 4000), np.float32)), on_gpu(np.zeros((1, 4000), np.float32))), r"d: expected 1..2048, found 4000"),
    ):
        with pytest.raises(ValueError, match=message):
            capi.nearest_centroid(*bad)
    with pytest.raises(ValueError, match="mode: expected one of fp32, certified, auto, found 'fast'"):
        capi.nearest_centroid(x, centroids, mode="fast")


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_sums_and_counts(dtype):
    rng = np.random.default_rng(6)
    x, label = rng.standard_normal((600, 5)).astype(dtype), rng.integers(-1, 8, 600).astype(np.int32)
    sums, counts = capi.centroid_sums(on_gpu(x), on_gpu(label), 7)  # labels -1 and 7 count for nothing
    for j in range(7):
        rows = x[label == j].astype(np.float64)
        # float-float sums of a column err by at most 2^-41 of its sum of absolute values (luss/centroid_sums.cuh); NumPy's by less
        assert (np.abs(sums.values[j] - rows.sum(0)) <= 2.0**-40 * np.abs(rows).sum(0)).all() and counts.values[j] == len(rows)
    sums, counts = capi.centroid_sums(on_gpu(x[:0]), on_gpu(label[:0]), 3)
    assert sums.shape == (3, 5) and not sums.values.any() and not counts.values.any()
    with pytest.raises(ValueError, match=r"label: expected \(600,\) int32, found \(600,\) int64"):
        capi.centroid_sums(on_gpu(x), on_gpu(label.astype(np.int64)), 7)
    with pytest.raises(ValueError, match=r"k: expected 1..4096, found 5000"):
        capi.centroid_sums(on_gpu(x), on_gpu(label), 5000)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_fixed_point_sums_and_counts(dtype):
    rng = np.random.default_rng(8)
    x, label = rng.standard_normal((600, 5)).astype(dtype), rng.integers(-1, 8, (3, 600)).astype(np.int32)
    for given in (label, label[1]):
        for found, expected in zip(capi.fixed_sums(on_gpu(x), on_gpu(given), 7, 40), fixed_sums(x, given, 7, 40)):
            assert found.dtype == np.int64 and found.shape == expected.shape and np.array_equal(found.values, expected)
    sums, counts = capi.fixed_sums(on_gpu(x[:0]), on_gpu(label[:, :0]), 3, 40)
    assert sums.shape == (3, 3, 5) and not sums.values.any() and not counts.values.any()
    for bad, message in (
        ((on_gpu(x), on_gpu(label[:, 1:]), 7, 40), r"label: expected \(R, 600\) int32, found \(3, 599\)"),
        ((on_gpu(x), on_gpu(label), 7, 63), r"bits: expected 0..62, found 63"),
        ((on_gpu(x), on_gpu(label), 5000, 40), r"k: expected 1..4096, found 5000"),
        ((on_gpu(x), on_gpu(label[:0]), 7, 40), r"r: expected 1..65535, found 0"),
    ):
        with pytest.raises(ValueError, match=message):
            capi.fixed_sums(*bad)


def test_sums_of_scores():
    score = np.random.default_rng(7).random((2, 700), np.float32)
    found = capi.score_sums(on_gpu(score)).values
    # double additions of 700 numbers below 1
    assert (np.abs(found - score.astype(np.float64).sum(1)) <= 700 * 2.0**-53 * 700).all()
    assert np.array_equal(capi.score_sums(on_gpu(score[1])).values, found[1:])


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_rows_of_unit_length(dtype):
    x = np.random.default_rng(9).standard_normal((41, 70)).astype(dtype)
    x[3] = 0
    for found, expected in zip(capi.unit_rows(on_gpu(x)), unit_rows_host(x)):
        assert found.dtype == expected.dtype and np.array_equal(found.values, expected)
    out, squares = capi.unit_rows(on_gpu(x[:0]))
    assert out.shape == (0, 70) and squares.shape == (0,)
    with pytest.raises(ValueError, match=r"x: expected \(N, d\) float32 or float16, found \(41,\)"):
        capi.unit_rows(on_gpu(x[:, 0].copy()))
