"""augment_crops on the CPU: against Pillow, against itself in other company, against its guards. The kernels: test_augment_crops_cuda.py."""

import ctypes
import mmap
import os
import subprocess
import sys

import numpy as np
import PIL
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from engine.data.decode import decode_image
from engine.ops.augment_crops import augment_crops, augment_crops_host
from engine.ops.augment_crops_reference import augment_crops as reference
from engine.ops.augment_crops_reference import augment_levels
from engine.ops.crop_output import MEAN, STD, STD_PUBLISHED, affine
from tests.engine.data.golden import golden
from tests.engine.data.samples import photo
from tests.engine.ops.crop_samples import pack, plain_crops, random_plan
from tests.shared_folder import shared_path

SIZES = [(120, 90), (61, 200), (33, 34), (1, 1), (300, 40)]  # width, height


@pytest.fixture(scope="module")
def packed():
    return pack([np.asarray(photo(width, height, seed=width)) for width, height in SIZES])


def levels(packed, crops, size, **options):
    return augment_crops_host(*packed, crops, size, dtype="uint8", **options).astype(int)


def whole_image(images, number, count=1):
    """`count` crops that are the whole of one image."""
    crops = plain_crops(count)
    crops["image"], crops["width"], crops["height"] = number, images[number]["width"], images[number]["height"]
    return crops


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 70), st.integers(1, 70))
def test_resized_crops_are_within_one_level_of_pillow(seed, height, width):
    """Pillow rounds to whole levels after its first pass and we do not: half a level there, half a level at the end."""
    packed = pack([np.asarray(photo(w, h, seed=w)) for w, h in SIZES])
    crops = random_plan(packed[1], 6, seed, jitter=0, grey=0, blur=0, scale=(0.01, 1))
    assert np.abs(levels(packed, crops, (height, width)) - augment_levels(*packed, crops, (height, width))).max() <= 1


def test_jitter_and_grey_are_pillows_to_the_bit(packed):
    rng = np.random.default_rng(0)
    crops = whole_image(packed[1], 0, 240)
    crops["order"], crops["flip"], crops["grey"] = np.arange(240) % 24, rng.integers(0, 2, 240), rng.random(240) < 0.3
    for name in ("brightness", "contrast", "saturation"):
        crops[name] = rng.uniform(0, 2.5, 240)
    crops["hue"] = rng.uniform(-0.5, 0.5, 240)
    crops[["brightness", "contrast", "saturation", "hue"]][:2] = [(0, 0, 0, -0.5), (1, 1, 1, 0.5)]
    assert np.array_equal(levels(packed, crops, (90, 120)), augment_levels(*packed, crops, (90, 120)))


@pytest.mark.parametrize("hue", [0.0, 0.13])
def test_turning_the_hue_of_every_colour_gives_pillows_bytes(hue):
    colours = np.arange(1 << 24, dtype=np.uint32)
    image = np.stack([colours >> 16, colours >> 8 & 255, colours & 255], -1).astype(np.uint8).reshape(4096, 4096, 3)
    pixels, images = pack([image])
    crops = whole_image(images, 0)
    crops["order"], crops["hue"] = 23, hue
    assert np.array_equal(augment_crops_host(pixels, images, crops, 4096, dtype="uint8"), augment_levels(pixels, images, crops, 4096))


@pytest.mark.parametrize("sigma", [0.1, 0.7, 1.4, 2.0, 5.0, 8.0])
def test_blur_is_near_pillows(packed, sigma):
    """Away from the border the difference is Pillow's six roundings to whole levels, 0.29 each: at most 0.7 on average, and 3 in one place.

    At the border Pillow replicates after each pass, we once: there only a bound on the mean is asked for.
    """
    crops = whole_image(packed[1], 0)
    crops["blur"] = sigma
    ours, theirs = levels(packed, crops, (90, 120)), augment_levels(*packed, crops, (90, 120)).astype(int)
    inside = np.abs(ours - theirs)[:, 24:-24, 24:-24]
    assert inside.mean() <= 0.7 and inside.max() <= 3 and np.abs(ours - theirs).mean() <= 1
    assert abs((ours - theirs)[:, 24:-24, 24:-24].mean()) <= 0.1  # no bias


