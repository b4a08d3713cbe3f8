import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.data.crops import center_crop_box, correspondence_grids, resize_shorter
from tests.engine.data.crop_reference import random_resized_crop
from tests.engine.data.golden import golden

sides = st.integers(1, 700)


@pytest.mark.golden
def test_golden_boxes():
    rows = golden("06_grids")["get_params/rows"]
    ours = []
    for width, height, low, high, seed, *_ in rows:
        left, top, w, h = random_resized_crop(random.Random(int(seed)), int(width), int(height), (low / 100, high / 100))
        ours.append([width, height, low, high, seed, top, left, h, w])
    assert np.array_equal(np.array(ours), rows)


@pytest.mark.golden
@pytest.mark.parametrize("size", [7, 5])
def test_golden_grids(size):
    g = golden("06_grids")
    grid_q, grid_k = correspondence_grids(g["get_grid/rectq"], g["get_grid/rectk"], size)
    assert g.check(f"get_grid/size{size}/gridq", grid_q) and g.check(f"get_grid/size{size}/gridk", grid_k)
    assert np.array_equal(correspondence_grids(g["get_grid/rectq"][3], g["get_grid/rectk"][3], size)[0], grid_q[3])  # one at a time


def test_grid_values_worked_out_in_the_specification():
    q, k = correspondence_grids((10, 20, 100, 80, 0), (50, 40, 120, 90, 1))
    assert q.dtype == np.float32 and q.shape == (7, 7, 2)
    assert np.allclose(q[0, :, 0], np.linspace(-0.2, 1, 7)) and np.allclose(q[:, 0, 1], np.linspace(-0.5, 1, 7))
    assert np.allclose(k[3, :, 0], np.linspace(1, 0, 7), atol=1e-6) and np.allclose(k[:, 3, 1], np.linspace(-1, 1 / 3, 7), atol=1e-6)


def boxes(width=400, height=300):
    def inside(data):
        left, top, w, h, flip = data
        left, top = left % width, top % height
        return left, top, 1 + w % (width - left), 1 + h % (height - top), flip

    number = st.integers(0, 10_000)
    return st.tuples(number, number, number, number, st.integers(0, 1)).map(inside)


@settings(max_examples=200, deadline=None)
@given(boxes(), boxes())
def test_grids_show_the_same_scene_points(q, k):
    grids = correspondence_grids(q, k)
    overlap = min(q[0] + q[2], k[0] + k[2]) > max(q[0], k[0]) and min(q[1] + q[3], k[1] + k[3]) > max(q[1], k[1])
    if not overlap:
        assert (grids[0] == -2).all() and (grids[1] == -2).all()
        return
    scene = []
    for grid, (x, y, w, h, flip) in zip(grids, (q, k)):
        assert np.abs(grid).max() <= 1 + 1e-6
        share = (grid.astype(np.float64) + 1) / 2
        u = 1 - share[..., 0] if flip else share[..., 0]
        scene.append(np.stack([x + u * w, y + share[..., 1] * h], -1))
    assert np.allclose(scene[0], scene[1], atol=1e-3)
    corners = [max(q[0], k[0]), max(q[1], k[1]), min(q[0] + q[2], k[0] + k[2]), min(q[1] + q[3], k[1] + k[3])]
    assert np.allclose([*scene[0][0, 0], *scene[0][6, 6]], corners, atol=1e-3)
    assert all(np.array_equal(a, b) for a, b in zip(grids, reversed(correspondence_grids(k, q))))


@settings(max_examples=100, deadline=None)
@given(sides, sides, st.integers(1, 300))
def test_resize_shorter_truncates(width, height, side):
    w, h = resize_shorter(width, height, side)
    assert min(w, h) == side and max(w, h) == int(side * max(width, height) / min(width, height))
    assert (w >= h) == (width >= height) or w == h


def test_resize_and_centre_examples():
    assert resize_shorter(500, 375, 256) == (341, 256) and resize_shorter(375, 500, 256) == (256, 341)
    assert center_crop_box(341, 256, 224) == (58, 16, 224, 224)  # 58.5 goes to the even 58
    assert center_crop_box(343, 256, 224) == (60, 16, 224, 224)  # 59.5 to 60
    with pytest.raises(ValueError, match="side=224: expected at most the image's 200x300"):
        center_crop_box(200, 300, 224)
