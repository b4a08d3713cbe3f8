"""Sum and number of the rows of each cluster in fixed point: exact, so the same bits for any order, block size, number of threads or processes."""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path

import numpy as np

from ..runtime.native import load_native
from .backend import use_reference
from .crop_checks import check_threads
from .fixed_sums_reference import fixed_sums as _reference
from .fixed_sums_reference import move_rows as _reference_moves
from .kernel_folder import kernel_folder

MOST_BITS = 62
_HEADER = '#include "executor.h"\n#include "luss/fixed_sums.cuh"'
# in0 x, in1 label (r, n); `_launch` puts HALF before it. Stream 0 is Jittor's;
# the scratch goes back to Jittor when the text ends, and on to later work of that stream.
_LAUNCH = """
const int64_t n = in0_shape0;
const int d = (int)in0_shape1, r = (int)in1_shape0, k = (int)out0_shape1;
const size_t bytes = luss::fixed_sums_scratch(n, d, k, r);
Allocation scratch = exe.alloc_temp(bytes);
cudaError_t error = luss::fixed_sums((const void*)in0_p, HALF, (const int32_t*)in1_p, n, d, k, r, (int)data["bits"], (int64_t*)out0_p,
    (int64_t*)out1_p, scratch.ptr, bytes, (cudaStream_t)0);
CHECK(error == cudaSuccess) << "fixed_sums: " << cudaGetErrorString(error);
"""


def fixed_sums(
    x,  # (N, d) float32 | float16: jt.Var or NumPy array
    label,  # (N,) or (R, N) int32: jt.Var or NumPy array
    clusters: int,
    bits: int,  # 0..62
):
    """sums[r, j] = sum of round(x[i] * 2^bits) over label[r, i] == j, halves to even, and how many these are.

    The product itself is exact: nothing but its rounding, at most half a unit of 2^-bits a number, separates sums * 2^-bits from the true sums;
    with 24 bits float16 is not rounded at all. The caller sees to it that no sum leaves 63 bits: N * max |x| * 2^bits < 2^63. Beyond, and for
    NaN and infinity, the sums of that cluster and column are unspecified. A label outside 0..clusters-1 counts for nothing. A cluster without
    rows has sum 0.

    Returns: (sums, counts): ([R,] clusters, d) and ([R,] clusters) int64 jt.Var.
    Raises: ValueError names argument, expected and found. On CUDA clusters are at most 4096, R 65535.
    Gradient: none. The same bits on every device, for any order of rows, and if the rows' blocks are summed apart and added.
    """
    from ..runtime import jt

    several = _check(x, label, clusters, bits)
    if use_reference() or not jt.flags.use_cuda:
        sums, counts = fixed_sums_host(*(a.numpy() if isinstance(a, jt.Var) else a for a in (x, label)), clusters, bits)
        return jt.array(sums, dtype="int64").stop_grad(), jt.array(counts, dtype="int64").stop_grad()  # alone jt.array makes 32 bits of 64
    sets, d = (label.shape[0] if several else 1), x.shape[1]
    shapes = [(sets, clusters, d), (sets, clusters)]
    if x.shape[0] == 0:
        sums, counts = (jt.zeros(shape, "int64") for shape in shapes)
    else:
        given = [jt.array(x), jt.array(label).reshape((sets, x.shape[0]))]
        launch = _launch(str(x.dtype) == "float16")
        sums, counts = jt.code(shapes, ["int64", "int64"], given, cuda_header=_HEADER, cuda_src=launch, data={"bits": int(bits)})
        sums.compile_options = counts.compile_options = {f"FLAGS: -I{kernel_folder()} ": 1}
    if not several:
        sums, counts = sums.reshape((clusters, d)), counts.reshape((clusters,))
    return sums.stop_grad(), counts.stop_grad()


