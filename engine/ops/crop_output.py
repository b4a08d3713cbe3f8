"""The result of the ops that make normalised crops of 8-bit levels: its types, its scale, its array."""

from __future__ import annotations

import numpy as np

TYPES = {"float32": 0, "float16": 1, "uint8": 2}  # numbers of cpu/level_output.h


def check_type(dtype: str, allowed: tuple[str, ...] = tuple(TYPES)) -> None:
    if dtype not in allowed:
        raise ValueError(f"dtype={dtype!r}: expected one of {', '.join(allowed)}")


def affine(mean, std) -> tuple[np.ndarray, np.ndarray]:
    """(3,) float32 scale and shift with value * scale + shift = (value / 255 - mean) / std."""
    mean, std = np.asarray(mean, np.float64), np.asarray(std, np.float64)
    if mean.shape != (3,) or std.shape != (3,) or not (np.isfinite(mean).all() and np.isfinite(std).all() and (std > 0).all()):
        raise ValueError(f"mean={mean.tolist()}, std={std.tolist()}: expected three finite numbers each, std > 0")
    return (1 / (255 * std)).astype(np.float32), (-mean / std).astype(np.float32)


def half_levels(scale: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """(3, 256) float16: what each level becomes."""
    return (np.arange(256, dtype=np.float32) * scale[:, None] + shift[:, None]).astype(np.float16)


def result_array(out: np.ndarray | None, count: int, height: int, width: int, dtype: str) -> np.ndarray:
    """`out` where it fits, or a new array: (count, 3, height, width) floats, or (count, height, width, 3) uint8."""
    shape = (count, height, width, 3) if dtype == "uint8" else (count, 3, height, width)
    if out is None:
        return np.empty(shape, dtype)
    if not isinstance(out, np.ndarray) or out.shape != shape or out.dtype != dtype or not out.flags.c_contiguous or not out.flags.writeable:
        found = f"{out.shape} {out.dtype}" if isinstance(out, np.ndarray) else type(out).__name__
        raise ValueError(f"out: expected a contiguous, writeable {shape} {dtype}, found {found}")
    return out
