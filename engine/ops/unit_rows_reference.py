"""NumPy references of engine.ops.unit_rows."""

from __future__ import annotations

import numpy as np


def unit_rows(x):
    """NumPy reference of engine.ops.unit_rows.unit_rows."""
    wide = x.astype(np.float64)
    with np.errstate(invalid="ignore"):  # infinity / infinity is NaN, as it should be
        unit = (wide / (np.sqrt(row_squares(x)) + 1e-8)[:, None]).astype(np.float32)
    return unit, row_squares(unit)


def row_squares(x):
    """NumPy reference of engine.ops.unit_rows.row_squares_host."""
    return (x.astype(np.float64) ** 2).sum(1)
