"""Cluster of each pixel: the CPU path against the published order of operations in float64, away from ties."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.ops.backend import backend
from engine.ops.pixel_nearest_centroid import pixel_nearest_centroid, pixel_nearest_centroid_host
from engine.ops.pixel_nearest_centroid_reference import cosines
from engine.ops.pixel_nearest_centroid_reference import pixel_nearest_centroid as reference
from engine.ops.upsample_argmax import enlarge_map
from engine.ops.upsample_argmax_reference import bilinear_matrix, enlarge, nearest_rows


def sample(seed, n, depth, height, width, count):
    rng = np.random.default_rng(seed)
    features = np.maximum(rng.standard_normal((n, depth, height, width)), 0).astype(np.float32) * 3
    return features, rng.standard_normal((count, depth)).astype(np.float32), rng.random((n, 4 * height, 4 * width), np.float32)


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 300), st.integers(1, 4), st.integers(1, 40), st.integers(1, 50), st.integers(1, 40), st.integers(1, 60), st.integers(0, 10**6))
def test_equals_the_published_order_away_from_ties(depth, h, w, count, height, width, seed):
    check_away_from_ties(depth, h, w, count, height, width, seed)


@pytest.mark.parametrize("depth", [192, 193, 384, 385, 600])
def test_equals_it_where_the_depth_takes_several_runs(depth):
    check_away_from_ties(depth, 3, 17, 31, 25, 40, depth)


def check_away_from_ties(depth, h, w, count, height, width, seed):
    features, centroids, _ = sample(seed, 1, depth, h, w, count)
    (found,) = pixel_nearest_centroid_host(features, centroids, [(height, width)], threads=1)
    rows, columns = (nearest_rows(side, target) for side, target in zip((4 * h, 4 * w), (height, width)))
    values = cosines(features[0], centroids)
    values = values[:, rows][:, :, columns]
    lead = values.max(0) - np.take_along_axis(values, found[None].astype(np.int64) - 1, 0)[0]
    # Two scores of depth + 1 (unit rows) + 8.1 roundings of 2^-24, in units of the pixel's length, which is shorter than its corners'
    corner = np.linalg.norm(features[0].astype(np.float64), axis=0).max()
    length = np.linalg.norm(enlarge(features[0], bilinear_matrix(h, 4 * h), bilinear_matrix(w, 4 * w)), axis=0)[rows][:, columns]
    assert found.min() >= 1 and (lead * length <= 2 * (depth + 9.1) * 2.0**-24 * corner).all()


def test_a_pixel_of_a_centroid_has_its_label_and_length_does_not_matter():
    rng = np.random.default_rng(0)
    centroids = rng.standard_normal((9, 32)).astype(np.float32)
    features = centroids[[3, 8]].T.reshape(1, 32, 1, 2).copy()
    scales = 10.0 ** rng.integers(-2, 3, (9, 1))
    (found,) = pixel_nearest_centroid_host(features, (centroids * scales).astype(np.float32), [(4, 8)])
    assert (found[:, :2] == 4).all() and (found[:, -2:] == 9).all()


def test_equal_centroids_give_the_smallest_id_and_one_of_length_0_has_score_0():
    features = np.ones((1, 4, 2, 2), np.float32)
    centroids = np.stack([np.zeros(4), -np.ones(4), np.ones(4), np.ones(4)]).astype(np.float32)
    assert (pixel_nearest_centroid_host(features, centroids, [(5, 5)])[0] == 3).all()
    assert (pixel_nearest_centroid_host(features, centroids[:2], [(5, 5)])[0] == 1).all()


def test_float16_features_attention_and_threads():
    features, centroids, attention = sample(3, 3, 70, 5, 9, 20)
    features, sizes = features.astype(np.float16), [(50, 61), (7, 9), (33, 1)]
    plain = pixel_nearest_centroid_host(features.astype(np.float32), centroids, sizes)
    for threads in (1, 3):
        found = pixel_nearest_centroid_host(features, centroids, sizes, attention=attention, threshold=0.41, threads=threads)
        for ours, full, map_, size in zip(found, plain, attention, sizes):
            assert np.array_equal(ours, np.where(enlarge_map(map_, size) < np.float32(0.41), 0, full))


def test_jittor_gives_the_same_and_so_does_the_reference_backend():
    from engine.runtime import jt

    features, centroids, attention = sample(4, 2, 30, 3, 4, 8)
    sizes, options = [(20, 31), (9, 8)], {"threshold": 0.3}
    expected = pixel_nearest_centroid_host(features, centroids, sizes, attention=attention, **options)
    found = pixel_nearest_centroid(jt.array(features), centroids, sizes, attention=jt.array(attention), **options)
    with backend("reference"):
        slow = pixel_nearest_centroid(jt.array(features), centroids, sizes, attention=jt.array(attention), **options)
    for ours, theirs, mine, plain in zip(found, slow, expected, reference(features, centroids, sizes, attention, 0.3)):
        assert np.array_equal(ours, mine) and np.array_equal(theirs, plain) and np.array_equal(ours, plain)  # no two scores within rounding


def test_no_images():
    assert pixel_nearest_centroid_host(np.zeros((0, 3, 2, 2), np.float32), np.ones((2, 3), np.float32), []) == []


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"features": np.zeros((1, 0, 2, 2), np.float32)}, r"features: expected a non-empty .* found \(1, 0, 2, 2\)"),
        ({"features": np.zeros((1, 3, 2, 2))}, "features: .* float64"),
        ({"centroids": np.zeros((4, 2), np.float32)}, r"centroids: expected \(k, 3\) float32, k >= 1, found \(4, 2\)"),
        ({"centroids": np.zeros((0, 3), np.float32)}, r"centroids: .* found \(0, 3\)"),
        ({"sizes": [(3, 4), (5, 6)]}, r"sizes: expected \(1, 2\)"),
        ({"attention": np.zeros((1, 4), np.float32)}, "attention: expected"),
        ({"factor": 0}, "factor=0"),
        ({"factor": 1 << 16}, "factor=65536: expected a grid with sides up to 65536, found 131072 x 131072"),
    ],
)
def test_what_does_not_fit_is_refused(changed, message):
    given_ = {"features": np.zeros((1, 3, 2, 2), np.float32), "centroids": np.ones((4, 3), np.float32), "sizes": [(3, 4)], **changed}
    with pytest.raises(ValueError, match=message):
        pixel_nearest_centroid_host(given_.pop("features"), given_.pop("centroids"), given_.pop("sizes"), **given_)
