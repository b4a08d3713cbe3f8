"""Label maps at image size from small maps of logits, whose enlargement is never stored (spec/pass.md 8, spec/sampass.md 1.3)."""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path

import numpy as np

from ..runtime.native import load_native
from .backend import use_reference
from .crop_checks import check_threads
from .kernel_folder import kernel_folder
from .upsample_argmax_reference import enlarge_map as reference_map
from .upsample_argmax_reference import upsample_argmax as reference

# What C++ and CUDA are told of the batch and of each image: luss_label_task and luss_label_plan of kernels/luss/label_plan.h
TASK_FIELDS = ("n", "classes", "height", "width", "middle_height", "middle_width", "attention_height", "attention_width", "first_id")
TASK = np.dtype([*((name, np.int32) for name in TASK_FIELDS), ("threshold", np.float32)])
PLAN = np.dtype([("out", np.int64), ("taps", np.int64), *((name, np.int32) for name in ("height", "width", "grid_height", "grid_width"))])
LONGEST_SIDE, LARGEST_AREA = 1 << 16, (1 << 31) - 1

_HEADER = '#include "luss/upsample_argmax.cuh"'
# in0 logits, in1 plans, in2 attention (one number where there is none); out0 the labels, out1 the table of taps. Stream 0 is Jittor's.
_LAUNCH = """
luss_label_task task = {(int)in0_shape0, (int)in0_shape1, (int)in0_shape2, (int)in0_shape3, (int)data["middle_height"],
    (int)data["middle_width"], (int)data["attention_height"], (int)data["attention_width"], (int)data["first_id"], (float)data["threshold"]};
cudaError_t error = luss::upsample_argmax(OUT0, task, (const luss_label_plan*)in1_p, (const float*)in2_p, (luss_tap*)out1_p,
    (int32_t*)out0_p, (cudaStream_t)0);
CHECK(error == cudaSuccess) << "upsample_argmax: " << cudaGetErrorString(error);
"""
_POINTERS = {"float32": "(const float*)in0_p", "float16": "(const __half*)in0_p"}


def upsample_argmax(
    logits,  # (n, k, h, w) float32 or float16: jt.Var, or NumPy array
    sizes,  # (n, 2) integers: height and width of each image
    *,
    middle: tuple[int, int] | None = None,
    attention=None,  # (n, h', w') float32: jt.Var, or NumPy array
    threshold: float = 0.0,
    grid: tuple[int, int] | None = None,
    max_res: int = 0,
    first_id: int = 0,
) -> list[np.ndarray]:
    """Class of the largest bilinearly enlarged logit at each pixel (align_corners false); all in one pass, exactly, without the enlarged logits.

    Args:
        middle: (h1, w1) >= (h, w): enlarge to this size first and from there to the image's, as in progressive upsampling. The two steps
            are carried out as one, with composed weights.
        attention: Where its bilinear enlargement is below float32(threshold), the label is 0. NaN is not below.
        grid: Labels are made at this size, and looked up by nearest at the image's: index min(floor(i * float32(in / out)), in - 1).
        max_res: Where above 0, and without `grid`, images of more than max_res^2 pixels have a grid of max_res rows and
            int(max_res * W / H) columns.
        first_id: Added to the class.

    Returns: n arrays (H, W) int32, parts of one buffer. n == 0 gives [].
        Equal values give the smallest id. NaN is larger than every number, the first one wins. Logits with weight 0 in a pixel have no
        part in it, be they NaN or infinite. Values are rounded as kernels/luss/bilinear_taps.h says: labels differ from those of exact
        arithmetic only where the two largest values are within 2^-20 of their size.
    Raises: ValueError names the argument, what was expected and found: ranks, types, an empty map, a side outside 1..65536, middle < (h, w).
    Gradient: none (piecewise constant). Deterministic: the same labels on CPU and CUDA, for any number of threads.
    """
    from ..runtime import jt

    if use_reference() or not jt.flags.use_cuda:
        return upsample_argmax_host(
            on_host(logits), sizes, middle=middle, attention=on_host(attention), threshold=threshold, grid=grid, max_res=max_res, first_id=first_id
        )
    task, sizes = check_task(logits, sizes, middle, attention, threshold, grid, first_id)
    if len(sizes) == 0:
        return []
    plans, pixels, taps = make_plans(task, sizes, grid, max_res)
    inputs = [logits if isinstance(logits, jt.Var) else jt.array(logits), jt.array(plans.view(np.int32).reshape(len(plans), -1))]
    inputs.append(jt.zeros((1,), "float32") if attention is None else attention if isinstance(attention, jt.Var) else jt.array(attention))
    data = {name: float(task[name][0]) for name in (*TASK_FIELDS[4:], "threshold")}
    source = _LAUNCH.replace("OUT0", _POINTERS[str(logits.dtype)])
    outputs = jt.code([(pixels,), (taps, 4)], ["int32", "float32"], inputs, cuda_header=_HEADER, cuda_src=source, data=data)
    for output in outputs:
        output.compile_options = {f"FLAGS: -I{kernel_folder()} ": 1}
    return split_maps(outputs[0].numpy(), plans)