def test_blur_of_a_step_and_of_a_flat_image():
    image = np.zeros((9, 40, 3), np.uint8)
    image[:, 20:] = 255
    packed = pack([image])
    crops = whole_image(packed[1], 0, 2)
    crops["blur"] = [2.0, 0.01]
    ours = levels(packed, crops, (9, 40))
    row = ours[0, 4, :, 1]
    assert row[0] == 0 and row[-1] == 255 and (np.diff(row) >= 0).all() and (row + row[::-1] == 255).all()
    assert np.array_equal(ours[1], image)


def test_real_images_stay_close_to_pillow():
    """Asked for: 2 levels on average, 6 in the worst crop. Roundings alone make about 0.3 and 0.8."""
    paths = sorted(shared_path("data", "imagenet-samples").glob("*.JPEG"))[:24]
    packed = pack([np.asarray(decode_image(str(path))) for path in paths])
    crops = random_plan(packed[1], 96, seed=11)
    difference = np.abs(levels(packed, crops, 128) - augment_levels(*packed, crops, 128)).mean((1, 2, 3))
    assert difference.mean() <= 0.5 and difference.max() <= 1.5


def published(case, name, number):
    """A crop of the golden pipeline: packed image and plan."""
    g = golden("06_grids")
    packed = pack([np.asarray(decode_image(str(shared_path("golden", "pass", "images", "grid_img.png"))))])
    crops = plain_crops(1)
    left, top, width, height, flip = np.asarray(g[f"pipeline/{case}/{name}"]).ravel().tolist()
    crops[0] = (0, int(flip), -1, 0, left, top, width, height, 1, 1, 1, 0, 0)
    return g, f"pipeline/{case}/crop{number}", packed, crops


def agrees(g, key, ours, std):
    """Within the golden tolerance; Pillow 13 made the golden crops, older versions round some pixels to the next level."""
    if int(PIL.__version__.split(".")[0]) >= 13:
        assert g.check(key, ours)
        return
    difference = np.abs(ours - g[key]) * 255 * np.array(std, np.float32)[:, None, None]
    assert difference.max() < 1.01 and (difference > 0.01).mean() < 0.1, key


@pytest.mark.golden
@pytest.mark.parametrize("case", range(4))
@pytest.mark.parametrize(("number", "name"), [(0, "rectq"), (1, "rectk")])
def test_golden_crops_of_the_published_pipeline(case, number, name):
    """The reference to the golden tolerance; the op within one level, for the rounding of Pillow's first pass."""
    g, key, packed, crops = published(case, name, number)
    agrees(g, key, reference(*packed, crops, 48, mean=MEAN, std=STD_PUBLISHED)[0], STD_PUBLISHED)
    difference = np.abs(augment_crops_host(*packed, crops, 48, std=STD_PUBLISHED)[0] - g[key]) * 255 * np.array(STD_PUBLISHED)[:, None, None]
    assert difference.max() < 1.01 and difference.mean() < 0.3


@pytest.mark.golden
@pytest.mark.parametrize("case", range(4))
def test_golden_images_of_the_joint_crops(case):
    g = golden("10_label_augmentation")
    packed = pack([np.asarray(decode_image(str(shared_path("golden", "pass", "images", "aug_img.png"))))])
    top, left, height, width, flip = g[f"{case}/box_flip"].tolist()
    crops = plain_crops(1)
    crops[0] = (0, int(flip), -1, 0, left, top, width, height, 1, 1, 1, 0, 0)
    agrees(g, f"{case}/image", reference(*packed, crops, 40, mean=MEAN, std=STD)[0], STD)
    difference = np.abs(augment_crops_host(*packed, crops, 40)[0] - g[f"{case}/image"]) * 255 * np.array(STD)[:, None, None]
    assert difference.max() < 1.01 and difference.mean() < 0.3


def test_normalised_results_are_the_levels_normalised(packed):
    crops = random_plan(packed[1], 10, seed=2)
    scale, shift, table = affine(MEAN, STD_PUBLISHED)
    planes = np.moveaxis(augment_crops_host(*packed, crops, (19, 35), dtype="uint8"), -1, 1)
    expected = planes.astype(np.float32) * scale[:, None, None] + shift[:, None, None]
    found = augment_crops_host(*packed, crops, (19, 35), std=STD_PUBLISHED)
    assert found.dtype == np.float32 and np.array_equal(found, expected)
    halves = augment_crops_host(*packed, crops, (19, 35), std=STD_PUBLISHED, dtype="float16")
    assert halves.dtype == np.float16 and np.array_equal(halves, expected.astype(np.float16))


