"""Cross-entropy and accuracy of bilinearly enlarged logits, which are never stored (spec/pass.md 7, spec/sampass.md 1.3)."""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path

import numpy as np

from ..runtime.native import load_native
from .backend import use_reference
from .crop_checks import check_threads
from .kernel_folder import kernel_folder
from .native_call import native_code
from .upsample_cross_entropy_reference import upsample_cross_entropy as reference

# luss_run of luss/upsample_axis.h
RUN = np.dtype([("tap", "<i4"), ("pixels", "<i4"), ("first", "<i4"), ("copies", "<i4"), ("start", "<f4", 3), ("step", "<f4", 3)])
_HEADER = '#include "luss/upsample_cross_entropy.cuh"'
_POINTERS = {"float32": "(const float*)in0_p", "float16": "(const __half*)in0_p"}
# in0 logits, in1 labels, in2 and in3 runs and windows of rows, in4 and in5 of columns; out2 scratch, out3 gradient. Stream 0 is Jittor's.
_LAUNCH = """
luss::entropy_sizes sizes = {(int)in0_shape0, (int)in0_shape1, (int)in0_shape2, (int)in0_shape3, (int)in1_shape1, (int)in1_shape2,
    (int)in3_shape0 - 1, (int)in5_shape0 - 1, data["has_ignore"] != 0, (int)data["ignore"]};
cudaError_t error = luss::upsample_cross_entropy(OUT0, (const int32_t*)in1_p, sizes, (const luss_run*)in2_p, (const int32_t*)in3_p,
    (const luss_run*)in4_p, (const int32_t*)in5_p, data["two_steps"] != 0, (float*)out0_p, (float*)out1_p, (float*)out3_p, (void*)out2_p,
    (cudaStream_t)0);
CHECK(error == cudaSuccess) << "upsample_cross_entropy: " << cudaGetErrorString(error);
"""


def upsample_cross_entropy(
    logits,  # jt.Var (n, K, h, w) float32; on CUDA also float16
    labels,  # (n, H, W) integers in 0..K - 1 or `ignore`: NumPy array, or jt.Var, which is carried out to be checked
    ignore: int | None = None,
    middle: tuple[int, int] | None = None,
):
    """Mean of -log softmax(enlarged logits)[label] over the pixels that count, and how often the label's logit is the largest.

    Args:
        ignore: the label of pixels that do not count.
        middle: size of an enlargement before the one to (H, W), at least (h, w): two bilinear steps. None: one step.

    Returns:
        loss: (1,) float32. NaN where an image with a pixel that counts holds a NaN or infinite logit. 0 where no pixel counts.
        accuracy: (1,) float32 in 0..1, without gradient. Equal logits of label and another class count as right; pixels of an image with a NaN
            or infinite logit as wrong.
    Raises: ValueError names the argument: rank, type, empty axis, a label that is neither a class nor `ignore`.
    Gradient: to logits, of their type; it is computed along with the loss, so the backward pass only scales it. NaN in images with a NaN or
    infinite logit, 0 where nothing counts. Deterministic, on the CPU for any number of threads.
    Memory: four times the logits on the CPU, five on CUDA (ten with `middle`), for a short while; the enlarged logits are never stored.
    """
    from ..runtime import jt

    ids = check_labels(logits, labels, ignore, middle, ("float32", "float16") if jt.flags.use_cuda else ("float32",))
    if use_reference():
        return _reference_function()(logits, ids, ignore, middle)
    if logits.requires_grad and not jt.flags.no_grad:
        return _function()(logits, ids, ignore, middle)
    return _graph(logits, ids, ignore, middle, False)


def upsample_cross_entropy_host(
    logits: np.ndarray,
    labels: np.ndarray,
    ignore: int | None = None,
    middle: tuple[int, int] | None = None,
    *,
    gradient: bool = True,
    threads: int | None = None,
) -> tuple[np.float32, np.float32, np.ndarray | None]:
    """Loss, accuracy and gradient by the logits (None unless asked for) on the CPU, of NumPy arrays; never imports Jittor.

    threads: None for all cores this process may use; the result does not depend on it.
    """
    ids = check_labels(logits, labels, ignore, middle)
    if use_reference():
        loss, accuracy, by_logits = reference(logits, ids, ignore, middle)
        return np.float32(loss), np.float32(accuracy), by_logits.astype(np.float32) if gradient else None
    logits = np.ascontiguousarray(logits)
    figures, by_logits = np.empty((2, 1), np.float32), np.empty_like(logits) if gradient else None
    arrays = [logits, ids, figures[0], figures[1]] + ([by_logits] if gradient else [])
    numbers = (ctypes.c_double * 11)(*_numbers(logits.shape, ids.shape, ignore, middle, threads))
    if _entry(gradient)(*(ctypes.c_void_p(array.ctypes.data) for array in arrays), numbers) != 0:
        raise MemoryError(f"upsample_cross_entropy: no memory for three times the logits {logits.shape}")
    return figures[0, 0], figures[1, 0], by_logits


