"""Nearest centroid of every row, without the matrix of all scores (spec/pass.md 5; spec/performance.md 1)."""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path

import numpy as np

from ..runtime.native import load_native
from .backend import use_reference
from .crop_checks import check_threads
from .kernel_folder import kernel_folder
from .nearest_centroid_reference import nearest_centroid as _reference

MODES = ("auto", "fp32", "certified")
_MOST_DIMENSIONS = 1 << 16  # the bounds of cpu/centroid_panels.h leave 1 % for the rounding of norms of that length
MOST_ON_CUDA = (4096, 2048)  # centroids and dimensions that kernels/luss/nearest_centroid.cuh takes
_HEADER = '#include "executor.h"\n#include "luss/nearest_centroid.cuh"'
# in0 x, in1 centroids (R, K, d); `_launch` puts HALF, COSINE and MODE before it. Stream 0 is
# Jittor's; the scratch goes back to Jittor when the text ends, and on to later work of that stream.
_LAUNCH = """
const int64_t n = in0_shape0;
const int d = (int)in0_shape1, r = (int)in1_shape0, k = (int)in1_shape1;
const size_t bytes = luss::nearest_centroid_scratch(n, d, k, r, MODE);
Allocation scratch = exe.alloc_temp(bytes);
cudaError_t error = luss::nearest_centroid((const void*)in0_p, HALF, (const float*)in1_p, n, d, k, r, COSINE, MODE, (int32_t*)out0_p,
    (float*)out1_p, scratch.ptr, bytes, (cudaStream_t)0);
CHECK(error == cudaSuccess) << "nearest_centroid: " << cudaGetErrorString(error);
"""


def nearest_centroid(
    x,  # (N, d) float32 | float16: jt.Var or NumPy array
    centroids,  # (K, d) or (R, K, d) float32: jt.Var or NumPy array
    *,
    cosine: bool = False,
    mode: str = "auto",
):
    """Index of the nearest centroid of every row in each of R sets, and the squared distance to it.

    Args:
        x: Rows of any length. N == 0 is fine.
        centroids: K >= 1; d is 1 to 65536. On CUDA K to 4096, d to 2048.
        cosine: the largest product x.c wins, and is the score: the cosine, where the caller's rows and centroids have unit length.
        mode: where the time goes, not what comes out. "fp32"; "certified": products in half precision (bfloat16 on processors that have it, tensor
            cores in fp16 on CUDA), with a rounding bound for each row, and rows within it decided again in float32; "auto": the faster one.

    Returns: (label, score): (N,) or (R, N) int32 in [0, K), and float32, as jt.Var. On the CPU the labels are those of exact scores, whatever the
        mode: rows that rounding in float32 could decide wrongly are decided in float64. On CUDA they are those of float32. Equal scores give the
        smallest id.
        NaN is never the nearest: a row where no centroid has a score above minus infinity (x.c - |c|^2 / 2, or x.c) gets label 0 and score NaN.
    Raises: ValueError names argument, expected and found: shape, type, K == 0, d out of range, an unknown mode.
    Gradient: none (labels are piecewise constant; the scores carry none). Deterministic, and independent of threads and of the other rows.
    """
    from ..runtime import jt

    if use_reference() or not jt.flags.use_cuda:
        arrays = (a.numpy() if isinstance(a, jt.Var) else a for a in (x, centroids))
        label, score = nearest_centroid_host(*arrays, cosine=cosine, mode=mode)
        return jt.array(label), jt.array(score)
    shape = _checked(x, centroids, mode)
    if any(found > most for found, most in zip(centroids.shape[-2:], MOST_ON_CUDA)):
        raise ValueError(f"centroids: expected K, d of at most {MOST_ON_CUDA} on CUDA, found {tuple(centroids.shape)}")
    if x.shape[0] == 0:
        return jt.zeros(shape, "int32"), jt.zeros(shape, "float32")
    sets = jt.array(centroids).reshape((-1, *centroids.shape[-2:]))
    launch = _launch(str(x.dtype) == "float16", cosine, mode != "fp32")
    rows = (sets.shape[0], x.shape[0])
    label, score = jt.code([rows, rows], ["int32", "float32"], [jt.array(x), sets], cuda_header=_HEADER, cuda_src=launch)
    label.compile_options = score.compile_options = {f"FLAGS: -I{kernel_folder()} ": 1}
    return label.reshape(shape).stop_grad(), score.reshape(shape).stop_grad()


