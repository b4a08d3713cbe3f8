"""The label step of stages 2.3 and 2.4 in one op: cluster of each pixel at image size from features, centroids, attention (spec/pass.md 6)."""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path

import numpy as np

from ..runtime.native import load_native
from .backend import use_reference
from .crop_checks import check_threads
from .kernel_folder import kernel_folder
from .pixel_nearest_centroid_reference import pixel_nearest_centroid as reference
from .upsample_argmax import LONGEST_SIDE, TASK_FIELDS, check_task, make_plans, on_host, split_maps, upsample_argmax_host

_HEADER = '#include "luss/pixel_nearest_centroid.cuh"'
# in0 features, in1 unit centroids, in2 plans, in3 attention (one number where there is none); out0 the labels, out1 the table of taps,
# out2 the scores. Stream 0 is Jittor's.
_LAUNCH = """
luss_label_task task = {(int)in0_shape0, (int)in1_shape0, (int)in0_shape2, (int)in0_shape3, 0, 0, (int)data["attention_height"],
    (int)data["attention_width"], 1, (float)data["threshold"]};
cudaError_t error = luss::pixel_nearest_centroid(OUT0, (const float*)in1_p, (int)in0_shape1, task, (const luss_label_plan*)in2_p,
    (const float*)in3_p, (float*)out2_p, (luss_tap*)out1_p, (int32_t*)out0_p, (cudaStream_t)0);
CHECK(error == cudaSuccess) << "pixel_nearest_centroid: " << cudaGetErrorString(error);
"""
_POINTERS = {"float32": "(const float*)in0_p", "float16": "(const __half*)in0_p"}


def pixel_nearest_centroid(
    features,  # (n, c, h, w) float32 or float16: jt.Var, or NumPy array
    centroids: np.ndarray,  # (k, c) float32; need not have unit length
    sizes,  # (n, 2) integers: height and width of each image
    *,
    attention=None,  # (n, h', w') float32: jt.Var, or NumPy array
    threshold: float = 0.0,
    factor: int = 4,
) -> list[np.ndarray]:
    """1 + the centroid of largest cosine with the bilinearly enlarged features, on a grid of factor h x factor w; nearest to the image's size.

    The pixel's own norm does not change which cosine is largest, and enlarging commutes with the product: scores are made at (h, w), and
    `upsample_argmax` does the rest, with its rules: equal scores give the smallest id, the label is 0 where the bilinearly enlarged
    attention is below float32(threshold), a NaN score is the largest.

    Returns: n arrays (H, W) int32 in 0..k. n == 0 gives []. A centroid of length 0 has score 0.
    Raises: ValueError names the argument, what was expected and found.
    Gradient: none (piecewise constant). Deterministic: the same labels on CPU and CUDA, for any number of threads.
    """
    from ..runtime import jt

    if use_reference() or not jt.flags.use_cuda:
        return pixel_nearest_centroid_host(on_host(features), centroids, sizes, attention=on_host(attention), threshold=threshold, factor=factor)
    task, sizes, grid = check_centroid_task(features, centroids, sizes, attention, threshold, factor)
    n, _, height, width = features.shape
    if n == 0:
        return []
    plans, pixels, taps = make_plans(task, sizes, grid, 0)
    inputs = [features, unit_rows(centroids), plans.view(np.int32).reshape(n, -1), np.zeros(1, np.float32) if attention is None else attention]
    outputs = jt.code(
        [(pixels,), (taps, 4), (n, len(centroids), height, width)],
        ["int32", "float32", "float32"],
        [value if isinstance(value, jt.Var) else jt.array(value) for value in inputs],
        cuda_header=_HEADER,
        cuda_src=_LAUNCH.replace("OUT0", _POINTERS[str(features.dtype)]),
        data={name: float(task[name][0]) for name in (*TASK_FIELDS[6:8], "threshold")},
    )
    for output in outputs:
        output.compile_options = {f"FLAGS: -I{kernel_folder()} ": 1}
    return split_maps(outputs[0].numpy(), plans)


def pixel_nearest_centroid_host(
    features: np.ndarray,
    centroids: np.ndarray,
    sizes,
    *,
    attention: np.ndarray | None = None,
    threshold: float = 0.0,
    factor: int = 4,
    threads: int | None = None,
) -> list[np.ndarray]:
    """`pixel_nearest_centroid` on the CPU; never imports Jittor. threads: None for all cores; with 1 no thread is started.

    Beside the result it needs the scores, 4 n k h w bytes, and the packed centroids, 4 k c.
    """
    _, sizes, grid = check_centroid_task(features, centroids, sizes, attention, threshold, factor)
    threads = check_threads(threads)
    if use_reference():
        return reference(features, centroids, sizes, attention, threshold, factor)
    n, depth, height, width = features.shape
    scores = np.empty((n, len(centroids), height, width), np.float32)
    features, unit = np.ascontiguousarray(features), unit_rows(centroids)
    at_features, at_unit, at_scores = (ctypes.c_void_p(array.ctypes.data) for array in (features, unit, scores))
    half, count = int(features.dtype == np.float16), ctypes.c_int64(n)
    _library().luss_centroid_scores_cpu(at_features, half, count, depth, height * width, at_unit, len(unit), at_scores, threads)
    return upsample_argmax_host(scores, sizes, attention=attention, threshold=threshold, grid=grid, first_id=1, threads=threads)


def unit_rows(centroids: np.ndarray) -> np.ndarray:
    """Rows of length 1, or 0, float32; lengths below 1e-12 count as that, and are computed in float64."""
    centroids = np.ascontiguousarray(centroids)
    unit = np.empty_like(centroids)
    count, depth = (ctypes.c_int64(side) for side in centroids.shape)
    _library().luss_unit_rows_cpu(ctypes.c_void_p(centroids.ctypes.data), count, depth, ctypes.c_void_p(unit.ctypes.data))
    return unit


def check_centroid_task(features, centroids, sizes, attention, threshold, factor) -> tuple[np.ndarray, np.ndarray, tuple[int, int]]:
    """(1,) TASK, sizes (n, 2) int32 and grid of checked arguments."""
    if features.ndim != 4 or 0 in tuple(features.shape)[1:] or str(features.dtype) not in _POINTERS:
        raise ValueError(f"features: expected a non-empty (n, c, h, w) float32 or float16, found {tuple(features.shape)} {features.dtype}")
    n, depth, height, width = features.shape
    if centroids.ndim != 2 or centroids.shape[1] != depth or len(centroids) == 0 or str(centroids.dtype) != "float32":
        raise ValueError(f"centroids: expected (k, {depth}) float32, k >= 1, found {tuple(centroids.shape)} {centroids.dtype}")
    if not isinstance(factor, (int, np.integer)) or factor < 1:
        raise ValueError(f"factor={factor!r}: expected a whole number of at least 1")
    grid = (int(factor) * height, int(factor) * width)
    if max(grid) > LONGEST_SIDE:
        raise ValueError(f"factor={factor!r}: expected a grid with sides up to {LONGEST_SIDE}, found {grid[0]} x {grid[1]}")
    task, sizes = check_task(np.broadcast_to(np.float32(0), (n, len(centroids), height, width)), sizes, None, attention, threshold, grid, 1)
    return task, sizes, grid


@functools.cache
def _library() -> ctypes.CDLL:
    return load_native(Path(__file__).with_suffix(".cc"), (kernel_folder(),))