def check_labels(logits, labels, ignore: int | None, middle: tuple[int, int] | None, types: tuple[str, ...] = ("float32",)) -> np.ndarray:
    """`labels` as contiguous int32 in NumPy, after all checks; types: those that `logits` may have."""
    if len(logits.shape) != 4 or 0 in logits.shape or str(logits.dtype) not in types:
        raise ValueError(f"logits: expected a non-empty (n, K, h, w) of {' or '.join(types)}, found {tuple(logits.shape)} {logits.dtype}")
    n, classes, h, w = logits.shape
    if ignore is not None and not (isinstance(ignore, (int, np.integer)) and -(1 << 31) <= ignore < 1 << 31):
        raise ValueError(f"ignore={ignore!r}: expected a whole number of 32 bits, or None")
    ids = np.asarray(labels)
    if ids.ndim != 3 or ids.shape[0] != n or 0 in ids.shape or ids.dtype.kind not in "iu":
        raise ValueError(f"labels: expected non-empty ({n}, H, W) integers, found {ids.shape} {ids.dtype}")
    if ids.min() < 0 or ids.max() >= classes:
        bad = (ids < 0) | (ids >= classes)
        if ignore is not None:
            bad &= ids != ignore
        if bad.any():
            other = "" if ignore is None else f" or {ignore}"
            raise ValueError(f"labels: expected ids in 0..{classes - 1}{other}, found {ids[bad].min()}..{ids[bad].max()}")
    whole = middle is None or all(isinstance(side, (int, np.integer)) for side in middle)
    if middle is not None and (len(middle) != 2 or not whole or middle[0] < h or middle[1] < w):
        raise ValueError(f"middle: expected a size of at least {(h, w)}, the logits', found {tuple(middle)}")
    return np.ascontiguousarray(ids, np.int32)


def _numbers(shape, size, ignore, middle, threads) -> list[float]:
    return [*shape, *(middle or (0, 0)), *size[1:], ignore is not None, ignore or 0, check_threads(threads)]


def _entry(gradient: bool):
    return _library().luss_upsample_cross_entropy if gradient else _library().luss_upsample_cross_entropy_forward


@functools.cache
def _library() -> ctypes.CDLL:
    return load_native(Path(__file__).with_suffix(".cc"), (kernel_folder(),))


def _graph(logits, ids: np.ndarray, ignore, middle, gradient: bool) -> list:
    """Variables of loss, accuracy and, where asked for, the gradient, float32."""
    from ..runtime import jt

    if jt.flags.use_cuda:
        outputs = _launch(logits, ids, ignore, middle, gradient)
    else:
        shapes = [(1,), (1,), tuple(logits.shape)][: 3 if gradient else 2]
        numbers = _numbers(logits.shape, ids.shape, ignore, middle, None)
        outputs = native_code(_entry(gradient), shapes, ["float32"] * len(shapes), [logits, jt.array(ids)], numbers)
    outputs[1].stop_grad()
    return outputs


def _launch(logits, ids: np.ndarray, ignore, middle, gradient: bool) -> list:
    from ..runtime import jt

    n, classes, h, w = logits.shape
    tables = [axis_table(source, step, target) for source, step, target in zip((h, w), middle or (0, 0), ids.shape[1:])]
    scratch = _library().luss_upsample_cross_entropy_scratch
    scratch.restype = ctypes.c_int64
    room = scratch(n, classes, *(len(windows) - 1 for _, windows in tables), middle is not None, gradient)
    shapes, types = [(1,), (1,), (room,)], ["float32", "float32", "uint8"]
    if gradient:
        shapes.append((n, classes, h, w))
        types.append("float32")
    inputs = [logits, *map(jt.array, (ids, *(array for table in tables for array in table)))]
    data = {"has_ignore": float(ignore is not None), "ignore": float(ignore or 0), "two_steps": float(middle is not None)}
    source = _LAUNCH.replace("OUT0", _POINTERS[str(logits.dtype)])
    source = source if gradient else source.replace("(float*)out3_p", "nullptr")
    outputs = jt.code(shapes, types, inputs, cuda_header=_HEADER, cuda_src=source, data=data)
    for output in outputs:
        output.compile_options = {f"FLAGS: -I{kernel_folder()} ": 1}
    return [output for i, output in enumerate(outputs) if i != 2]


@functools.lru_cache(maxsize=64)
def axis_table(source: int, middle: int, target: int) -> tuple[np.ndarray, np.ndarray]:
    """(runs, 10) int32, records of RUN, and (windows + 1,) int32, the first run of each window (luss/upsample_axis.h); middle 0: one step."""
    runs, windows = np.zeros(target, RUN), np.zeros(target + 1, np.int32)
    count = _library().luss_upsample_axis(source, middle, target, ctypes.c_void_p(runs.ctypes.data), ctypes.c_void_p(windows.ctypes.data))
    windows = windows[: count + 1].copy()
    return runs[: windows[-1]].copy().view(np.int32).reshape(-1, RUN.itemsize // 4), windows


def _times(gradient, by_loss, dtype: str):
    """In float32 before the type of the logits: a mean's gradient alone may be too small for float16, and a loss scale comes with by_loss."""
    return None if by_loss is None else (gradient * by_loss).cast(dtype)


@functools.cache
def _function():
    from ..runtime import jt

    class UpsampleCrossEntropy(jt.Function):
        def execute(self, logits, ids, ignore, middle):
            self.dtype = str(logits.dtype)
            loss, accuracy, self.gradient = _graph(logits, ids, ignore, middle, True)
            return loss, accuracy

        def grad(self, by_loss, by_accuracy):
            return _times(self.gradient, by_loss, self.dtype), None, None, None

    return UpsampleCrossEntropy.apply


@functools.cache
def _reference_function():
    from ..runtime import jt

    class ReferenceCrossEntropy(jt.Function):
        def execute(self, logits, ids, ignore, middle):
            loss, accuracy, gradient = reference(logits.numpy(), ids, ignore, middle)
            self.dtype, self.gradient = str(logits.dtype), jt.array(gradient.astype(np.float32))
            return jt.array(np.float32([loss])), jt.array(np.float32([accuracy]))

        def grad(self, by_loss, by_accuracy):
            return _times(self.gradient, by_loss, self.dtype), None, None, None

    return ReferenceCrossEntropy.apply
