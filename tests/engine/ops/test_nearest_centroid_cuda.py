"""The CUDA kernels of nearest_centroid: run on the CPU against float64, the tensor-core mode against the fp32 mode to the bit."""

import ctypes
import re
import subprocess

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.ops.kernel_folder import kernel_folder
from engine.runtime.cuda import find_nvcc
from tests.cuda_on_cpu.harness import ORDERS, KernelFault, call, driver
from tests.engine.ops.nvcc import ARCHITECTURES

FP32, TENSOR = 0, 1
CHOSEN, SMALL, MIDDLE = 0, 1, 2  # tiles
DRIVERS = ["nearest_centroid", "nearest_centroid_sm80"]
UNIT = 2.0**-24


def nearest(x, c, mode, *, cosine=False, tile=SMALL, order="forward", name="nearest_centroid", with_score=True, offset=0, chunk=0):
    x, c = np.ascontiguousarray(x), np.ascontiguousarray(c, np.float32)
    (n, d), (r, k, _) = x.shape, c.shape
    label, score = np.full((r, n), -7, np.int32), np.full((r, n), -7, np.float32)
    sizes = (ctypes.c_int64(n), d, k, r, int(cosine), mode, int(with_score), offset)
    call(driver(name).luss_emulate_nearest_centroid, tile, chunk, x, int(x.dtype == np.float16), c, *sizes, label, score, order=order)
    return label, score


def rows_and_centroids(n, d, k, r, dtype="float32", seed=0, unit=True):
    rng = np.random.default_rng(seed)
    x, c = rng.standard_normal((n, d)), rng.standard_normal((r, k, d))
    if unit:
        x, c = x / np.linalg.norm(x, axis=-1, keepdims=True), c / np.linalg.norm(c, axis=-1, keepdims=True)
    return x.astype(dtype), c.astype(np.float32)


def check_against_float64(x, c, label, score, cosine=False):
    """Labels of the smallest float64 distance, or of one that the rounding of d + 2 fp32 operations cannot tell from it; scores within that."""
    x, c = x.astype(np.float64), c.astype(np.float64)
    dot, square = np.einsum("nd,rkd->rnk", x, c), (x**2).sum(1)
    inner = dot if cosine else dot - 0.5 * (c**2).sum(2)[:, None, :]
    reach = np.linalg.norm(x, axis=1)[:, None] * np.linalg.norm(c, axis=2).max(1)[:, None, None]  # (r, n, 1): sums of |x_i c_i| stay below
    bound = (x.shape[1] + 2) * UNIT * (reach + 0.5 * (c**2).sum(2).max(1)[:, None, None])
    chosen = np.take_along_axis(inner, label[..., None].astype(np.int64), 2)
    assert (chosen >= inner.max(2, keepdims=True) - 2 * bound).all()
    expected = chosen[..., 0] if cosine else np.maximum(square - 2 * chosen[..., 0], 0)
    slack = bound[..., 0] if cosine else 2 * bound[..., 0] + (x.shape[1] + 2) * UNIT * square
    assert (np.abs(score - expected) <= slack).all()


SHAPES = [(1, 16, 1, 1), (37, 16, 5, 2), (70, 48, 33, 1), (64, 40, 64, 1), (33, 33, 97, 2), (5, 130, 70, 3)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("cosine", [False, True])
def test_fp32_mode_is_within_rounding_of_float64(shape, dtype, cosine):
    x, c = rows_and_centroids(*shape, dtype)
    label, score = nearest(x, c, FP32, cosine=cosine)
    check_against_float64(x, c, label, score, cosine)


@pytest.mark.parametrize("order", list(ORDERS))
@pytest.mark.parametrize("name", DRIVERS)
@pytest.mark.parametrize(
    ("shape", "tile", "dtype", "cosine"),
    [
        (SHAPES[1], SMALL, "float32", False),
        (SHAPES[2], MIDDLE, "float16", False),
        (SHAPES[4], SMALL, "float16", True),
        (SHAPES[5], MIDDLE, "float32", True),
    ],
)
def test_tensor_mode_equals_fp32_mode_to_the_bit(shape, tile, dtype, cosine, name, order):
    x, c = rows_and_centroids(*shape, dtype, seed=3)
    for mode_0, mode_1 in zip(nearest(x, c, FP32, cosine=cosine), nearest(x, c, TENSOR, cosine=cosine, tile=tile, order=order, name=name)):
        assert mode_0.tobytes() == mode_1.tobytes()


@pytest.mark.parametrize("k", [50, 131])
@pytest.mark.parametrize("name", DRIVERS)
def test_the_tiles_that_a_card_gets(k, name):
    x, c = rows_and_centroids(150, 72, k, 1, "float16", seed=k)
    label, score = nearest(x, c, TENSOR, tile=CHOSEN, name=name)
    assert [label.tobytes(), score.tobytes()] == [part.tobytes() for part in nearest(x, c, FP32, tile=CHOSEN, name=name)]
    check_against_float64(x, c, label, score)


@pytest.mark.parametrize("d", [200, 390])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_many_chunks_of_the_depth(d, dtype):
    x, c = rows_and_centroids(33, d, 37, 1, dtype, seed=d)
    label, score = nearest(x, c, TENSOR, tile=SMALL)
    assert [label.tobytes(), score.tobytes()] == [part.tobytes() for part in nearest(x, c, FP32)]
    check_against_float64(x, c, label, score)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 80), st.integers(1, 70), st.integers(1, 70), st.integers(1, 3), st.booleans(), st.booleans(), st.sampled_from(DRIVERS),
       st.sampled_from([1e-12, 1e-3, 1.0, 1e4]), st.integers(0, 1000))  # fmt: skip
