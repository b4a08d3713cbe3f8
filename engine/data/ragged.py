"""Images or label maps of differing sizes in one buffer of bytes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..ops.crop_table import IMAGE

_ALIGNMENT = 64


class Ragged:
    """Arrays (h, w, channels), or (h, w) where channels is 0, of one dtype.

    Args:
        buffer: (bytes,) uint8.
        table: (n,) IMAGE: where each lies in the buffer, and its height and width.
    """

    def __init__(self, buffer: np.ndarray, table: np.ndarray, dtype, channels: int):
        self.buffer, self.table, self.dtype, self.channels = buffer, table, np.dtype(dtype), channels

    @classmethod
    def of(cls, arrays: Sequence[np.ndarray]) -> Ragged:
        """A buffer of its own with copies of the arrays."""
        first = arrays[0]
        table = np.zeros(len(arrays), IMAGE)
        end = 0
        for record, array in zip(table, arrays):
            if array.dtype != first.dtype or array.shape[2:] != first.shape[2:] or array.ndim not in (2, 3):
                raise ValueError(f"arrays: {array.shape} {array.dtype} beside {first.shape} {first.dtype}: expected one dtype and number of channels")
            record["offset"], record["height"], record["width"] = end, *array.shape[:2]
            end += -(-array.nbytes // _ALIGNMENT) * _ALIGNMENT
        made = cls(np.empty(end, np.uint8), table, first.dtype, first.shape[2] if first.ndim == 3 else 0)
        for place, array in zip(made, arrays):
            place[...] = array
        return made

    @staticmethod
    def at(offsets: Sequence[int], arrays: Sequence[np.ndarray]) -> np.ndarray:
        """Table of arrays that lie at these bytes of some buffer."""
        table = np.zeros(len(arrays), IMAGE)
        table["offset"] = offsets
        table["height"], table["width"] = zip(*(array.shape[:2] for array in arrays))
        return table

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, index: int) -> np.ndarray:
        """View of one array."""
        offset, height, width = self.table[index].tolist()
        shape = (height, width, self.channels) if self.channels else (height, width)
        count = height * width * max(1, self.channels) * self.dtype.itemsize
        return self.buffer[offset : offset + count].view(self.dtype).reshape(shape)

    def compact(self) -> Ragged:
        """A copy in a buffer of its own that holds nothing else."""
        return Ragged.of(list(self))
