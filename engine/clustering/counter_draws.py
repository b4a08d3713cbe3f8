"""Uniform numbers that belong to a row: which block, thread or process asks for them does not show (NumPy's Philox4x64, one word a row)."""

from __future__ import annotations

import numpy as np

_KEY = 0x6C7573735F6B6D00  # second half of the Philox key, plus the use; differs from those of crops and of orders
_WORD = (1 << 64) - 1
_WORDS_A_COUNT = 4
RACE, PICK, RECLUSTER, BATCH = range(4)  # the uses that keep their numbers apart


def words(seed: int, use: int, restart: int, step: int, first: int, count: int) -> np.ndarray:
    """(count,) uint64 words of rows first, first + 1, ... in one step of one restart. The seed's lowest 64 bits count."""
    skipped = first % _WORDS_A_COUNT
    counter = np.array([first // _WORDS_A_COUNT, restart, step, 0], np.uint64)
    source = np.random.Philox(key=np.array([seed & _WORD, _KEY + use], np.uint64), counter=counter)
    return source.random_raw(skipped + count)[skipped:]


def uniforms(seed: int, use: int, restart: int, step: int, first: int, count: int) -> np.ndarray:
    """(count,) float64 in the open interval (0, 1), odd multiples of 2^-53, from `words`."""
    return ((words(seed, use, restart, step, first, count) >> np.uint64(12)) + 0.5) * 2.0**-52