def test_any_shape_and_scale(n, d, k, r, half, cosine, name, scale, seed):
    x, c = rows_and_centroids(n, d, k, r, seed=seed, unit=False)
    x = (x * np.float32(scale)).astype(np.float16 if half else np.float32)
    c = c * np.float32(scale)
    label, score = nearest(x, c, FP32, cosine=cosine)
    if n:
        check_against_float64(x, c, label, score, cosine)
    again = nearest(x, c, TENSOR, cosine=cosine, name=name)
    assert label.tobytes() == again[0].tobytes() and score.tobytes() == again[1].tobytes()


@pytest.mark.parametrize("order", list(ORDERS))
@pytest.mark.parametrize("mode", [FP32, TENSOR])
def test_ties_take_the_smallest_id_however_many_there_are(mode, order):
    x, c = rows_and_centroids(70, 32, 12, 1)
    twice = np.tile(c, (1, 2, 1))  # two of each: candidates; twelve of each: more than the lists of candidates hold
    often = np.tile(c, (1, 12, 1))
    expected, _ = nearest(x, c, FP32)
    for many in (twice, often):
        assert np.array_equal(nearest(x, many, mode, order=order)[0], expected)


@pytest.mark.parametrize("chunk", [0, 100])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_more_listed_rows_than_the_list_holds_and_several_chunks(chunk, dtype):
    x, c = rows_and_centroids(330, 32, 9, 2, dtype, seed=6)
    twice = np.concatenate([c[:, :2], c], 1)  # 128 listed rows of each set find room, others are decided over all centroids
    expected, scores = nearest(x, twice, FP32)
    again = nearest(x, twice, TENSOR, chunk=chunk)
    assert np.array_equal(expected, again[0]) and scores.tobytes() == again[1].tobytes()
    everywhere = np.repeat(c[:, :1], 11, 1)  # all rows tie among all centroids
    assert (nearest(x, everywhere, TENSOR, chunk=chunk)[0] == 0).all()


@pytest.mark.parametrize("name", DRIVERS)
def test_scores_that_fp16_cannot_tell_apart_are_decided_in_fp32(name):
    rng = np.random.default_rng(5)
    x = rng.standard_normal((64, 64)).astype(np.float32)
    base = rng.standard_normal((1, 20, 64)).astype(np.float32)
    c = np.concatenate([base, base * np.float32(1 + 2e-5), base * np.float32(1 - 2e-5)], 1)  # equal in fp16 but for a few numbers
    label, score = nearest(x, c, FP32)
    assert len(np.unique(label)) > 15 and ((label >= 20).mean() > 0.3)
    again = nearest(x, c, TENSOR, name=name)
    assert np.array_equal(label, again[0]) and score.tobytes() == again[1].tobytes()
    rounded = c.astype(np.float16).astype(np.float32)
    plain = (x.astype(np.float16).astype(np.float32) @ rounded[0].T - 0.5 * (rounded[0] ** 2).sum(1)).argmax(1)
    assert (plain != label[0]).any()  # without the second decision the answer would be another


