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
