"""Nearest centroids once more: the assignment of every iteration of k-means, which knows that of the one before (spec/performance.md 1)."""

from __future__ import annotations

import ctypes
import functools
import weakref
from pathlib import Path

import numpy as np

from ..runtime.native import load_native
from .backend import use_reference
from .crop_checks import check_threads
from .kernel_folder import kernel_folder
from .nearest_again_reference import nearest_again as _reference
from .nearest_centroid import _MOST_DIMENSIONS, MODES

WORK = ("settled", "prefix", "full", "scanned", "noted", "float64")


class NearestAgain:
    """Labels of all rows in R sets of centroids, given labels and bounds of the iteration before.

    CPU only: on CUDA `nearest_centroid` computes all products on tensor cores. Leaving some out means to gather rows from memory there, and whether
    that pays must be measured on a card first.

    Args:
        centroids: (R, K, d) float32.
        before: (R, K, d) float32, what the bounds of the calls are about; None: nothing, all bounds must be -inf.
        cosine: the largest product wins, as in `nearest_centroid`. Rows are then never skipped, and the bounds stay as they are.
        mode: where the time goes, not what comes out. "fp32"; "certified": products in 8 bits where the processor has AVX512-VNNI, with a rounding
            bound for each pair; "auto": the faster one.
        threads: None for all cores; with 1 no thread is started.

    `work` counts pairs of row and set over all calls: "settled" by the bound alone, by a "prefix" of the centroids sorted by how far they moved,
    by the "full" set; of these "scanned" one by one as too many centroids were near; "noted" centroids that the product left near, and rows decided
    in "float64". Rows whose numbers leave the range of float32 on the way are in none of them.

    Raises: ValueError names argument, expected and found; MemoryError.
    """

    def __init__(
        self, centroids: np.ndarray, before: np.ndarray | None = None, *, cosine: bool = False, mode: str = "auto", threads: int | None = None
    ) -> None:
        if centroids.ndim != 3 or 0 in centroids.shape or centroids.shape[2] > _MOST_DIMENSIONS or centroids.dtype != np.float32:
            raise ValueError(f"centroids: expected (R, K, d) float32, none of them 0, d up to {_MOST_DIMENSIONS}, found {_found(centroids)}")
        if before is not None and (before.shape != centroids.shape or before.dtype != np.float32):
            raise ValueError(f"before: expected {centroids.shape} float32, found {_found(before)}")
        if mode not in MODES:
            raise ValueError(f"mode: expected one of {', '.join(MODES)}, found {mode!r}")
        self._threads = check_threads(threads)
        self._cosine = bool(cosine)
        self._centroids = np.ascontiguousarray(centroids)  # the library keeps no copy
        self._work = np.zeros(len(WORK), np.int64)
        self._close = None
        if use_reference():
            return
        sets, clusters, dimensions = centroids.shape
        before = None if before is None else np.ascontiguousarray(before)
        at_before = ctypes.c_void_p(None if before is None else before.ctypes.data)
        at_centroids = ctypes.c_void_p(self._centroids.ctypes.data)
        int8 = int(mode != "fp32")
        handle = _library().luss_nearest_again_open(at_centroids, at_before, dimensions, clusters, sets, int(cosine), int8, self._threads)
        if not handle:
            raise MemoryError(f"NearestAgain: no memory for the packed copy of {centroids.shape} centroids")
        self._handle = ctypes.c_void_p(handle)
        self._close = weakref.finalize(self, _library().luss_nearest_again_close, self._handle)

    def __call__(self, x: np.ndarray, label: np.ndarray, lower: np.ndarray) -> None:
        """Labels and bounds of a block of rows, in place.

        Args:
            x: (m, d) float32 | float16.
            label: (R, m) int32, C-ordered. In: the row's cluster in `before`, anything outside of 0..K-1 for unknown. Out: that of
                `nearest_centroid`: the exact nearest, equal scores to the smallest id, 0 for rows without a score (NaN).
            lower: (R, m) float32, C-ordered. In: at most the Euclidean distance from the row to every centroid of `before` but its label;
                -inf: unknown. Out: the same for `centroids` (inf with K = 1). Labels depend on x and centroids alone; the bounds
                may also depend on which rows come in one call, not on threads.
        """
        sets, clusters, dimensions = self._centroids.shape
        if x.ndim != 2 or x.shape[1] != dimensions or x.dtype not in (np.float32, np.float16):
            raise ValueError(f"x: expected (m, {dimensions}) float32 or float16, found {_found(x)}")
        for name, array, dtype in (("label", label, np.int32), ("lower", lower, np.float32)):
            if array.shape != (sets, len(x)) or array.dtype != dtype or not array.flags.c_contiguous or not array.flags.writeable:
                raise ValueError(f"{name}: expected a writeable C-ordered {(sets, len(x))} {np.dtype(dtype)}, found {_found(array)}")
        if use_reference():
            label[...], bound = _reference(x, self._centroids, cosine=self._cosine)
            if not self._cosine:
                lower[...] = bound
            return
        if self._close is None or not self._close.alive:
            raise ValueError("NearestAgain: closed, or made under another backend")
        x = np.ascontiguousarray(x)
        at_x, at_label, at_lower, at_work = (ctypes.c_void_p(a.ctypes.data) for a in (x, label, lower, self._work))
        half = int(x.dtype == np.float16)
        status = _library().luss_nearest_again_rows(self._handle, at_x, half, ctypes.c_int64(len(x)), at_label, at_lower, at_work, self._threads)
        if status != 0:
            raise MemoryError(f"NearestAgain: no memory for {self._threads} threads")

    @property
    def work(self) -> dict[str, int]:
        return dict(zip(WORK, self._work.tolist()))

    def close(self) -> None:
        """Frees the packed centroids; also done when nobody refers to this."""
        if self._close is not None:
            self._close()

    def __enter__(self) -> NearestAgain:
        return self

    def __exit__(self, *_) -> None:
        self.close()


def _found(array: np.ndarray) -> str:
    return f"{tuple(array.shape)} {array.dtype}"


@functools.cache
def _library() -> ctypes.CDLL:
    library = load_native(Path(__file__).with_suffix(".cc"), (kernel_folder(),))
    library.luss_nearest_again_open.restype = ctypes.c_void_p
    library.luss_nearest_again_close.restype = None
    return library
