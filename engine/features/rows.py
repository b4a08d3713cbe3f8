"""What a caller may append: checks of ids and rows, and where images end in them."""

from __future__ import annotations

import numpy as np

from ..runtime.errors import LussError
from .layout import IDS_LIMIT, Header


def checked_rows(header: Header, ids, rows) -> tuple[np.ndarray, np.ndarray]:
    """(n,) uint32 and (n, dim) floating-point of at most the cache's width.

    Raises:
        ValueError: other shapes, types or ids.
        LussError: a finite value does not fit into float16.
    """
    ids, rows = np.asarray(ids), np.asarray(rows)
    if rows.ndim != 2 or rows.shape[1] != header.dim or ids.shape != rows.shape[:1] or rows.dtype.kind != "f":
        raise ValueError(f"ids, rows: expected (n,) and (n, {header.dim}) floating-point, found {ids.shape} and {rows.shape} {rows.dtype}")
    if len(ids) and (ids.dtype.kind not in "iu" or ids.min() < 0 or ids.max() >= IDS_LIMIT):
        raise ValueError(f"ids: expected integers from 0 to {IDS_LIMIT - 1}, found {ids.dtype} from {ids.min()} to {ids.max()}")
    if rows.dtype.itemsize > header.value_type.itemsize:
        with np.errstate(over="ignore"):  # it is looked for below
            narrow = rows.astype(header.value_type)
        lost = np.isinf(narrow) & np.isfinite(rows)
        if lost.any():
            row, column = np.unravel_index(np.argmax(lost), lost.shape)
            raise LussError(f"features of image {int(ids[row])} exceed the range of {header.dtype} ({rows[row, column]:g}): use a wider dtype")
        rows = narrow
    return ids.astype(np.uint32), rows


def image_ends(ids: np.ndarray, previous: int, longest: int) -> np.ndarray:
    """The row after the last one of each image of a call.

    Args:
        ids: (n,), n > 0, image of each row.
        previous: last image of the call before, -1 for none.
        longest: most rows an image may have.

    Raises:
        ValueError: an image is split up, or has more rows.
    """
    ends = np.append(np.flatnonzero(ids[1:] != ids[:-1]) + 1, len(ids))
    images = ids[ends - 1]
    if len(np.unique(images)) != len(images) or images[0] == previous:
        raise ValueError("ids: rows of one image must be adjacent and come in one call")
    found = int(np.diff(ends, prepend=0).max())
    if found > longest:
        raise ValueError(f"ids: an image has {found} rows, a shard holds {longest}: raise shard_bytes")
    return ends