def fixed_sums_host(
    x: np.ndarray, label: np.ndarray, clusters: int, bits: int, *, threads: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """`fixed_sums` on the CPU, in NumPy; never imports Jittor. threads: None for all cores; with 1 no thread is started."""
    several = _check(x, label, clusters, bits)
    threads = check_threads(threads)
    if use_reference():
        return _reference(x, label, clusters, bits)
    shape = (*label.shape[:-1], clusters)
    sums, counts = np.zeros((*shape, x.shape[1]), np.int64), np.zeros(shape, np.int64)
    _move(x, None, label, len(label) if several else 1, sums, counts, bits, None, threads)
    return sums, counts


def move_rows_host(
    x: np.ndarray,  # (N, d) float32 | float16
    before: np.ndarray,  # (R, N) int32: each row's cluster in R sets until now
    after: np.ndarray,  # (R, N) int32: from now on
    sums: np.ndarray,  # (R, K, d) int64, written
    counts: np.ndarray,  # (R, K) int64, written
    bits: int,
    *,
    threads: int | None = None,
) -> np.ndarray:
    """What `fixed_sums` of `after` has more than that of `before` is added to sums and counts, in place, reading only rows whose label changed.

    Labels outside 0..K-1 stand for no cluster. `sums` and `counts` are C-ordered; the other arrays are copied if they are not.

    Returns: (R,) int64, how many labels changed.
    Raises: ValueError names argument, expected and found. NaN and sums beyond 63 bits: as `fixed_sums`. Independent of threads.
    """
    if not isinstance(counts, np.ndarray) or counts.ndim != 2 or 0 in counts.shape:
        raise ValueError(f"counts: expected (R, K), found {np.shape(counts)}")
    sets, clusters = counts.shape
    for name, label in (("before", before), ("after", after)):
        _check(x, label, clusters, bits, name)
        if label.shape != (sets, len(x)):
            raise ValueError(f"{name}: expected {(sets, len(x))} int32, found {label.shape} {label.dtype}")
    for name, total, shape in (("sums", sums, (sets, clusters, x.shape[1])), ("counts", counts, (sets, clusters))):
        if total.shape != shape or total.dtype != np.int64 or not (total.flags.c_contiguous and total.flags.writeable):
            order = "C-ordered" if total.flags.c_contiguous else "not C-ordered"
            raise ValueError(f"{name}: expected {shape} int64, C-ordered and writable, found {total.shape} {total.dtype}, {order}")
    threads = check_threads(threads)
    if use_reference():
        return _reference_moves(x, before, after, sums, counts, bits)
    moved = np.empty(sets, np.int64)
    _move(x, before, after, sets, sums, counts, bits, moved, threads)
    return moved


def _move(x, before, after, sets: int, sums, counts, bits: int, moved, threads: int) -> None:
    x, after = np.ascontiguousarray(x), np.ascontiguousarray(after)
    before = None if before is None else np.ascontiguousarray(before)
    at_x, at_before, at_after, at_sums, at_counts, at_moved = (_pointer(a) for a in (x, before, after, sums, counts, moved))
    n, d, half = ctypes.c_int64(len(x)), x.shape[1], int(x.dtype == np.float16)
    clusters = counts.shape[-1]
    _library().luss_move_rows_cpu(at_x, half, at_before, at_after, n, d, clusters, sets, int(bits), at_sums, at_counts, at_moved, threads)


def _pointer(array: np.ndarray | None) -> ctypes.c_void_p:
    return ctypes.c_void_p(None if array is None else array.ctypes.data)


def _launch(half: bool) -> str:
    return f"const int HALF = {half:d};" + _LAUNCH


@functools.cache
def _library() -> ctypes.CDLL:
    return load_native(Path(__file__).with_suffix(".cc"), (kernel_folder(),))


def _check(x, label, clusters: int, bits: int, name: str = "label") -> bool:
    """Whether there are several sets of labels."""
    if len(x.shape) != 2 or x.shape[1] < 1 or str(x.dtype) not in ("float32", "float16"):
        raise ValueError(f"x: expected (N, d) float32 or float16, found {tuple(x.shape)} {x.dtype}")
    n, shape = x.shape[0], tuple(label.shape)
    if len(shape) not in (1, 2) or shape[-1] != n or shape[0] < len(shape) - 1 or str(label.dtype) != "int32":
        raise ValueError(f"{name}: expected ({n},) or (R, {n}) int32, found {shape} {label.dtype}")
    if not isinstance(clusters, (int, np.integer)) or clusters < 1:
        raise ValueError(f"clusters: expected a number of at least 1, found {clusters!r}")
    if not isinstance(bits, (int, np.integer)) or not 0 <= bits <= MOST_BITS:
        raise ValueError(f"bits: expected a number in 0..{MOST_BITS}, found {bits!r}")
    return len(shape) == 2
