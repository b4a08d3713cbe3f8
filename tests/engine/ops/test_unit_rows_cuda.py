"""The CUDA kernel of unit_rows, run on the CPU: the bits of the CPU path, in every order of threads."""

import ctypes
import subprocess

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.ops.kernel_folder import kernel_folder
from engine.ops.unit_rows import row_squares_host, unit_rows_host
from engine.runtime.cuda import find_nvcc
from tests.cuda_on_cpu.harness import ORDERS, KernelFault, call, driver
from tests.engine.ops.nvcc import ARCHITECTURES

SQUARES_ALONE, APART, IN_PLACE = range(3)


def emulated(x, form, order="forward"):
    out, squares = np.full(x.shape, -7, np.float32), np.full(len(x), -7.0)
    arguments = (x, int(x.dtype == np.float16), ctypes.c_int64(len(x)), x.shape[1], form, out, squares)
    call(driver("unit_rows").luss_emulate_unit_rows, *arguments, order=order)
    return out, squares


def check(x, order="forward"):
    expected, squares = unit_rows_host(x)
    forms = (APART, IN_PLACE) if x.dtype == np.float32 else (APART,)
    for form in forms:
        out, found = emulated(x, form, order)
        np.testing.assert_array_equal(out, expected)
        np.testing.assert_array_equal(found, squares)
    np.testing.assert_array_equal(emulated(x, SQUARES_ALONE, order)[1], row_squares_host(x))


def sample(seed, n, d, dtype=np.float32):
    return np.random.default_rng(seed).standard_normal((n, d)).astype(dtype)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.integers(0, 20), st.integers(1, 140), st.sampled_from([np.float32, np.float16]), st.sampled_from(list(ORDERS)))
def test_the_bits_of_the_cpu_path(seed, n, d, dtype, order):
    check(sample(seed, n, d, dtype), order)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("d", [511, 512, 513, 2048, 2049])
def test_numbers_kept_in_registers_and_read_again(d, dtype):
    check(sample(d, 5, d, dtype))


@pytest.mark.parametrize("d", [40, 700, 2100])
def test_zeros_nan_infinity_and_the_ends_of_the_range(d):
    x = sample(d, 6, d)
    x[0], x[1, d - 1], x[2, 0], x[3, 33] = 0, np.nan, np.inf, -np.inf
    x[4], x[5] = np.finfo(np.float32).max, np.finfo(np.float32).tiny
    check(x)


def test_refusals():
    with pytest.raises(KernelFault, match="refused"):
        emulated(np.zeros((3, 0), np.float32), APART)


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_nvcc_compiles_without_spills(tmp_path, architecture):
    nvcc = find_nvcc()
    if nvcc is None:
        pytest.skip("nvcc is absent: neither nvcc_path nor PATH nor /usr/local/cuda holds it")
    source = tmp_path / "unit_rows.cu"
    source.write_text(SOURCE)
    options = ["-std=c++14", f"-arch=sm_{architecture}", "--use_fast_math", f"-I{kernel_folder()}", "-Werror", "all-warnings", "-Xptxas", "-v", "-c"]
    done = subprocess.run([nvcc, *options, str(source), "-o", str(tmp_path / "unit_rows.o")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr.count(" bytes spill stores") == done.stderr.count(" 0 bytes spill stores") == 6


SOURCE = """#include "luss/unit_rows.cuh"
cudaError_t run(const void* x, int half, int64_t n, float* out, double* squares, cudaStream_t stream) {
    return luss::unit_rows(x, half, n, 128, out, squares, stream);
}
"""
