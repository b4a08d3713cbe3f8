from __future__ import annotations

import numpy as np
import pytest

from engine.features.layout import Header
from engine.features.rows import checked_rows, image_ends
from engine.runtime.errors import LussError


def test_types_become_those_of_the_cache():
    ids, rows = checked_rows(Header("float32", 2), [3, 2**32 - 1], np.array([[1, 2], [3, 4]], np.float64))
    assert ids.dtype == np.uint32 and ids.tolist() == [3, 2**32 - 1] and rows.dtype == np.float32
    narrow = np.ones((1, 2), np.float16)
    assert checked_rows(Header("float32", 2), [0], narrow)[1] is narrow  # widened where it is stored
    assert checked_rows(Header("float32", 2), [], np.zeros((0, 2)))[0].shape == (0,)


def test_infinities_and_nan_are_the_callers_and_overflow_is_not():
    kept = checked_rows(Header("float16", 3), [1], np.array([[np.inf, np.nan, 65504.0]]))[1]
    assert np.isinf(kept[0, 0]) and np.isnan(kept[0, 1]) and kept[0, 2] == 65504
    with pytest.raises(LussError, match=r"image 9 exceed the range of float16 \(-65520\): use a wider dtype"):
        checked_rows(Header("float16", 3), [1, 9], np.array([[np.inf, 0, 0], [0, 1, -65520.0]]))
    with pytest.raises(LussError, match="range of float32"):
        checked_rows(Header("float32", 1), [0], np.array([[1e39]]))


def test_ends_of_images():
    assert image_ends(np.array([4, 4, 1, 7, 7, 7]), -1, 3).tolist() == [2, 3, 6]
    for ids, previous, longest in (([1, 2, 1], -1, 9), ([5, 6], 5, 9), ([1, 1, 1], -1, 2)):
        with pytest.raises(ValueError, match="ids: "):
            image_ends(np.array(ids), previous, longest)
