"""Maps at image size against the references, exact away from ties."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.ops import label_maps
from engine.ops.label_maps_reference import upsample_argmax as reference
from engine.ops.upsample_reference import upsample_bilinear


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 6), st.integers(1, 5), st.integers(1, 5), st.integers(1, 70), st.integers(1, 20), st.integers(0, 10**6))
def test_upsample_argmax_equals_the_reference_away_from_ties(k, h, w, height, width, seed):
    logits = np.random.default_rng(seed).standard_normal((k, h, w)).astype(np.float32)
    full = np.sort(upsample_bilinear(logits[None], (height, width))[0], axis=0)
    clear = full[-1] - full[-2] > 1e-5 if k > 1 else np.ones((height, width), bool)
    found = label_maps.upsample_argmax(logits, (height, width))
    assert found.shape == (height, width) and (found[clear] == reference(logits, (height, width))[clear]).all()


def test_equal_logits_give_the_smallest_id():
    assert (label_maps.upsample_argmax(np.ones((4, 2, 3), np.float32), (9, 11)) == 0).all()


def test_empty_logits_are_refused():
    with pytest.raises(ValueError, match="logits"):
        label_maps.upsample_argmax(np.zeros((0, 2, 2), np.float32), (4, 4))


def test_a_large_image_is_predicted_at_max_res_rows():
    logits = np.random.default_rng(1).standard_normal((3, 2, 2)).astype(np.float32)
    small = label_maps.upsample_argmax(logits, (10, 20))
    assert (label_maps.upsample_argmax_limited(logits, (20, 40), 10) == small.repeat(2, 0).repeat(2, 1)).all()
    assert (label_maps.upsample_argmax_limited(logits, (20, 40), 0) == label_maps.upsample_argmax(logits, (20, 40))).all()


def test_enlarge_map_equals_the_reference():
    x = np.random.default_rng(2).random((3, 5)).astype(np.float32)
    # two products of at most 5 float32 terms of values below one
    np.testing.assert_allclose(label_maps.enlarge_map(x, (17, 8)), upsample_bilinear(x[None, None], (17, 8))[0, 0], atol=1e-6)