def test_agrees_with_the_normalised_reference(packed):
    crops = random_plan(packed[1], 4, seed=3, jitter=0, grey=0, blur=0)
    options = {"mean": (0.1, 0.2, 0.3), "std": (0.5, 1.0, 2.0)}
    one_level = 1 / 255 / 0.5
    assert np.abs(augment_crops_host(*packed, crops, 20, **options) - reference(*packed, crops, 20, **options)).max() <= 1.01 * one_level


def test_threads_neighbours_and_a_given_array_change_nothing(packed):
    crops = random_plan(packed[1], 23, seed=4)
    whole = augment_crops_host(*packed, crops, 33, threads=1)
    out = np.full_like(whole, np.nan)
    assert augment_crops_host(*packed, crops, 33, threads=5, out=out) is out and np.array_equal(out, whole)
    alone = np.concatenate([augment_crops_host(*packed, crops[i : i + 1], 33) for i in range(23)])
    assert np.array_equal(alone, whole)


def test_bleed_equals_resizing_the_whole_image_and_cutting_after_that(packed):
    image = Image.fromarray(packed[0][: 90 * 120 * 3].reshape(90, 120, 3))
    small = np.asarray(image.resize((60, 45), Image.Resampling.BILINEAR)).astype(int)
    crops = plain_crops(1)
    crops["left"], crops["top"], crops["width"], crops["height"] = 20, 30, 64, 40  # of the small image: columns 10 to 42, rows 15 to 35
    found = levels(packed, crops, (20, 32), bleed=True)[0]
    assert np.abs(found - small[15:35, 10:42]).max() <= 1  # Pillow's rounding in between
    assert np.abs(levels(packed, crops, (20, 32))[0] - small[15:35, 10:42]).max() > 1
    fraction = crops.copy()
    fraction["left"], fraction["width"] = 20.25, 61.5
    assert np.abs(levels(packed, fraction, (20, 32), bleed=True) - augment_levels(*packed, fraction, (20, 32), bleed=True)).max() <= 1


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 60), st.integers(1, 60), st.integers(1, 40), st.integers(1, 40), st.floats(0, 1), st.floats(0, 1), st.floats(0.01, 1),
    st.booleans(), st.sampled_from([0.0, 0.5, 3.0]),
)  # fmt: skip
def test_a_flat_image_stays_flat_whatever_the_box(height, width, h, w, x, y, share, bleed, blur):
    colour = np.array([0, 255, 93], np.uint8)
    packed = pack([np.tile(colour, (height, width, 1))])
    crops = plain_crops(1)
    crops["width"], crops["height"] = max(0.01, width * share), max(0.01, height * share)
    crops["left"], crops["top"] = x * (width - crops["width"]), y * (height - crops["height"])
    crops["blur"] = blur
    assert (levels(packed, crops, (h, w), bleed=bleed) == colour).all()


def test_fractions_shift_the_crop():
    ramp = np.repeat(np.arange(0, 200, 2, dtype=np.uint8)[None, :, None], 3, 2).repeat(8, 0)
    crops = plain_crops(3)
    crops["image"] = 0
    crops["left"], crops["width"], crops["height"] = [10, 10.5, 10 + 1e-4], 20, 8
    found = levels(pack([ramp]), crops, (8, 20))[:, 4, 5:15, 0]
    assert found[0].tolist() == list(range(30, 50, 2)) and (found[1] == found[0] + 1).all() and np.array_equal(found[2], found[0])


