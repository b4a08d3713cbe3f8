"""The words of C++'s std::mt19937, which faiss draws from (Matsumoto & Nishimura 1998)."""

from __future__ import annotations

import numpy as np


class Mersenne:
    """std::mt19937(seed): of the seed, which may be negative, the lowest 32 bits count, as where C++ converts it to unsigned int."""

    def __init__(self, seed: int) -> None:
        self._state = np.random.RandomState(seed & 0xFFFFFFFF)

    def words(self, count: int) -> np.ndarray:
        """The next `count` words, (count,) uint32."""
        return np.frombuffer(self._state.bytes(4 * count), "<u4")