@pytest.mark.parametrize("name", DRIVERS)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_nan_and_infinity(dtype, name):
    x, c = rows_and_centroids(40, 24, 40, 2, dtype, seed=9)
    clean, _ = nearest(x, c, FP32)
    x[3, 5], x[7, :], x[20, 0] = np.nan, np.nan, np.inf
    hurt = c.copy()
    hurt[0, 4, 2] = np.nan
    for mode in (FP32, TENSOR):
        label, score = nearest(x, hurt, mode, name=name)
        assert (label[:, [3, 7]] == 0).all() and np.isnan(score[:, [3, 7]]).all()
        others = np.setdiff1d(np.arange(40), [3, 7, 20])
        assert np.isfinite(score[:, others]).all() and (label[0] != 4).all()
        assert np.array_equal(label[1, others], clean[1, others])
        unaffected = others[clean[0, others] != 4]
        assert np.array_equal(label[0, unaffected], clean[0, unaffected])
    first, second = (nearest(x, hurt, mode, name=name) for mode in (FP32, TENSOR))
    assert np.array_equal(first[0], second[0]) and np.array_equal(first[1], second[1], equal_nan=True)
    all_nan = np.full((1, 3, 24), np.nan, np.float32)
    for mode in (FP32, TENSOR):
        label, score = nearest(x[:2], all_nan, mode, name=name)
        assert (label == 0).all() and np.isnan(score).all()


@pytest.mark.parametrize("name", DRIVERS)
def test_numbers_beyond_fp16(name):
    x, c = rows_and_centroids(20, 24, 9, 1, seed=2)
    x[3] *= 1e6
    c[0, 5] *= 1e5
    label, score = nearest(x, c, FP32)
    check_against_float64(x, c, label, score)
    again = nearest(x, c, TENSOR, name=name)
    assert np.array_equal(label, again[0]) and score.tobytes() == again[1].tobytes()


def test_without_scores_and_where_rows_are_not_aligned():
    x, c = rows_and_centroids(40, 32, 20, 1, "float16", seed=4)
    label, _ = nearest(x, c, FP32)
    for mode in (FP32, TENSOR):
        found, untouched = nearest(x, c, mode, with_score=False)
        assert np.array_equal(found, label) and untouched.view(np.uint32).tolist() == [[0xA5A5A5A5] * 40]
        assert np.array_equal(nearest(x, c, mode, offset=3)[0], label)


def test_refusals():
    x, c = rows_and_centroids(3, 16, 2, 1)
    for mode, d, k in ((2, 16, 2), (0, 16, 4097), (1, 2049, 2)):
        with pytest.raises(KernelFault, match="refused"):
            nearest(np.zeros((3, d), np.float32), np.zeros((1, k, d), np.float32), mode, tile=CHOSEN)
    assert nearest(x[:0], c, TENSOR, tile=CHOSEN)[0].shape == (1, 0)


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_nvcc_compiles_with_hardly_a_spill(tmp_path, architecture):
    nvcc = find_nvcc()
    if nvcc is None:
        pytest.skip("nvcc is absent: neither nvcc_path nor PATH nor /usr/local/cuda holds it")
    source = tmp_path / "nearest_centroid.cu"
    source.write_text(SOURCE)
    options = ["-std=c++14", f"-arch=sm_{architecture}", "--use_fast_math", f"-I{kernel_folder()}", "-Werror", "all-warnings", "-Xptxas", "-v", "-c"]
    done = subprocess.run([nvcc, *options, str(source), "-o", str(tmp_path / "nearest_centroid.o")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    spills = [int(count) for count in re.findall(r"(\d+) bytes spill stores", done.stderr)]
    # none but for the fp32 kernel's registers on sm_90, outside its inner loop
    assert len(spills) > 10 and max(spills) <= (128 if architecture == 90 else 0)
    # Two blocks of the tensor kernel fill the shared memory of sm_75 to the last byte: not one more may be static
    used = re.findall(r"Compiling entry function '(\w+)'.*?Used (\d+) registers([^\n]*)", done.stderr, re.DOTALL)
    tensor = [(int(registers), rest) for name, registers, rest in used if "nearest_tensor_kernel" in name]
    assert len(tensor) == 4 and all(registers <= 256 and "smem" not in rest for registers, rest in tensor)


SOURCE = """#include "luss/nearest_centroid.cuh"
cudaError_t run(const void* x, const float* c, int64_t n, int32_t* label, float* score, void* scratch, size_t bytes, cudaStream_t stream) {
    return luss::nearest_centroid(x, 1, c, n, 128, 919, 1, 0, 1, label, score, scratch, bytes, stream);
}
"""
