"""NumPy reference of engine.ops.vote_masks."""

from __future__ import annotations

import numpy as np


def vote_masks(label_map, masks, *, on="current", min_area=0, min_share=0.0, ignore_background=False):
    """NumPy reference of engine.ops.vote_masks.vote_masks_host for one image; masks is (M, H, W) bool, votes are (M, 4) int32."""
    out = label_map.copy()
    votes = np.zeros((len(masks), 4), np.int32)
    for mask, vote in zip(masks, votes):
        histogram = np.bincount((label_map if on == "original" else out)[mask], minlength=1)
        if ignore_background:
            histogram[0] = 0
        area, label = np.count_nonzero(mask), histogram.argmax()
        count = histogram[label]
        if count == 0 or area < min_area:
            vote[:] = -1, 0, area, 0
            continue
        vote[:] = label, count, area, count >= min_share * area
        if vote[3]:
            out[mask] = label
    return out, votes