def test_no_byte_past_the_buffer_is_read():
    """The pixels end where an unmapped page begins; a read past it would kill the child process."""
    page = mmap.PAGESIZE
    room = mmap.mmap(-1, 3 * page)
    start = ctypes.addressof(ctypes.c_char.from_buffer(room))
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.mprotect(ctypes.c_void_p(start + 2 * page), ctypes.c_size_t(page), 0) == 0
    augment_crops_host(*pack([np.zeros((2, 2, 3), np.uint8)]), whole_image(pack([np.zeros((2, 2, 3))])[1], 0), 4)  # compiled and loaded here
    child = os.fork()
    if child == 0:
        good = True
        for height, width in ((1, 1), (1, 5), (7, 3), (11, 40), (30, 33)):
            size = height * width * 3
            pixels = np.frombuffer(room, np.uint8, size, 2 * page - size)
            pixels[:] = 77
            images = pack([np.zeros((height, width, 3), np.uint8)])[1]
            good &= bool((augment_crops_host(pixels, images, whole_image(images, 0), (21, 18), dtype="uint8", threads=1) == 77).all())
        os._exit(0 if good else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_jittor_is_not_imported_by_the_host_entry():
    text = "import sys, engine.ops.augment_crops, engine.ops.crop_labels; sys.exit('jittor' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", text], env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}).returncode == 0


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_the_var_holds_what_the_host_entry_gives(packed, dtype):
    from engine.runtime import jt

    crops = random_plan(packed[1], 5, seed=8)
    expected = augment_crops_host(*packed, crops, (12, 14), dtype=dtype)
    for pixels in (packed[0], jt.array(packed[0])):
        found = augment_crops(pixels, packed[1], crops, (12, 14), dtype=dtype)
        assert str(found.dtype) == dtype and np.array_equal(found.numpy(), expected)
    assert tuple(augment_crops(*packed, crops[:0], 12).shape) == (0, 3, 12, 12)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("image", 5, r"crops\[2\]: expected image in 0\.\.4, found image=5"),
        ("image", -1, "image=-1"),
        ("order", 24, r"expected order in -1\.\.23, found .*order=24"),
        ("flip", 2, "expected flip in"),
        ("hue", 0.6, "expected hue in"),
        ("blur", 8.5, r"expected blur in 0\.\.8"),
        ("contrast", -0.1, r"expected contrast in 0\.\."),
        ("saturation", np.nan, "expected saturation in .*saturation=nan"),
        ("left", -1, r"expected left in 0\.\..*, found .*left=-1"),
        ("width", 34, r"its width of 33 pixels"),
        ("height", 0, "height=0"),
        ("top", np.inf, "expected top in .*top=inf"),
        ("top", 0.5, r"box inside the image, top \+ height <= its height of 34 pixels, found .*top=0.5"),
    ],
)
def test_a_crop_that_cannot_be_is_named(packed, field, value, message):
    crops = plain_crops(5)
    crops["width"], crops["height"] = np.array(SIZES).T
    crops[2][field] = value
    with pytest.raises(ValueError, match=message):
        augment_crops_host(*packed, crops, 8)


def test_other_arguments_that_cannot_be_are_named(packed):
    pixels, images = packed
    crops = whole_image(images, 0)
    moved = images.copy()
    moved[4]["offset"] += 1
    flat = images.copy()
    flat[1]["height"] = 0
    far = images.copy()
    far[3]["offset"] = -1
    for arguments, options, message in (
        ((pixels.astype(np.int8), images, crops, 8), {}, r"pixels: expected \(bytes,\) uint8, found .*int8"),
        ((pixels, moved, crops, 8), {}, r"images\[4\]: expected it inside the \d+ bytes"),
        ((pixels, flat, crops, 8), {}, r"images\[1\]: expected height and width of at least 1"),
        ((pixels, far, crops, 8), {}, r"images\[3\]"),
        ((pixels, images.view("<i4"), crops, 8), {}, r"images: expected \(m,\) IMAGE records, found"),
        ((pixels, images, crops.tolist(), 8), {}, r"crops: expected \(n,\) CROP records, found list"),
        ((pixels, images, crops, 0), {}, "size=0"),
        ((pixels, images, crops, (8, 8, 8)), {}, r"size=\(8, 8, 8\)"),
        ((pixels, images, crops, 8), {"dtype": "float64"}, "dtype='float64': expected one of float32, float16, uint8"),
        ((pixels, images, crops, 8), {"std": (1, 1, 0)}, "std > 0"),
        ((pixels, images, crops, 8), {"mean": (1, 1)}, "three finite numbers"),
        ((pixels, images, crops, 8), {"threads": 0}, "threads=0"),
        ((pixels, images, crops, 8), {"out": np.zeros((1, 3, 8, 9), np.float32)}, r"out: expected .* found \(1, 3, 8, 9\) float32"),
    ):
        with pytest.raises(ValueError, match=message):
            augment_crops_host(*arguments, **options)
