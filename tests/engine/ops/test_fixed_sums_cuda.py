"""The CUDA kernels of fixed_sums, run on the CPU: the reference's bits, in every order of threads."""

import ctypes
import subprocess

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.ops.fixed_sums_reference import fixed_sums as reference
from engine.ops.kernel_folder import kernel_folder
from engine.runtime.cuda import find_nvcc
from tests.cuda_on_cpu.harness import ORDERS, KernelFault, call, driver
from tests.engine.ops.nvcc import ARCHITECTURES


def sums_of(x, label, k, bits, *, rows=8, offset=0, order="forward"):
    x, label = np.ascontiguousarray(x), np.ascontiguousarray(label, np.int32)
    (n, d), r = x.shape, len(label)
    sums, counts = np.full((r, k, d), -7), np.full((r, k), -7)
    arguments = (x, int(x.dtype == np.float16), ctypes.c_int64(n), d, k, r, bits, rows, label, offset, sums, counts)
    call(driver("fixed_sums").luss_emulate_fixed_sums, *arguments, order=order)
    return sums, counts


def check(x, label, k, bits, **options):
    for found, expected in zip(sums_of(x, label, k, bits, **options), reference(x, label, k, bits)):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("d", [1, 7, 128, 132, 300])
def test_sums_and_counts_with_labels_left_out_and_labels_unused(d, dtype):
    rng = np.random.default_rng(d)
    x, label = rng.standard_normal((60, d)).astype(dtype), rng.integers(-2, 12, (2, 60))
    label[label == 4] = 5
    check(x, label, 9, 40)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("order", list(ORDERS))
def test_every_order_of_threads_gives_the_same_bits(dtype, order):
    rng = np.random.default_rng(2)
    x, label = rng.standard_normal((4300, 5)).astype(dtype), rng.integers(0, 40, (1, 4300))  # two tables of 4096
    label = np.concatenate([label, np.where(rng.random((1, 4300)) < 0.05, label, -1)])
    check(x, label, 40, 42, rows=16, order=order)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 90), st.integers(1, 140), st.integers(1, 70), st.integers(1, 3), st.integers(0, 54), st.sampled_from([0, 4, 8, 64]), st.booleans(),
    st.integers(0, 3), st.integers(0, 1000),
)  # fmt: skip
def test_any_shape(n, d, k, r, bits, rows, half, offset, seed):
    """90 numbers of at most 1 with 54 bits stay below 2^62."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1, 1, (n, d)).astype(np.float16 if half else np.float32)
    check(x, rng.integers(-1, k + 1, (r, n)), k, bits, rows=rows, offset=offset)


def test_many_labels_and_pieces_of_the_launcher():
    rng = np.random.default_rng(4)
    check(rng.standard_normal((300, 3)).astype(np.float32), rng.integers(0, 4096, (1, 300)), 4096, 40, rows=0)
    check(rng.standard_normal((1200, 2)).astype(np.float16), rng.integers(0, 2, (1, 1200)), 2, 24, rows=0)


def test_no_row_counts():
    check(np.ones((50, 9), np.float32), np.full((3, 50), -1), 6, 40)
    check(np.ones((0, 9), np.float32), np.zeros((3, 0), np.int32), 6, 40)


def test_every_size_of_number_is_rounded_half_to_even():
    rng = np.random.default_rng(0)
    wide = np.ldexp(rng.uniform(0.5, 1, 100_000), rng.integers(-160, 64, 100_000)) * rng.choice([-1, 1], 100_000)
    values = np.concatenate([wide, np.arange(-5000, 5000) / 2, [0.0, 2.0**32, 2.0**32 - 256, -(2.0**62)]]).astype(np.float32)
    values = values[np.abs(values) < 2.0**63]  # rounding to float32 may reach it
    found = np.full(len(values), -7)
    emulated = driver("fixed_sums").luss_emulate_fixed_number
    emulated(ctypes.c_void_p(values.ctypes.data), ctypes.c_int64(len(values)), ctypes.c_void_p(found.ctypes.data))
    assert found.tolist() == [round(float(value)) for value in values]  # Python rounds half to even


def test_numbers_out_of_range_spoil_their_own_sums_only():
    rng = np.random.default_rng(5)
    x, label = rng.uniform(-1, 1, (40, 6)).astype(np.float32), np.arange(40)[None] % 4
    expected = reference(x, label, 4, 40)
    x[1, 2], x[2, 3], x[7, 5] = np.nan, np.inf, -3e38
    sums, counts = sums_of(x, label, 4, 40)
    spoilt = {tuple(place) for place in np.argwhere(sums != expected[0]).tolist()}
    assert spoilt <= {(0, 1, 2), (0, 2, 3), (0, 3, 5)} and np.array_equal(counts, expected[1])


@pytest.mark.parametrize(("k", "bits"), [(4097, 9), (3, 63), (3, -1)])
def test_refusals(k, bits):
    with pytest.raises(KernelFault, match="refused"):
        sums_of(np.zeros((3, 4), np.float32), np.zeros((1, 3)), k, bits, rows=0)


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_nvcc_compiles_without_spills(tmp_path, architecture):
    nvcc = find_nvcc()
    if nvcc is None:
        pytest.skip("nvcc is absent: neither nvcc_path nor PATH nor /usr/local/cuda holds it")
    source = tmp_path / "fixed_sums.cu"
    source.write_text(SOURCE)
    options = ["-std=c++14", f"-arch=sm_{architecture}", "--use_fast_math", f"-I{kernel_folder()}", "-Werror", "all-warnings", "-Xptxas", "-v", "-c"]
    done = subprocess.run([nvcc, *options, str(source), "-o", str(tmp_path / "fixed_sums.o")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr.count(" bytes spill stores") == done.stderr.count(" 0 bytes spill stores") == 6  # four of the sort, two types of x


SOURCE = """#include "luss/fixed_sums.cuh"
cudaError_t run(const void* x, const int32_t* label, int64_t n, int64_t* sums, int64_t* counts, void* scratch, size_t bytes, cudaStream_t stream) {
    return luss::fixed_sums(x, 1, label, n, 128, 919, 30, 24, sums, counts, scratch, bytes, stream);
}
"""
