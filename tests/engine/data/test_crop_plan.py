import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.data.counter_random import uniforms
from engine.data.crop_plan import CropGroup, plan_crops
from engine.ops.crop_table import CROP
from tests.engine.data.crop_reference import Replay, random_resized_crop

BOX = ("left", "top", "width", "height")
sides = st.integers(1, 700)


def one(group, seed=0, epoch=0, index=0, width=500, height=375):
    return plan_crops((group,), seed, epoch, [index], [width], [height])[0, 0]


def box(record):
    return tuple(record[name] for name in BOX)


@settings(max_examples=300, deadline=None)
@given(sides, sides, st.integers(-(2**63), 2**64 - 1), st.integers(0, 2**40), st.floats(0.01, 1), st.floats(0.01, 1))
def test_boxes_are_those_of_the_published_rule_on_the_same_draws(width, height, seed, index, a, b):
    scale = (min(a, b), max(a, b))
    plan = plan_crops((CropGroup(2, 8, scale),), seed, 5, [index], [width], [height])[0]
    for crop, record in enumerate(plan):
        expected = random_resized_crop(Replay(uniforms(seed, 1, 5, [index], [crop], 22)[0]), width, height, scale)
        assert box(record) == expected
        left, top, w, h = expected
        assert left >= 0 and top >= 0 and w >= 1 and h >= 1 and left + w <= width and top + h <= height


def test_fallback_is_the_centre_box_of_the_nearest_aspect():
    group = CropGroup(1, 8, (0.9, 1.0))
    assert box(one(group, width=1000, height=10)) == (493, 0, 13, 10) and box(one(group, width=10, height=1000)) == (0, 493, 10, 13)
    assert box(one(group, width=1, height=1000))[2:] == (1, 1)
    with pytest.raises(ValueError, match="widths, heights: found 0"):
        one(group, width=0)


def test_a_plan_depends_on_seed_epoch_image_and_crop_only():
    groups = (CropGroup(2, 224, (0.14, 1.0)), CropGroup(6, 96, (0.05, 0.14)))
    indices, widths, heights = np.array([7, 3, 2**33, 5]), np.array([500, 333, 90, 64]), np.array([375, 500, 91, 200])
    whole = plan_crops(groups, 11, 2, indices, widths, heights)
    assert whole.shape == (4, 8) and whole.dtype == CROP
    assert (whole["image"] == np.arange(4)[:, None]).all()
    for row in range(4):
        alone = plan_crops(groups, 11, 2, indices[row : row + 1], widths[row : row + 1], heights[row : row + 1])
        alone["image"] = row
        assert np.array_equal(alone[0], whole[row])
    seen = {whole[0].tobytes()}
    for seed, epoch, index in [(12, 2, 7), (11, 3, 7), (11, 2, 8)]:
        seen.add(plan_crops(groups, seed, epoch, [index], widths[:1], heights[:1])[0].tobytes())
    assert len(seen) == 4 and len({record.tobytes() for record in whole[0]}) == 8


@pytest.fixture(scope="module")
def many():
    return plan_crops((CropGroup(1, 224, (0.05, 0.14)),), 3, 0, np.arange(20000), np.full(20000, 1000), np.full(20000, 1000))[:, 0]


def uniform_distance(share):
    share = np.sort(share)
    return np.abs(share - np.linspace(0, 1, len(share))).max()


def test_distribution_of_boxes(many):
    """Area uniform in the scale, log aspect uniform, position uniform over what is left."""
    area = (many["width"] * many["height"] / 1e6 - 0.05) / 0.09
    aspect = (np.log(many["width"] / many["height"]) - math.log(3 / 4)) / (math.log(4 / 3) - math.log(3 / 4))
    free = {"left": many["left"] / (1000 - many["width"]), "top": many["top"] / (1000 - many["height"])}
    for name, share in {"area": area, "aspect": aspect, **free}.items():
        assert uniform_distance(share) < 0.0155, name  # Kolmogorov-Smirnov; 0.01 % level at 20000
    assert abs(np.corrcoef(area, aspect)[0, 1]) < 0.03


def test_distribution_of_colour_changes(many):
    """Probabilities within four standard errors; factors uniform in their ranges; all 24 orders equally likely."""
    jittered = many["order"] >= 0
    for name, share, p in [
        ("jitter", jittered, 0.8),
        ("grey", many["grey"], 0.2),
        ("blur", many["blur"] > 0, 0.5),
        ("flip", many["flip"], 0.5),
    ]:
        assert abs(share.mean() - p) < 4 * math.sqrt(p * (1 - p) / len(many)), name
    for name in ("brightness", "contrast", "saturation"):
        assert uniform_distance((many[name][jittered] - 0.2) / 1.6) < 0.0175 and (many[name][~jittered] == 1).all()
    assert uniform_distance((many["hue"][jittered] + 0.2) / 0.4) < 0.0175 and (many["hue"][~jittered] == 0).all()
    blurred = many["blur"] > 0
    assert uniform_distance((many["blur"][blurred] - 0.1) / 1.9) < 0.0225
    counts = np.bincount(many["order"][jittered], minlength=24)
    expected = jittered.sum() / 24
    assert len(counts) == 24 and ((counts - expected) ** 2 / expected).sum() < 53  # chi-square of 23 degrees: 0.04 % above
    switches = np.stack([jittered, many["grey"], blurred, many["flip"]]).astype(float)
    assert np.abs(np.corrcoef(switches) - np.eye(4)).max() < 0.03


def test_strengths_of_zero_change_nothing():
    plan = plan_crops((CropGroup(4, 8, (0.5, 1.0), jitter=0, grey=0, blur=0),), 0, 0, np.arange(50), np.full(50, 60), np.full(50, 40))
    assert (plan["order"] == -1).all() and not plan["grey"].any() and not plan["blur"].any() and (plan["contrast"] == 1).all()
    strong = plan_crops((CropGroup(4, 8, (0.5, 1.0), jitter=1.5),), 0, 0, np.arange(500), np.full(500, 60), np.full(500, 40))
    assert 0 <= strong["brightness"].min() < 0.05 and strong["brightness"].max() < 2.5


def test_groups_are_checked():
    for changes in ({"count": 0}, {"size": 0}, {"scale": (0.5, 0.4)}, {"scale": (0, 1)}, {"scale": (0.5, 1.1)}, {"ratio": (2, 1)}):
        with pytest.raises(ValueError, match="expected count and size"):
            CropGroup(**{"count": 1, "size": 8, "scale": (0.1, 1.0), **changes})
    with pytest.raises(ValueError, match="expected jitter in"):
        CropGroup(1, 8, (0.1, 1.0), grey=1.5)


def test_what_a_seed_means_is_pinned():
    record = one(CropGroup(2, 224, (0.14, 1.0)), seed=10010, epoch=3, index=42)
    assert (tuple(map(int, box(record))), int(record["order"]), int(record["flip"]), int(record["grey"])) == ((91, 108, 327, 252), -1, 1, 0)
