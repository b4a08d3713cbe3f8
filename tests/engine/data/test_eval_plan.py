import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.data.eval_plan import center_cuts, whole_cuts
from engine.ops.crop_table import CUT

sides = st.integers(1, 3000)


def values(record):
    return {name: int(record[name]) for name in CUT.names}


def test_hand_made_answers():
    assert values(center_cuts([500], [375], 256, 224)[0]) == {"image": 0, "height": 256, "width": 341, "top": 16, "left": 58}  # 58.5 to even
    assert values(center_cuts([375], [500], 256, 224)[0]) == {"image": 0, "height": 341, "width": 256, "top": 58, "left": 16}
    assert values(center_cuts([375], [500], 256, 224, square=True)[0]) == {"image": 0, "height": 256, "width": 256, "top": 16, "left": 16}
    assert values(whole_cuts([500], [375], 256)[0]) == {"image": 0, "height": 256, "width": 341, "top": 0, "left": 0}
    assert values(whole_cuts([500], [375], 256, square=True)[0]) == {"image": 0, "height": 256, "width": 256, "top": 0, "left": 0}
    assert values(whole_cuts([10, 1], [10, 7], 256)[1]) == {"image": 1, "height": 1792, "width": 256, "top": 0, "left": 0}


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(sides, sides), max_size=5), st.integers(1, 300), st.booleans(), st.data())
def test_the_cut_is_the_centre_of_the_resized_image(sizes, resize, square, data):
    crop = data.draw(st.integers(1, resize))
    widths, heights = [w for w, _ in sizes], [h for _, h in sizes]
    plan, whole = center_cuts(widths, heights, resize, crop, square), whole_cuts(widths, heights, resize, square)
    assert plan.dtype == CUT and plan.shape == (len(sizes),)
    assert np.array_equal(plan["image"], np.arange(len(sizes)))
    assert not whole["top"].any() and not whole["left"].any()
    for name in ("image", "height", "width"):
        assert np.array_equal(plan[name], whole[name])
    assert (np.minimum(plan["height"], plan["width"]) == resize).all()
    for start, extent in (("top", "height"), ("left", "width")):
        # centred to half a pixel, and inside
        assert (plan[start] >= 0).all() and (plan[start] + crop <= plan[extent]).all()
        assert (abs(2 * plan[start] + crop - plan[extent]) <= 1).all()
    if not square:
        for record, width, height in zip(plan, widths, heights):
            assert max(values(record)["width"], values(record)["height"]) == int(resize * max(width, height) / min(width, height))


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="side=225: expected at most the image's 224x300"):
        center_cuts([448], [600], 224, 225)
    with pytest.raises(ValueError, match="widths and heights from 0 and 5 on, expected at least 1"):
        whole_cuts([0, 4], [5, 6], 256)
    with pytest.raises(ValueError, match="found shorter=0 on, expected"):
        whole_cuts([], [], 0)