def upsample_argmax_host(
    logits: np.ndarray,
    sizes,
    *,
    middle: tuple[int, int] | None = None,
    attention: np.ndarray | None = None,
    threshold: float = 0.0,
    grid: tuple[int, int] | None = None,
    max_res: int = 0,
    first_id: int = 0,
    threads: int | None = None,
) -> list[np.ndarray]:
    """`upsample_argmax` on the CPU; never imports Jittor. threads: None for all cores; with 1 no thread is started.

    Beside the result it needs about 4 k (16 + 16 + 12) bytes a thread, and for float16 3 k w floats.
    """
    task, sizes = check_task(logits, sizes, middle, attention, threshold, grid, first_id)
    threads = check_threads(threads)
    if len(sizes) == 0:
        return []
    if use_reference():
        return reference(logits, sizes, attention, middle, grid, max_res, first_id, threshold)
    plans, pixels, _ = make_plans(task, sizes, grid, max_res)
    logits = np.ascontiguousarray(logits)
    out = np.empty(pixels, np.int32)
    if attention is not None:
        attention = np.ascontiguousarray(attention)
    library().luss_upsample_argmax_cpu(
        _at(logits), int(logits.dtype == np.float16), _at(task), _at(plans), _at(attention), _at(out), min(threads, len(sizes) * logits.shape[2])
    )
    return split_maps(out, plans)


def enlarge_map(x: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(h, w) float32 -> (H, W) float32, bilinear, align_corners false: the very numbers that `upsample_argmax` holds against the threshold."""
    if not isinstance(x, np.ndarray) or x.ndim != 2 or 0 in x.shape or x.dtype != np.float32:
        raise ValueError(f"x: expected a non-empty (h, w) float32, found {_kind(x)}")
    (height, width) = _check_sizes([size], 1)[0].tolist()
    if use_reference():
        return reference_map(x, (height, width))
    x, out = np.ascontiguousarray(x), np.empty((height, width), np.float32)
    library().luss_enlarge_map_cpu(_at(x), *x.shape, _at(out), height, width)
    return out


def check_task(logits, sizes, middle, attention, threshold, grid, first_id) -> tuple[np.ndarray, np.ndarray]:
    """(1,) TASK and sizes (n, 2) int32 of checked arguments."""
    if logits.ndim != 4 or 0 in tuple(logits.shape)[1:] or str(logits.dtype) not in _POINTERS:
        raise ValueError(f"logits: expected a non-empty (n, k, h, w) float32 or float16, found {_kind(logits)}")
    n, classes, height, width = logits.shape
    if max(height, width) > LONGEST_SIDE or height * width > LARGEST_AREA:
        raise ValueError(f"logits: expected sides up to {LONGEST_SIDE} and h w up to {LARGEST_AREA}, found {_kind(logits)}")
    sizes = _check_sizes(sizes, n)
    for name, pair, least in (("middle", middle, (height, width)), ("grid", grid, (1, 1))):
        if pair is not None and not (len(pair) == 2 and all(_whole(side) and low <= side <= LONGEST_SIDE for low, side in zip(least, pair))):
            raise ValueError(f"{name}: expected (rows, columns) from {least} to {LONGEST_SIDE}, found {tuple(pair)}")
    if not _whole(first_id) or not -(1 << 31) <= first_id <= (1 << 31) - classes:
        raise ValueError(f"first_id={first_id!r}: expected a whole number, so that all ids are below 2^31")
    map_size = (0, 0)
    if attention is not None:
        if attention.ndim != 3 or attention.shape[0] != n or 0 in tuple(attention.shape)[1:] or str(attention.dtype) != "float32":
            raise ValueError(f"attention: expected a non-empty ({n}, h, w) float32, found {_kind(attention)}")
        map_size = tuple(attention.shape)[1:]
    task = np.array([(n, classes, height, width, *(middle or (0, 0)), *map_size, first_id, threshold)], TASK)
    return task, sizes


def make_plans(task: np.ndarray, sizes: np.ndarray, grid, max_res: int) -> tuple[np.ndarray, int, int]:
    """(n,) PLAN, the number of all labels, and of all taps."""
    plans, totals = np.zeros(len(sizes), PLAN), np.zeros(2, np.int64)
    library().luss_plan_labels_cpu(_at(task), _at(sizes), *map(int, grid or (0, 0)), int(max_res), _at(plans), _at(totals))
    return plans, int(totals[0]), int(totals[1])


def split_maps(labels: np.ndarray, plans: np.ndarray) -> list[np.ndarray]:
    return [labels[p["out"] : p["out"] + int(p["height"]) * int(p["width"])].reshape(p["height"], p["width"]) for p in plans]


def _check_sizes(sizes, n: int) -> np.ndarray:
    sizes = np.asarray(sizes).reshape(-1, 2) if n == 0 else np.asarray(sizes)
    if sizes.shape != (n, 2) or (n and sizes.dtype.kind not in "iu"):
        raise ValueError(f"sizes: expected ({n}, 2) integers, found {_kind(sizes)}")
    if n and (sizes.min() < 1 or sizes.max() > LONGEST_SIDE):
        raise ValueError(f"sizes: expected sides from 1 to {LONGEST_SIDE}, found {sizes.min()}..{sizes.max()}")
    if n and sizes.astype(np.int64).prod(1).max() > LARGEST_AREA:
        raise ValueError(f"sizes: expected up to {LARGEST_AREA} pixels an image, found {sizes.astype(np.int64).prod(1).max()}")
    return np.ascontiguousarray(sizes, np.int32)


def _whole(value) -> bool:
    return isinstance(value, (int, np.integer))


def on_host(array):
    return array if array is None or isinstance(array, np.ndarray) else array.numpy()


def _kind(value) -> str:
    return f"{tuple(value.shape)} {value.dtype}" if hasattr(value, "shape") else type(value).__name__


def _at(array: np.ndarray | None) -> ctypes.c_void_p:
    return ctypes.c_void_p(None if array is None else array.ctypes.data)


@functools.cache
def library() -> ctypes.CDLL:
    return load_native(Path(__file__).with_suffix(".cc"), (kernel_folder(),))
