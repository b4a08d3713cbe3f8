"""Sum and number of the rows of each cluster: the update of k-means (spec/performance.md 1.5)."""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path

import numpy as np

from ..runtime.native import load_native
from .backend import use_reference
from .centroid_sums_reference import centroid_sums as _reference
from .crop_checks import check_threads
from .kernel_folder import kernel_folder

_HEADER = '#include "executor.h"\n#include "luss/centroid_sums.cuh"'
# in0 x, in1 label; `_launch` puts HALF before it. Stream 0 is Jittor's;
# the scratch goes back to Jittor when the text ends, and on to later work of that stream.
_LAUNCH = """
const int64_t n = in0_shape0;
const int d = (int)in0_shape1, k = (int)out0_shape0;
const size_t bytes = luss::centroid_sums_scratch(n, d, k);
Allocation scratch = exe.alloc_temp(bytes);
cudaError_t error = luss::centroid_sums((const void*)in0_p, HALF, (const int32_t*)in1_p, n, d, k, (double*)out0_p, (int64_t*)out1_p,
    scratch.ptr, bytes, (cudaStream_t)0);
CHECK(error == cudaSuccess) << "centroid_sums: " << cudaGetErrorString(error);
"""


def centroid_sums(
    x,  # (N, d) float32 | float16: jt.Var or NumPy array
    label,  # (N,) int32 in [0, clusters): jt.Var or NumPy array
    clusters: int,
):
    """sums[j] = sum of x[i] over label[i] == j, and how many these are.

    Summed in float64 in order of the rows on the CPU; on CUDA in pairs of float32, good to 2^-41 of a sum of absolute values. NaN stays in
    its cluster. A cluster without rows has sum 0. Not fused with `nearest_centroid`: there the order of additions would depend on the
    threads, and reading x again costs little beside K products a row.

    Returns: (sums, counts): (clusters, d) float64 and (clusters,) int64 jt.Var.
    Raises: ValueError names argument, expected and found; on the CPU also for a label outside the range. On CUDA such a row counts for nothing.
    Gradient: none. Deterministic, and independent of threads.
    """
    from ..runtime import jt

    if use_reference() or not jt.flags.use_cuda:
        sums, counts = centroid_sums_host(*(a.numpy() if isinstance(a, jt.Var) else a for a in (x, label)), clusters)
        return _keeping_64_bits(sums), _keeping_64_bits(counts)
    _check(x, label, clusters)
    if x.shape[0] == 0:
        return jt.zeros((clusters, x.shape[1]), "float64"), jt.zeros((clusters,), "int64")
    launch = _launch(str(x.dtype) == "float16")
    shapes, types = [(clusters, x.shape[1]), (clusters,)], ["float64", "int64"]
    sums, counts = jt.code(shapes, types, [jt.array(x), jt.array(label)], cuda_header=_HEADER, cuda_src=launch)
    sums.compile_options = counts.compile_options = {f"FLAGS: -I{kernel_folder()} ": 1}
    return sums.stop_grad(), counts.stop_grad()


def centroid_sums_host(x: np.ndarray, label: np.ndarray, clusters: int, *, threads: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """`centroid_sums` on the CPU, in NumPy; never imports Jittor. threads: None for all cores; with 1 no thread is started."""
    _check(x, label, clusters)
    threads = check_threads(threads)
    if len(label) and (label.min() < 0 or label.max() >= clusters):
        raise ValueError(f"label: expected 0..{clusters - 1}, found {label.min()}..{label.max()}")
    if use_reference():
        return _reference(x, label, clusters)
    x, label = np.ascontiguousarray(x), np.ascontiguousarray(label)
    count, dimensions = x.shape
    sums, counts = np.empty((clusters, dimensions)), np.empty(clusters, np.int64)
    at_x, at_label, at_sums, at_counts = (ctypes.c_void_p(a.ctypes.data) for a in (x, label, sums, counts))
    half = int(x.dtype == np.float16)
    _library().luss_centroid_sums_cpu(at_x, half, at_label, ctypes.c_int64(count), dimensions, int(clusters), at_sums, at_counts, threads)
    return sums, counts


def _keeping_64_bits(array: np.ndarray):
    """A Var of the array's own type: jt.array alone makes 32 bits of 64."""
    from ..runtime import jt

    return jt.array(array, dtype=str(array.dtype))


def _launch(half: bool) -> str:
    return f"const int HALF = {half:d};" + _LAUNCH


@functools.cache
def _library() -> ctypes.CDLL:
    return load_native(Path(__file__).with_suffix(".cc"), (kernel_folder(),))


def _check(x, label, clusters: int) -> None:
    if len(x.shape) != 2 or x.shape[1] < 1 or str(x.dtype) not in ("float32", "float16"):
        raise ValueError(f"x: expected (N, d) float32 or float16, found {tuple(x.shape)} {x.dtype}")
    if tuple(label.shape) != (x.shape[0],) or str(label.dtype) != "int32":
        raise ValueError(f"label: expected ({x.shape[0]},) int32, found {tuple(label.shape)} {label.dtype}")
    if not isinstance(clusters, (int, np.integer)) or clusters < 1:
        raise ValueError(f"clusters: expected a number of at least 1, found {clusters!r}")
