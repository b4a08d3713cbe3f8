"""The CUDA kernels of centroid_sums, run on the CPU: against exact sums, in every order of threads the same bits."""

import ctypes
import math
import subprocess

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.ops.kernel_folder import kernel_folder
from engine.runtime.cuda import find_nvcc
from tests.cuda_on_cpu.harness import ORDERS, KernelFault, call, driver
from tests.engine.ops.nvcc import ARCHITECTURES


def sums_of(x, label, k, *, rows=8, offset=0, order="forward"):
    x, label = np.ascontiguousarray(x), np.ascontiguousarray(label, np.int32)
    n, d = x.shape
    sums, counts = np.full((k, d), -7.0), np.full(k, -7, np.int64)
    arguments = (x, int(x.dtype == np.float16), ctypes.c_int64(n), d, k, rows, label, offset, sums, counts)
    call(driver("centroid_sums").luss_emulate_centroid_sums, *arguments, order=order)
    return sums, counts


def exact(x, label, k):
    """Sums rounded once, and sums of absolute values."""
    groups = [x[label == j].astype(np.float64) for j in range(k)]
    sums = [[math.fsum(column) for column in group.T] for group in groups]
    return np.array(sums), np.array([np.abs(group).sum(0) for group in groups]), np.array([len(group) for group in groups])


def check(x, label, k, **options):
    sums, counts = sums_of(x, label, k, **options)
    expected, size, count = exact(x, label, k)
    assert np.array_equal(counts, count)
    # an error term of two_sum is at most 2^-24 of the sum so far, and adding m of them up errs by m 2^-48 of it; m is at most 128 a warp
    assert (np.abs(sums - expected) <= 128 * 2.0**-48 * size).all()
    return sums


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("d", [1, 7, 128, 132, 300])
def test_sums_and_counts_with_labels_left_out_and_labels_unused(d, dtype):
    rng = np.random.default_rng(d)
    x, label = rng.standard_normal((90, d)).astype(dtype), rng.integers(-2, 12, 90)
    label[label == 4] = 5
    sums = check(x, label, 9)
    assert (sums[4] == 0).all()


def test_halves_of_ordinary_size_are_added_exactly():
    rng = np.random.default_rng(0)
    x, label = rng.standard_normal((700, 5)).astype(np.float16), rng.integers(0, 3, 700)
    assert np.array_equal(sums_of(x, label, 3, rows=512)[0], exact(x, label, 3)[0])


def test_small_numbers_beside_large_ones_are_kept():
    x = np.array([[1e8], [1.0], [1e-7], [-1e8]] * 8, np.float32)
    sums, _ = sums_of(x, np.zeros(32), 1, rows=64)
    assert abs(sums[0, 0] - math.fsum(x.ravel().astype(float))) < 1e-6 and x.sum(dtype=np.float32) != np.float32(sums[0, 0])


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_every_order_of_threads_gives_the_same_bits(dtype):
    rng = np.random.default_rng(2)
    x, label = rng.standard_normal((4300, 12)).astype(dtype), rng.integers(0, 40, 4300)  # two tables of 4096
    results = [sums_of(x, label, 40, rows=16, order=order)[0].tobytes() for order in ORDERS]
    assert len(set(results)) == 1
    check(x, label, 40, rows=0)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 120), st.integers(1, 140), st.integers(1, 70), st.sampled_from([4, 8, 64]), st.booleans(), st.integers(0, 3), st.integers(0, 1000)
)
def test_any_shape(n, d, k, rows, half, offset, seed):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, d)).astype(np.float16 if half else np.float32)
    check(x, rng.integers(0, k, n), k, rows=rows, offset=offset)


def test_many_labels():
    rng = np.random.default_rng(4)
    check(rng.standard_normal((300, 3)).astype(np.float32), rng.integers(0, 4096, 300), 4096, rows=0)


def test_nan_and_infinity_stay_with_their_label():
    x = np.ones((40, 6), np.float32)
    label = np.arange(40) % 4
    x[1, 2], x[2, 3], x[6, 3] = np.nan, np.inf, 1
    sums, counts = sums_of(x, label, 4)
    expected = np.full((4, 6), 10.0)
    expected[1, 2], expected[2, 3] = np.nan, np.inf
    assert np.array_equal(sums, expected, equal_nan=True) and counts.tolist() == [10] * 4


def test_refusals_and_no_rows():
    with pytest.raises(KernelFault, match="refused"):
        sums_of(np.zeros((3, 4), np.float32), [0, 0, 0], 4097, rows=0)
    sums, counts = sums_of(np.zeros((0, 4), np.float32), [], 3)
    assert (sums == 0).all() and (counts == 0).all()


@pytest.mark.parametrize("order", list(ORDERS))
def test_sums_of_scores(order):
    rng = np.random.default_rng(1)
    for n in (0, 1, 700, 40000):
        score = rng.random((2, n), dtype=np.float32)
        totals = np.full(2, -7.0)
        call(driver("centroid_sums").luss_emulate_score_sums, score, ctypes.c_int64(n), 2, totals, order=order)
        expected = [math.fsum(row.astype(float)) for row in score]
        assert np.allclose(totals, expected, rtol=1e-13, atol=0)  # at most 9 + 8 + 8 roundings of fp64 on any way to the total


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_nvcc_compiles_without_spills(tmp_path, architecture):
    nvcc = find_nvcc()
    if nvcc is None:
        pytest.skip("nvcc is absent: neither nvcc_path nor PATH nor /usr/local/cuda holds it")
    source = tmp_path / "centroid_sums.cu"
    source.write_text(SOURCE)
    options = ["-std=c++14", f"-arch=sm_{architecture}", "--use_fast_math", f"-I{kernel_folder()}", "-Werror", "all-warnings", "-Xptxas", "-v", "-c"]
    done = subprocess.run([nvcc, *options, str(source), "-o", str(tmp_path / "centroid_sums.o")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr.count(" bytes spill stores") == done.stderr.count(" 0 bytes spill stores") > 7


SOURCE = """#include "luss/centroid_sums.cuh"
cudaError_t run(const void* x, const int32_t* label, int64_t n, double* sums, int64_t* counts, void* scratch, size_t bytes, cudaStream_t stream) {
    const cudaError_t error = luss::score_sums(static_cast<const float*>(x), n, 1, sums, scratch, bytes, stream);
    return error != cudaSuccess ? error : luss::centroid_sums(x, 1, label, n, 128, 919, sums, counts, scratch, bytes, stream);
}
"""
