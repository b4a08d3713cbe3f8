import numpy as np
import pytest

from engine.data.ragged import Ragged


def test_arrays_of_differing_sizes_come_back():
    for arrays in (
        [np.arange(h * w * 3, dtype=np.uint8).reshape(h, w, 3) for h, w in ((2, 5), (1, 1), (7, 3))],
        [np.arange(h * w, dtype=np.uint16).reshape(h, w) + 300 for h, w in ((4, 4), (1, 9))],
    ):
        made = Ragged.of(arrays)
        assert len(made) == len(arrays) and all(np.array_equal(a, b) and a.dtype == b.dtype for a, b in zip(made, arrays))
        assert (made.table["offset"] % 64 == 0).all() and np.shares_memory(made[0], made.buffer)
        copy = made.compact()
        made.buffer[:] = 0
        assert all(np.array_equal(a, b) for a, b in zip(copy, arrays))


def test_one_kind_at_a_time():
    with pytest.raises(ValueError, match="one dtype and number of channels"):
        Ragged.of([np.zeros((2, 2, 3), np.uint8), np.zeros((2, 2), np.uint8)])
