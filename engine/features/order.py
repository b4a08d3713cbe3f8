"""The order of a cache's rows: rising by image, whatever processes, shards and moments they come from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def global_order(parts: Sequence[np.ndarray], many: bool) -> tuple[np.ndarray, np.ndarray | None]:
    """Sort the rows of all shards by image.

    Args:
        parts: (rows,) uint32 images of each shard's rows, shards by process and number.
        many: adjacent rows of one shard with the same image belong together; else every row stands alone.

    Returns:
        ids: (n,) uint32, rising; of an image met again in a later place, the first place counts, the others are left out.
        order: (n,) int64 number as stored (over all shards in turn) of each row; None where that is 0..n-1.
    """
    ids = np.concatenate(parts) if parts else np.zeros(0, np.uint32)
    if len(ids) < 2 or (ids[1:] > ids[:-1]).all():
        return ids, None
    begins = np.ones(len(ids), bool)
    if many:
        begins[1:] = ids[1:] != ids[:-1]
        sizes = np.cumsum([len(part) for part in parts])
        begins[sizes[sizes < len(ids)]] = True
    starts = np.flatnonzero(begins)
    lengths = np.diff(starts, append=len(ids))
    _, first = np.unique(ids[starts], return_index=True)  # rising by image, and the first place of each
    starts, lengths = starts[first], lengths[first]
    order = np.repeat(starts - np.cumsum(lengths) + lengths, lengths) + np.arange(lengths.sum())
    if len(order) == len(ids) and (order[1:] > order[:-1]).all():
        return ids, None
    return ids[order], order
