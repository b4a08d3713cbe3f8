"""NumPy reference of engine.ops.project_rows."""

from __future__ import annotations

import numpy as np


def project_rows(x, mean, basis):
    """NumPy reference of engine.ops.project_rows.project_rows."""
    return ((x.astype(np.float64) - mean) @ basis.astype(np.float64)).astype(np.float32)
