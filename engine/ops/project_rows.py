"""Rows less a mean, in another basis: PCA-whitening of features (engine.clustering.whitening)."""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path

import numpy as np

from ..runtime.native import load_native
from .backend import use_reference
from .crop_checks import check_threads
from .kernel_folder import kernel_folder
from .project_rows_reference import project_rows as _reference


def project_rows(
    x,  # (m, d) float32 | float16: jt.Var or NumPy array
    mean,  # (d,) float32: jt.Var or NumPy array
    basis,  # (d, p) float32: jt.Var or NumPy array
):
    """(x - mean) @ basis, products and sums in float32. On CUDA it is Jittor's subtraction and cuBLAS's product, so there a row's rounding may depend
    on how many rows are given at once; on the CPU it depends on the row alone. NaN and infinity stay in their row.

    Returns: (m, p) float32 jt.Var. m == 0 is fine.
    Raises: ValueError names argument, expected and found.
    Gradient: none.
    """
    from ..runtime import jt

    if use_reference() or not jt.flags.use_cuda:
        return jt.array(project_rows_host(*(a.numpy() if isinstance(a, jt.Var) else a for a in (x, mean, basis))))
    _check(x, mean, basis)
    if x.shape[0] == 0:
        return jt.zeros((0, basis.shape[1]), "float32")
    return jt.matmul(jt.array(x).float32() - jt.array(mean), jt.array(basis)).stop_grad()


def project_rows_host(
    x: np.ndarray, mean: np.ndarray, basis: np.ndarray, out: np.ndarray | None = None, *, threads: int | None = None
) -> np.ndarray:
    """`project_rows` on the CPU, in NumPy; never imports Jittor. A row's bits depend on the row, mean and basis alone.

    Args:
        out: (m, p) float32, C-ordered, written; apart from the other arrays.
        threads: None for all cores; with 1 no thread is started.
    """
    _check(x, mean, basis)
    threads = check_threads(threads)
    shape = (x.shape[0], basis.shape[1])
    if out is None:
        out = np.empty(shape, np.float32)
    elif out.shape != shape or out.dtype != np.float32 or not (out.flags.c_contiguous and out.flags.writeable):
        raise ValueError(f"out: expected {shape} float32, C-ordered and writeable, found {out.shape} {out.dtype}")
    elif any(np.may_share_memory(out, array) for array in (x, mean, basis)):
        raise ValueError("out: expected memory of its own, found that of another argument")
    if use_reference():
        out[...] = _reference(x, mean, basis)
        return out
    x, mean, basis = (np.ascontiguousarray(array) for array in (x, mean, basis))
    at_x, at_mean, at_basis, at_out = (ctypes.c_void_p(array.ctypes.data) for array in (x, mean, basis, out))
    half = int(x.dtype == np.float16)
    status = _library().luss_project_rows_cpu(at_x, half, ctypes.c_int64(len(x)), x.shape[1], at_mean, at_basis, shape[1], at_out, threads)
    if status != 0:
        raise MemoryError(f"project_rows: no memory for the packed copy of {basis.shape} numbers")
    return out


@functools.cache
def _library() -> ctypes.CDLL:
    return load_native(Path(__file__).with_suffix(".cc"), (kernel_folder(),))


def _check(x, mean, basis) -> None:
    if len(x.shape) != 2 or x.shape[1] < 1 or str(x.dtype) not in ("float32", "float16"):
        raise ValueError(f"x: expected (m, d) float32 or float16, found {tuple(x.shape)} {x.dtype}")
    if tuple(mean.shape) != (x.shape[1],) or str(mean.dtype) != "float32":
        raise ValueError(f"mean: expected ({x.shape[1]},) float32, found {tuple(mean.shape)} {mean.dtype}")
    if len(basis.shape) != 2 or basis.shape[0] != x.shape[1] or basis.shape[1] < 1 or str(basis.dtype) != "float32":
        raise ValueError(f"basis: expected ({x.shape[1]}, p) float32, found {tuple(basis.shape)} {basis.dtype}")
