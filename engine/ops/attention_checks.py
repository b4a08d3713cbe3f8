"""What attention_pool and attention_head share: checks, for NumPy arrays and Jittor's Vars alike, and the call of their CPU path."""

from __future__ import annotations

import ctypes

import numpy as np


def check_map(features, name: str) -> tuple[int, int, int, int]:
    """(n, c, h, w) of a float32 map whose planes are not empty."""
    shape = tuple(int(side) for side in features.shape)
    if len(shape) != 4 or str(features.dtype) != "float32" or 0 in shape[2:] or max(shape[2:]) > 4096:
        raise ValueError(f"{name}: expected (n, c, h, w) float32 with h and w from 1 to 4096, found {shape} {features.dtype}")
    return shape


def check_float32(value, shape: tuple[int, ...], name: str) -> None:
    found = tuple(int(side) for side in value.shape)
    if found != tuple(shape) or str(value.dtype) != "float32":
        raise ValueError(f"{name}: expected {tuple(shape)} float32, found {found} {value.dtype}")


def call_native(function, arrays: list[np.ndarray | None], numbers: list[int]) -> None:
    """A function of our libraries as `native_code` calls it, on NumPy arrays; None is a null pointer. MemoryError where it says so."""
    settings = np.array(numbers, np.float64)
    if function(*(ctypes.c_void_p(None if array is None else array.ctypes.data) for array in (*arrays, settings))):
        raise MemoryError(f"{function.__name__}: no memory for its scratch")
