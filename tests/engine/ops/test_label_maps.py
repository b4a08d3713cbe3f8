"""Nearest look-up of label maps."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.ops.label_maps import enlarge_labels
from engine.ops.upsample_argmax_reference import nearest_rows


def test_labels_are_repeated_and_left_out():
    labels = np.arange(6).reshape(2, 3)
    assert np.array_equal(enlarge_labels(labels, (4, 9)), labels.repeat(2, 0).repeat(3, 1))
    assert np.array_equal(enlarge_labels(labels, (1, 2)), [[0, 1]])


@settings(deadline=None, max_examples=100)
@given(st.integers(1, 300), st.integers(1, 600))
def test_indices_are_those_of_the_reference(source, target):
    assert np.array_equal(enlarge_labels(np.arange(source)[None], (1, target))[0], nearest_rows(source, target))
