"""The CUDA kernels of pixel_nearest_centroid: run on the CPU against the CPU path, label by label, and compiled by nvcc where it is."""

import ctypes

import numpy as np
import pytest

from engine.ops import pixel_nearest_centroid as op
from engine.ops.pixel_nearest_centroid import pixel_nearest_centroid_host, unit_rows
from engine.ops.upsample_argmax import check_task, make_plans, split_maps
from tests.cuda_on_cpu.harness import call, driver
from tests.engine.ops.nvcc import ARCHITECTURES, compile_launches


def kernel(features, centroids, sizes, attention, threshold, order):
    """Scores and label maps"""
    n, depth, height, width = features.shape
    scores = np.full((n, len(centroids), height, width), np.nan, np.float32)
    task, sizes = check_task(scores, np.array(sizes), None, attention, threshold, None, 1)
    plans, pixels, taps = make_plans(task, sizes, (4 * height, 4 * width), 0)
    out, gate = np.full(pixels, -7, np.int32), np.zeros(1, np.float32) if attention is None else attention
    arguments = (features, int(features.dtype == np.float16), unit_rows(centroids), depth, task, plans, gate)
    totals = (ctypes.c_int64(taps), ctypes.c_int64(pixels))
    call(driver("pixel_nearest_centroid").luss_emulate_pixel_nearest_centroid, *arguments, *totals, scores, out, order=order)
    return scores, split_maps(out, plans)


@pytest.mark.parametrize("order", ["forward", "reverse", "random"])
@pytest.mark.parametrize(
    ("n", "depth", "height", "width", "count", "dtype"),
    [
        (2, 37, 3, 5, 70, "float32"),
        (1, 200, 2, 2, 3, "float32"),
        (1, 390, 2, 3, 15, "float32"),
        (1, 16, 5, 14, 5, "float16"),
    ],
)
def test_labels_equal_the_cpu_path(n, depth, height, width, count, dtype, order):
    rng = np.random.default_rng(depth)
    features = rng.standard_normal((n, depth, height, width)).astype(dtype)
    centroids, attention = rng.standard_normal((count, depth)).astype(np.float32), rng.random((n, 4 * height, 4 * width), np.float32)
    sizes = [(29, 23), (4, 31)][:n]
    scores, found = kernel(features, centroids, sizes, attention, 0.5, order)
    expected = pixel_nearest_centroid_host(features, centroids, sizes, attention=attention, threshold=0.5, threads=1)
    assert len(found) == n and all(np.array_equal(ours, theirs) for ours, theirs in zip(found, expected))
    exact = np.einsum("kc,nchw->nkhw", unit_rows(centroids).astype(np.float64), features.astype(np.float64))
    # a sum of `depth` products of a row of length 1: depth roundings of 2^-24 of at most the feature's length
    assert np.abs(scores - exact).max() <= depth * 2.0**-24 * np.linalg.norm(features.astype(np.float64), axis=1).max()


def test_without_attention():
    rng = np.random.default_rng(1)
    features, centroids = rng.standard_normal((1, 8, 2, 3)).astype(np.float32), rng.standard_normal((4, 8)).astype(np.float32)
    (found,) = kernel(features, centroids, [(9, 13)], None, 0.0, "forward")[1]
    assert np.array_equal(found, pixel_nearest_centroid_host(features, centroids, [(9, 13)])[0])


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_nvcc_compiles_what_jittor_is_given(tmp_path, architecture):
    compile_launches(tmp_path, op, FUNCTION, architecture)


FUNCTION = """
void run(%s* in0_p, float* in1_p, int* in2_p, float* in3_p, int64_t in0_shape0, int64_t in0_shape1, int64_t in0_shape2, int64_t in0_shape3,
         int64_t in1_shape0, int* out0_p, float* out1_p, float* out2_p, std::unordered_map<std::string, double> data) { %s }
"""