def nearest_centroid_host(
    x: np.ndarray, centroids: np.ndarray, *, cosine: bool = False, mode: str = "auto", threads: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """`nearest_centroid` on the CPU, in NumPy; never imports Jittor. threads: None for all cores; with 1 no thread is started."""
    label, score, _ = nearest_centroid_counted(x, centroids, cosine=cosine, mode=mode, threads=threads)
    return label, score


def nearest_centroid_counted(
    x: np.ndarray, centroids: np.ndarray, *, cosine: bool = False, mode: str = "auto", threads: int | None = None
) -> tuple[np.ndarray, np.ndarray, tuple[int, int, int]]:
    """`nearest_centroid_host`, and how many rows of all sets the half-precision pass left open, how many of these went through a float32 pass as
    more than 8 centroids were near, and how many rows float32 left open (the reference: none)."""
    shape = _checked(x, centroids, mode)
    threads = check_threads(threads)
    if use_reference():
        return (*_reference(x, centroids, cosine=cosine), (0, 0, 0))
    library = _library()
    has_bf16 = bool(library.luss_nearest_centroid_has_bf16())
    if mode == "certified" and not has_bf16:
        mode = "fp32"  # the same labels
    x, centroids = np.ascontiguousarray(x), np.ascontiguousarray(centroids)
    count, dimensions = x.shape
    sets, clusters = int(np.prod(shape[:-1])), centroids.shape[-2]
    label, score, again = np.empty(shape, np.int32), np.empty(shape, np.float32), np.zeros(3, np.int64)
    at_x, at_centroids, at_label, at_score, at_again = (ctypes.c_void_p(a.ctypes.data) for a in (x, centroids, label, score, again))
    half, bf16 = int(x.dtype == np.float16), int(has_bf16 and mode != "fp32")
    status = library.luss_nearest_centroid_cpu(
        *(at_x, half, at_centroids, ctypes.c_int64(count), dimensions, clusters, sets, int(cosine), bf16, at_label, at_score, at_again, threads)
    )
    if status != 0:
        raise MemoryError(f"nearest_centroid: no memory for the packed copy of {centroids.shape} centroids")
    return label, score, tuple(again.tolist())


def _launch(half: bool, cosine: bool, tensor_cores: bool) -> str:
    return f"const int HALF = {half:d}, COSINE = {cosine:d}, MODE = {tensor_cores:d};" + _LAUNCH


@functools.cache
def _library() -> ctypes.CDLL:
    return load_native(Path(__file__).with_suffix(".cc"), (kernel_folder(),))


def _checked(x, centroids, mode: str) -> tuple[int, ...]:
    """The shape of the result."""
    if len(x.shape) != 2 or str(x.dtype) not in ("float32", "float16"):
        raise ValueError(f"x: expected (N, d) float32 or float16, found {tuple(x.shape)} {x.dtype}")
    if not 1 <= x.shape[1] <= _MOST_DIMENSIONS:
        raise ValueError(f"x: expected (N, d) with d in 1..{_MOST_DIMENSIONS}, found {tuple(x.shape)}")
    if len(centroids.shape) not in (2, 3) or 0 in centroids.shape or centroids.shape[-1] != x.shape[1] or str(centroids.dtype) != "float32":
        raise ValueError(
            f"centroids: expected ([R,] K, {x.shape[1]}) float32 with at least one centroid, found {tuple(centroids.shape)} {centroids.dtype}"
        )
    if mode not in MODES:
        raise ValueError(f"mode: expected one of {', '.join(MODES)}, found {mode!r}")
    return (*centroids.shape[:-2], x.shape[0])
