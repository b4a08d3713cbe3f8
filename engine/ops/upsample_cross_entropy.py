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
    Gradient: to logits, of their type; it is computed along with the loss. NaN in images with a NaN or infinite logit, 0 where nothing counts.
    Deterministic, on the CPU for any number of threads. On CUDA K <= 4096.
    """
    from ..runtime import jt

    ids = check_labels(logits, labels, ignore, middle)
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


def check_labels(logits, labels, ignore: int | None, middle: tuple[int, int] | None) -> np.ndarray:
    """`labels` as contiguous int32 in NumPy, after all checks."""
    from_graph = hasattr(logits, "requires_grad")
    types = ("float32", "float16") if from_graph else ("float32",)
    if len(logits.shape) != 4 or 0 in logits.shape or str(logits.dtype) not in types:
        raise ValueError(f"logits: expected a non-empty (n, K, h, w) of {' or '.join(types)}, found {tuple(logits.shape)} {logits.dtype}")
    n, classes, h, w = logits.shape
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
    if middle is not None and (len(middle) != 2 or middle[0] < h or middle[1] < w):
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
    """Variables of loss, accuracy and, where asked for, the gradient."""
    from ..runtime import jt

    shapes, types = [(1,), (1,)], ["float32", "float32"]
    if gradient:
        shapes.append(tuple(logits.shape))
        types.append(str(logits.dtype))
    outputs = native_code(_entry(gradient), shapes, types, [logits, jt.array(ids)], _numbers(logits.shape, ids.shape, ignore, middle, None))
    outputs[1].stop_grad()
    return outputs


@functools.cache
def _function():
    from ..runtime import jt

    class UpsampleCrossEntropy(jt.Function):
        def execute(self, logits, ids, ignore, middle):
            loss, accuracy, self.gradient = _graph(logits, ids, ignore, middle, True)
            return loss, accuracy

        def grad(self, by_loss, by_accuracy):
            return None if by_loss is None else self.gradient * by_loss.cast(self.gradient.dtype), None, None, None

    return UpsampleCrossEntropy.apply


@functools.cache
def _reference_function():
    from ..runtime import jt

    class ReferenceCrossEntropy(jt.Function):
        def execute(self, logits, ids, ignore, middle):
            loss, accuracy, gradient = reference(logits.numpy(), ids, ignore, middle)
            self.gradient = jt.array(gradient.astype(str(logits.dtype)))
            return jt.array(np.float32([loss])), jt.array(np.float32([accuracy]))

        def grad(self, by_loss, by_accuracy):
            return None if by_loss is None else self.gradient * by_loss.cast(self.gradient.dtype), None, None, None

    return ReferenceCrossEntropy.apply
