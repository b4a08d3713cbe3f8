"""In which order an epoch visits the images: a function of (seed, epoch), the same on every process."""

from __future__ import annotations

import numpy as np

_ORDER_KEY = 0x6C7573735F6F7264  # second half of the Philox key; differs from that of the crops
_WORD = (1 << 64) - 1


def epoch_order(length: int, seed: int, epoch: int, shuffle: bool, rank: int = 0, world_size: int = 1) -> np.ndarray:
    """Indices one process visits in one epoch.

    The permutation of 0..length-1 (or the plain order) is padded with its own beginning to a multiple of `world_size`;
    process `rank` takes every world_size-th from `rank` on.

    Returns:
        (ceil(length / world_size),) int64.
    """
    if shuffle:
        key = np.array([seed & _WORD, _ORDER_KEY], np.uint64)
        order = np.random.Generator(np.random.Philox(key=key, counter=np.array([0, 0, 0, epoch], np.uint64))).permutation(length)
    else:
        order = np.arange(length)
    share = -(-length // world_size)
    return np.resize(order, share * world_size)[rank::world_size].astype(np.int64)
