"""NumPy reference of engine.ops.masks: each form of one mask from its pixels, and back."""

from __future__ import annotations

import numpy as np


def runs_of(mask: np.ndarray) -> np.ndarray:
    """(H, W) bool -> (R, 2) starts and stops of its set pixels, row by row."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask.ravel(), [False]]).astype(np.int8)))
    return edges.reshape(-1, 2)


def packed(mask: np.ndarray) -> np.ndarray:
    """(H, W) bool -> (ceil(H W / 32),) uint32, the first pixel in the lowest bit."""
    bits = np.zeros((mask.size + 31) // 32 * 32, np.uint32)
    bits[: mask.size] = mask.ravel()
    return (bits.reshape(-1, 32) << np.arange(32, dtype=np.uint32)).sum(1, dtype=np.uint32)


def counts_of(mask: np.ndarray) -> list[int]:
    """(H, W) bool -> COCO's counts: lengths of runs, column by column, unset ones first."""
    pixels = mask.ravel(order="F")
    if not len(pixels):
        return [0]
    changes = np.flatnonzero(pixels[1:] != pixels[:-1]) + 1
    counts = np.diff([0, *changes, len(pixels)]).tolist()
    return [0, *counts] if pixels[0] else counts


def mask_of(counts: list[int], shape: tuple[int, int]) -> np.ndarray:
    """COCO's counts -> (H, W) bool."""
    return np.repeat(np.arange(len(counts)) % 2 == 1, counts).reshape(shape, order="F")


def string_of(counts: list[int]) -> bytes:
    """COCO's compressed counts: differences to the count two before, 5 bits a character, lowest first, bit 5 where more follow, plus 48."""
    out = bytearray()
    for i, count in enumerate(counts):
        value = count - counts[i - 2] if i > 2 else count
        while True:
            group, value = value & 31, value >> 5
            last = value == (-1 if group & 16 else 0)
            out.append((group if last else group | 32) + 48)
            if last:
                break
    return bytes(out)
