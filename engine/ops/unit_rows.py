"""Rows scaled to unit length, and squared lengths of rows: what k-means reads (spec/pass.md 5)."""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path

import numpy as np

from ..runtime.native import load_native
from .backend import use_reference
from .crop_checks import check_threads
from .kernel_folder import kernel_folder
from .unit_rows_reference import row_squares as _reference_squares
from .unit_rows_reference import unit_rows as _reference

_HEADER = '#include "executor.h"\n#include "luss/unit_rows.cuh"'
# in0 x; `_launch` puts HALF before it. Stream 0 is Jittor's.
_LAUNCH = """
cudaError_t error = luss::unit_rows((const void*)in0_p, HALF, in0_shape0, (int)in0_shape1, (float*)out0_p, (double*)out1_p, (cudaStream_t)0);
CHECK(error == cudaSuccess) << "unit_rows: " << cudaGetErrorString(error);
"""


def unit_rows(x):  # (m, d) float32 | float16: jt.Var or NumPy array
    """x / (|x| + 1e-8) of every row as float32, and the squared length of what comes out.

    Sums of squares are float64, in an order that depends on d alone, and a product in float64 is rounded once: a row's bits are its own, whatever the
    block, the threads and the device, but for numbers below 2^-126, which may be 0 on CUDA. A zero row gives zeros. A row with NaN or infinity
    gives NaN, and squares that are not finite, by which the caller finds it.

    Returns: (out, squares): (m, d) float32 and (m,) float64 jt.Var. m == 0 is fine.
    Raises: ValueError names argument, expected and found: shape, type, d == 0.
    Gradient: none.
    """
    from ..runtime import jt

    if use_reference() or not jt.flags.use_cuda:
        out, squares = unit_rows_host(x.numpy() if isinstance(x, jt.Var) else x)
        return jt.array(out), jt.array(squares, dtype="float64")  # jt.array alone makes 32 bits of 64
    _check(x)
    if x.shape[0] == 0:
        return jt.zeros(x.shape, "float32"), jt.zeros((0,), "float64")
    launch = _launch(str(x.dtype) == "float16")
    out, squares = jt.code([x.shape, (x.shape[0],)], ["float32", "float64"], [jt.array(x)], cuda_header=_HEADER, cuda_src=launch)
    out.compile_options = squares.compile_options = {f"FLAGS: -I{kernel_folder()} ": 1}
    return out.stop_grad(), squares.stop_grad()


def unit_rows_host(
    x: np.ndarray,  # (m, d) float32 | float16
    out: np.ndarray | None = None,  # (m, d) float32, C-ordered, written; may be x itself
    *,
    threads: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """`unit_rows` on the CPU, in NumPy; never imports Jittor. threads: None for all cores; with 1 no thread is started."""
    _check(x)
    out = np.empty(x.shape, np.float32) if out is None else _checked_out(out, x)
    threads = check_threads(threads)
    if use_reference():
        out[...], squares = _reference(x)
        return out, squares
    return out, _run(x, out, threads)


def row_squares_host(x: np.ndarray, *, threads: int | None = None) -> np.ndarray:
    """(m,) float64 squared lengths of the rows of x, (m, d) float32 or float16, as they are: to the bit the `squares` of `unit_rows` where x is
    its result. A row with NaN or infinity has NaN or infinity. m == 0 is fine. Independent of threads and of the other rows; the reference adds
    in another order.

    Raises: ValueError names argument, expected and found.
    """
    _check(x)
    threads = check_threads(threads)
    return _reference_squares(x) if use_reference() else _run(x, None, threads)


def _run(x: np.ndarray, out: np.ndarray | None, threads: int) -> np.ndarray:
    x = np.ascontiguousarray(x)
    squares = np.empty(len(x))
    at_x, at_squares = ctypes.c_void_p(x.ctypes.data), ctypes.c_void_p(squares.ctypes.data)
    at_out = None if out is None else ctypes.c_void_p(out.ctypes.data)
    _library().luss_unit_rows_cpu(at_x, int(x.dtype == np.float16), ctypes.c_int64(len(x)), x.shape[1], at_out, at_squares, threads)
    return squares


def _launch(half: bool) -> str:
    return f"const int HALF = {half:d};" + _LAUNCH


@functools.cache
def _library() -> ctypes.CDLL:
    return load_native(Path(__file__).with_suffix(".cc"), (kernel_folder(),))


def _check(x) -> None:
    if len(x.shape) != 2 or x.shape[1] < 1 or str(x.dtype) not in ("float32", "float16"):
        raise ValueError(f"x: expected (m, d) float32 or float16, found {tuple(x.shape)} {x.dtype}")


def _checked_out(out: np.ndarray, x: np.ndarray) -> np.ndarray:
    if out.shape != x.shape or out.dtype != np.float32 or not (out.flags.c_contiguous and out.flags.writeable):
        raise ValueError(f"out: expected {x.shape} float32, C-ordered and writeable, found {out.shape} {out.dtype}")
    same = out.ctypes.data == x.ctypes.data and x.dtype == np.float32 and x.flags.c_contiguous
    if not same and np.may_share_memory(out, x):
        raise ValueError("out: expected x itself or memory of its own, found a part of x")
    return out
