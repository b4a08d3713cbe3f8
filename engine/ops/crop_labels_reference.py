"""NumPy reference of engine.ops.crop_labels."""

from __future__ import annotations

import numpy as np


def crop_labels(maps, records, numbers, rows, columns):
    """NumPy reference of engine.ops.crop_labels.crop_labels."""
    out = np.zeros((*rows.shape, columns.shape[1]), np.int32)
    for crop, number in enumerate(numbers.tolist()):
        offset, height, width = records[number].tolist()
        label = maps[offset : offset + 2 * height * width].view(np.uint16).reshape(height, width)
        out[crop] = label[rows[crop][:, None], columns[crop]]
    return out
