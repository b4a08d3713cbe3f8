import random

import numpy as np
import PIL
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance, ImageFilter

from engine.data import augment
from engine.data.augment import apply_joint_crop, augment_crop, center_crop, eval_image, joint_crop, nearest_source
from engine.data.crops import PythonDraws, correspondence_grids, crop_rng, random_resized_crop
from engine.data.decode import decode_image, decode_rgb
from engine.data.normalize import STD, STD_PUBLISHED, normalize
from tests.engine.data.golden import golden
from tests.engine.data.samples import photo
from tests.shared_folder import shared_path

SCALES = ((0.14, 1.0), (0.05, 0.14))  # of the two groups of the golden pipeline


class Script:
    """A generator whose draws are written down: jitter?, three factors, hue, grey?, blur?, radius; then the order."""

    def __init__(self, draws, order=(0, 1, 2, 3)):
        self.draws, self.order = draws, order

    def random(self, count):
        assert count == 8
        return np.array(self.draws, float)

    def permutation(self, count):
        assert count == 4
        return np.array(self.order)


NOTHING = [1, 0, 0, 0, 0, 1, 1, 0]


def plain(image, box, flip, size):
    return augment_crop(image, box, flip, size, Script(NOTHING))


def chw(pixels, std):
    return normalize(pixels[None], std)[0]


def agrees(g, key, pixels, std):
    """Within the golden tolerance; Pillow 13 made the golden crops, older versions round some pixels to the next level."""
    if int(PIL.__version__.split(".")[0]) >= 13:
        assert g.check(key, chw(pixels, std))
        return
    levels = np.abs(chw(pixels, std) - g[key]) * 255 * np.array(std, np.float32)[:, None, None]
    assert levels.max() < 1.01 and (levels > 0.01).mean() < 0.1, key


@pytest.mark.golden
@pytest.mark.parametrize("case", range(4))
def test_golden_pipeline(case):
    """Boxes, flips, grids and pixels of the published two-group pipeline, from the same Python random state."""
    g = golden("06_grids")
    image = decode_image(str(shared_path("golden", "pass", "images", "grid_img.png")))
    source = random.Random(1050 + case)
    rects, crops = [], []
    for size, scale in ((48, SCALES[0]), (48, SCALES[0]), (32, SCALES[1]), (32, SCALES[1])):
        box = random_resized_crop(PythonDraws(source), image.width, image.height, scale)
        flip = source.random() < 0.5
        rects.append((*box, int(flip)))
        crops.append(plain(image, box, flip, size))
    assert g.check(f"pipeline/{case}/rectq", np.array(rects[0])) and g.check(f"pipeline/{case}/rectk", np.array(rects[1]))
    grid_q, grid_k = correspondence_grids(rects[0], rects[1])
    assert g.check(f"pipeline/{case}/gridq", grid_q) and g.check(f"pipeline/{case}/gridk", grid_k)
    for number, crop in enumerate(crops):
        agrees(g, f"pipeline/{case}/crop{number}", crop, STD_PUBLISHED)


def read_ids(path):
    coded = decode_rgb(str(path)).astype(np.int32)
    return coded[..., 0] + 256 * coded[..., 1]


@pytest.mark.golden
def test_golden_joint_augmentation():
    g = golden("10_label_augmentation")
    folder = shared_path("golden", "pass", "images")
    image, label = decode_image(str(folder / "aug_img.png")), read_ids(folder / "aug_label.png")
    rows, columns = nearest_source(label.shape[0], image.height), nearest_source(label.shape[1], image.width)
    assert g.check("label_resized", label[rows[:, None], columns])
    for case in range(4):
        top, left, h, w, flip = g[f"{case}/box_flip"].tolist()
        pixels, ids = apply_joint_crop(image, label, (left, top, w, h), bool(flip), 40)
        assert ids.dtype == np.int32
        assert g.check(f"{case}/label", ids)
        agrees(g, f"{case}/image", pixels, STD)


def test_labels_of_another_size_are_resized_by_the_floor_rule_first():
    assert nearest_source(3, 5).tolist() == [0, 0, 1, 1, 2]
    assert nearest_source(5, 3).tolist() == [0, 1, 3]
    assert nearest_source(7, 7).tolist() == list(range(7))
    label = np.arange(6, dtype=np.int32).reshape(2, 3)
    full = label[[[0], [0], [1], [1]], [0, 0, 1, 1, 2]]  # 2 x 3 -> 4 x 5
    image = photo(5, 4)
    for flip in (False, True):
        for box in ((0, 0, 5, 4), (1, 1, 3, 2), (2, 0, 1, 4)):
            assert np.array_equal(apply_joint_crop(image, label, box, flip, 6)[1], apply_joint_crop(image, full, box, flip, 6)[1])


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 70), st.booleans(), st.randoms(use_true_random=False))
def test_label_look_up_equals_pillow(width, height, size, flip, source):
    image = photo(width, height)
    box = random_resized_crop(PythonDraws(source), width, height, (0.05, 1.0))
    label = np.arange(width * height, dtype=np.int32).reshape(height, width)
    _, ids = apply_joint_crop(image, label, box, flip, size)
    left, top, w, h = box
    expected = Image.fromarray(label).crop((left, top, left + w, top + h)).resize((size, size), Image.Resampling.NEAREST)
    expected = np.asarray(expected.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if flip else expected)
    assert np.array_equal(ids, expected)


