import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from engine.data.decode import decode_image, decode_rgb
from engine.data.label_crops import label_indices, nearest_source
from tests.engine.data.crop_reference import random_resized_crop
from tests.engine.data.golden import golden
from tests.shared_folder import shared_path


def cut(label, image_size, box, flip, size):
    rows, columns = label_indices((label.shape[1], label.shape[0]), image_size, box, flip, size)
    assert rows.dtype == columns.dtype == np.int32
    return label[rows[:, None], columns]


@pytest.mark.golden
def test_golden_labels():
    g = golden("10_label_augmentation")
    folder = shared_path("golden", "pass", "images")
    image, coded = decode_image(str(folder / "aug_img.png")), decode_rgb(str(folder / "aug_label.png")).astype(np.int32)
    label = coded[..., 0] + 256 * coded[..., 1]
    rows, columns = nearest_source(label.shape[0], image.height), nearest_source(label.shape[1], image.width)
    assert g.check("label_resized", label[rows[:, None], columns])
    for case in range(4):
        top, left, h, w, flip = g[f"{case}/box_flip"].tolist()
        assert g.check(f"{case}/label", cut(label, image.size, (left, top, w, h), bool(flip), 40))


def test_labels_of_another_size_are_resized_by_the_floor_rule_first():
    assert nearest_source(3, 5).tolist() == [0, 0, 1, 1, 2]
    assert nearest_source(5, 3).tolist() == [0, 1, 3]
    assert nearest_source(7, 7).tolist() == list(range(7))
    label = np.arange(6, dtype=np.int32).reshape(2, 3)
    full = label[[[0], [0], [1], [1]], [0, 0, 1, 1, 2]]  # 2 x 3 -> 4 x 5
    for flip in (False, True):
        for box in ((0, 0, 5, 4), (1, 1, 3, 2), (2, 0, 1, 4)):
            assert np.array_equal(cut(label, (5, 4), box, flip, 6), cut(full, (5, 4), box, flip, 6))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 70), st.booleans(), st.integers(0, 2**32))
def test_label_look_up_equals_pillow(width, height, size, flip, seed):
    left, top, w, h = box = random_resized_crop(random.Random(seed), width, height, (0.05, 1.0))
    label = np.arange(width * height, dtype=np.int32).reshape(height, width)
    expected = Image.fromarray(label).crop((left, top, left + w, top + h)).resize((size, size), Image.Resampling.NEAREST)
    expected = np.asarray(expected.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if flip else expected)
    assert np.array_equal(cut(label, (width, height), box, flip, size), expected)
