"""The loss of fine-tuning, on arrays of PyTorch and CuPy."""

from __future__ import annotations

import ctypes

import numpy as np

from .frameworks import Place
from .library import FLOATS, call, scratch_bytes


def upsample_cross_entropy(
    logits,  # (n, K, h, w) float32 or float16 on the GPU
    labels,  # (n, H, W) int32 on the GPU, in 0..K - 1 or `ignore`
    ignore: int | None = None,
    middle: tuple[int, int] | None = None,
    *,
    gradient: bool = True,
    checked: bool = True,
):
    """engine.ops.upsample_cross_entropy: mean cross-entropy and accuracy of bilinearly enlarged logits, which are never stored.

    gradient: whether to compute it. checked: False: labels are not looked through, for which the GPU is waited for; wrong ones read foreign memory.

    Returns: loss (1,) float32, accuracy (1,) float32, gradient (n, K, h, w) float32 of the loss by the logits, or None.
    """
    place = Place("logits", logits)
    source = place.array("logits", logits, ("n", "K", "h", "w"), *FLOATS)
    n, classes, h, w = source.shape
    ids = place.array("labels", labels, (n, "H", "W"), "int32")
    sizes = (h, w, *(middle or (0, 0)), *ids.shape[1:])
    room = ctypes.c_size_t()
    call("luss_upsample_cross_entropy_plan", *sizes, None, ctypes.addressof(room))
    tables = np.empty(room.value, np.uint8)
    call("luss_upsample_cross_entropy_plan", *sizes, tables.ctypes.data, ctypes.addressof(room))
    if checked:
        wrong = place.framework.outside(labels, 0, classes - 1, ignore)
        if wrong:
            other = "" if ignore is None else f" or {ignore}"
            raise ValueError(f"labels: expected ids in 0..{classes - 1}{other}, found {wrong} others")
    loss, at_loss = place.empty((1,), "float32")
    accuracy, at_accuracy = place.empty((1,), "float32")
    by_logits, at_gradient = place.empty((n, classes, h, w), "float32") if gradient else (None, None)
    room = scratch_bytes("upsample_cross_entropy", n, classes, *sizes, int(gradient))
    call("luss_upsample_cross_entropy", source.pointer, FLOATS[source.dtype.name], ids.pointer, n, classes, *sizes, place.upload(tables),
         int(ignore is not None), ignore or 0, at_loss, at_accuracy, at_gradient, place.scratch(room), room, place.stream)  # fmt: skip
    return loss, accuracy, by_logits