def test_joint_crop_keeps_image_and_label_together():
    """Where colours are the ids, every label must say the colour under it."""
    ids = np.repeat(np.repeat(np.arange(12).reshape(3, 4), 40, 0), 40, 1).astype(np.int32)
    image = Image.fromarray(np.stack([ids * 20] * 3, -1).astype(np.uint8))
    small = ids[::4, ::4]
    flips = set()
    for number in range(12):
        pixels, label = joint_crop(image, small, 64, (0.2, 1.0), crop_rng(0, 0, number, 0))
        assert pixels.shape == (64, 64, 3) and pixels.dtype == np.uint8 and label.shape == (64, 64)
        assert (np.abs(pixels[..., 0] - 20.0 * label) < 1).mean() > 0.85  # all but the borders between squares
        row = label[32]
        flips.add(int(np.sign(int(row[-1]) - int(row[0]))))
    assert {1, -1} <= flips


def test_crop_is_cut_before_it_is_resized():
    image = photo(90, 70)
    expected = image.crop((10, 5, 60, 65)).resize((32, 32), Image.Resampling.BILINEAR)
    assert np.array_equal(plain(image, (10, 5, 50, 60), False, 32), np.asarray(expected))
    assert np.array_equal(plain(image, (10, 5, 50, 60), True, 32), np.asarray(expected)[:, ::-1])


@pytest.mark.parametrize(
    ("step", "enhancer", "draw", "factor"),
    [(0, ImageEnhance.Brightness, 0.75, 1.4), (1, ImageEnhance.Contrast, 0.25, 0.6), (2, ImageEnhance.Color, 1.0, 1.8)],
)
def test_one_colour_operation(step, enhancer, draw, factor):
    image = photo(40, 40)
    draws = [0.79, 0.5, 0.5, 0.5, 0.5, 1, 1, 0]
    draws[1 + step] = draw
    order = [step, *(other for other in range(4) if other != step)]
    ours = augment_crop(image, (0, 0, 40, 40), False, 40, Script(draws, order))
    expected = enhancer(image).enhance(factor).convert("HSV").convert("RGB")  # the hue step, at zero, rounds through HSV
    assert np.array_equal(ours, np.asarray(expected))


@pytest.mark.parametrize("draw", [0.0, 0.2, 0.7, 1.0])
def test_hue_is_added_modulo_256_rounded_towards_zero(draw):
    image = photo(40, 40)
    ours = augment_crop(image, (0, 0, 40, 40), False, 40, Script([0, 0.5, 0.5, 0.5, draw, 1, 1, 0], [3, 0, 1, 2]))
    bands = list(image.convert("HSV").split())
    turned = np.asarray(bands[0]).astype(int) + int(np.trunc(255 * (2 * draw - 1) * 0.2))
    bands[0] = Image.fromarray((turned % 256).astype(np.uint8))
    assert np.array_equal(ours, np.asarray(Image.merge("HSV", bands).convert("RGB")))


def test_order_of_colour_operations_is_the_drawn_one():
    draws = [0, 0.9, 0.1, 0.8, 0.3, 1, 1, 0]
    results = {
        augment_crop(photo(20, 20), (0, 0, 20, 20), False, 20, Script(draws, order)).tobytes() for order in [(0, 1, 2, 3), (1, 0, 2, 3), (3, 2, 1, 0)]
    }
    assert len(results) == 3


def test_grey_then_blur_equals_the_way_through_three_channels():
    image = photo(40, 40)
    ours = augment_crop(image, (0, 0, 40, 40), False, 40, Script([1, 0, 0, 0, 0, 0.19, 0.49, 0.5]))
    assert np.array_equal(ours, np.asarray(image.convert("L").convert("RGB").filter(ImageFilter.GaussianBlur(1.05))))
    blurred = augment_crop(image, (0, 0, 40, 40), False, 40, Script([1, 0, 0, 0, 0, 1, 0, 1]))
    assert np.array_equal(blurred, np.asarray(image.filter(ImageFilter.GaussianBlur(2.0))))


def test_probabilities_and_reproducibility(monkeypatch):
    image = photo(24, 24)
    counts = {"blur": 0, "hue": 0, "grey": 0}
    blur, hue = ImageFilter.GaussianBlur, augment._shift_hue

    def counted(name, call):
        def inner(*arguments):
            counts[name] += 1
            return call(*arguments)

        return inner

    monkeypatch.setattr(augment.ImageFilter, "GaussianBlur", counted("blur", blur))
    monkeypatch.setattr(augment, "_shift_hue", counted("hue", hue))
    for number in range(2000):
        crop = augment_crop(image, (0, 0, 24, 24), False, 8, crop_rng(1, 0, number, 0))
        counts["grey"] += bool((crop[..., 0] == crop[..., 1]).all() and (crop[..., 0] == crop[..., 2]).all())
    for name, probability in (("blur", 0.5), ("hue", 0.8), ("grey", 0.2)):
        assert abs(counts[name] / 2000 - probability) < 4 * (probability * (1 - probability) / 2000) ** 0.5, name
    same = [augment_crop(image, (2, 2, 20, 20), True, 16, crop_rng(4, 5, 6, 7)) for _ in range(2)]
    assert np.array_equal(*same) and same[0].flags.writeable


def test_no_jitter_at_zero_strength():
    image = photo(20, 20)
    ours = augment_crop(image, (0, 0, 20, 20), False, 20, Script([0, 0, 0, 0, 0, 1, 1, 0]), jitter=0)
    assert np.array_equal(ours, np.asarray(image))


def test_eval_image_and_centre():
    image = photo(75, 50)
    whole = eval_image(image, 32)
    assert np.array_equal(whole, np.asarray(image.resize((48, 32), Image.Resampling.BILINEAR)))
    assert eval_image(image, 32, square=True).shape == (32, 32, 3)
    assert np.array_equal(eval_image(image, 50), np.asarray(image))
    assert np.array_equal(center_crop(whole, 20), whole[6:26, 14:34])
