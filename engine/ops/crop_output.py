"""The result of the ops that make normalised crops of 8-bit levels: its types, its scale, its array."""

from __future__ import annotations

import functools

import numpy as np

MEAN = (0.485, 0.456, 0.406)  # of ImageNet's channels, on a scale of 0 to 1
STD = (0.229, 0.224, 0.225)
STD_PUBLISHED = (0.228, 0.224, 0.225)  # the first value is a slip of the published stages 1 and 2.1
TYPES = {"float32": 0, "float16": 1, "uint8": 2}  # numbers of cpu/level_output.h


def check_type(dtype: str, allowed: tuple[str, ...] = tuple(TYPES)) -> None:
    if dtype not in allowed:
        raise ValueError(f"dtype={dtype!r}: expected one of {', '.join(allowed)}")


@functools.lru_cache(maxsize=16)
def affine(mean: tuple[float, ...], std: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What a level 0..255 becomes: (level / 255 - mean) / std.

    Returns: (3,) float32 scale and shift with level * scale + shift; (3, 256) float16 of that for every level.
    """
    if len(mean) != 3 or len(std) != 3 or not (np.isfinite(mean).all() and np.isfinite(std).all() and min(std) > 0):
        raise ValueError(f"mean={mean}, std={std}: expected three finite numbers each, std > 0")
    scale, shift = (1 / (255 * np.array(std))).astype(np.float32), (-np.array(mean) / np.array(std)).astype(np.float32)
    return scale, shift, (np.arange(256, dtype=np.float32) * scale[:, None] + shift[:, None]).astype(np.float16)


def words(records: np.ndarray) -> np.ndarray:
    """Records as rows of int32, bits unchanged: Jittor has no records and no 64-bit integers."""
    return np.ascontiguousarray(records).view(np.int32).reshape(len(records), records.dtype.itemsize // 4)


def result_array(out: np.ndarray | None, count: int, height: int, width: int, dtype: str) -> np.ndarray:
    """`out` where it fits, or a new array: (count, 3, height, width) floats, or (count, height, width, 3) uint8."""
    shape = (count, height, width, 3) if dtype == "uint8" else (count, 3, height, width)
    if out is None:
        return np.empty(shape, dtype)
    if not isinstance(out, np.ndarray) or out.shape != shape or out.dtype != dtype or not out.flags.c_contiguous or not out.flags.writeable:
        found = f"{out.shape} {out.dtype}" if isinstance(out, np.ndarray) else type(out).__name__
        raise ValueError(f"out: expected a contiguous, writeable {shape} {dtype}, found {found}")
    return out
