"""augment_crops on the CPU: against Pillow, against itself in other company, against its guards. The kernels: test_augment_crops_cuda.py."""

import ctypes
import mmap
import os
import subprocess
import sys

import numpy as np
import PIL
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFilter

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
NEW_PILLOW = int(PIL.__version__.split(".")[0]) >= 13  # from then on tall boxes are resized down the columns first
SIGMAS = [float(np.sqrt(np.float32(length**2 - 1) / 4)) for length in range(1, 16, 2)]  # of boxes of whole pixels
SIGMAS = [float(np.nextafter(np.float32(sigma), np.float32(side))) for sigma in SIGMAS for side in (0, sigma, 9) if 0 < sigma <= 7.9] + [8.0]


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


@settings(max_examples=100, deadline=None)
@given(
    st.integers(0, 10_000), st.integers(1, 70), st.integers(1, 70), st.sampled_from([0.01, 0.2, 1.0]), st.floats(0.01, 8), st.booleans(),
    st.sampled_from([1.0, 0.97]),
)  # fmt: skip
def test_any_crop_has_pillows_bytes(seed, height, width, smallest, sigma, noisy, factor):
    """All steps at once: boxes down to single pixels, flips, jitter, grey, blur at borders it reaches over; boxes of fractions where factor < 1."""
    arrays = [np.asarray(photo(w, h, seed=w)) for w, h in SIZES]
    if noisy:
        arrays = [np.random.default_rng(seed).integers(0, 256, array.shape, dtype=np.uint8) for array in arrays]
    packed = pack(arrays)
    crops = random_plan(packed[1], 6, seed, scale=(smallest, 1))
    for name in ("left", "top", "width", "height"):
        crops[name] *= factor
    crops["blur"][crops["blur"] > 0] = sigma
    np.testing.assert_array_equal(levels(packed, crops, (height, width)), augment_levels(*packed, crops, (height, width)))


@pytest.mark.skipif(not NEW_PILLOW, reason=f"Pillow {PIL.__version__} always resizes along the rows first; ours does as 13 and later")
@settings(max_examples=100, deadline=None)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 90), st.integers(1, 90), st.data())
def test_boxes_are_resized_as_pillow_does_in_one_call(height, width, new_height, new_width, data):
    """The reference makes one pass at a time; here Pillow itself chooses their order."""
    image = Image.fromarray(np.random.default_rng(height).integers(0, 256, (90, 90, 3), dtype=np.uint8))
    left, top = data.draw(st.integers(0, 90 - width)), data.draw(st.integers(0, 90 - height))
    crops = plain_crops(1)
    crops["left"], crops["top"], crops["width"], crops["height"] = left, top, width, height
    expected = image.crop((left, top, left + width, top + height)).resize((new_width, new_height), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(levels(pack([np.asarray(image)]), crops, (new_height, new_width))[0], np.asarray(expected))
    for name, size in (("left", 0.4), ("top", 0.3), ("width", -0.9), ("height", -0.8)):  # the same pixels, touched in part
        crops[name] += size
    assume(width > 1 and height > 1)
    inner = (float(crops["left"][0]) - left, float(crops["top"][0]) - top)
    outer = (float(crops["left"][0]) + float(crops["width"][0]) - left, float(crops["top"][0]) + float(crops["height"][0]) - top)
    part = image.crop((left, top, left + width, top + height))
    expected = part.resize((new_width, new_height), Image.Resampling.BILINEAR, box=(*inner, *outer))
    np.testing.assert_array_equal(levels(pack([np.asarray(image)]), crops, (new_height, new_width))[0], np.asarray(expected))


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


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.one_of(st.floats(2**-140, 8, width=32), st.sampled_from(SIGMAS)), st.booleans())
def test_blur_has_pillows_bytes(height, width, sigma, grey):
    """Also where the filter is longer than the crop, and where the box's length is a whole number of pixels up to rounding."""
    packed = pack([np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8)])
    crops = whole_image(packed[1], 0)
    crops["blur"], crops["grey"] = sigma, grey
    np.testing.assert_array_equal(levels(packed, crops, (height, width)), augment_levels(*packed, crops, (height, width)))


def test_blur_of_all_standard_deviations_has_pillows_bytes():
    """(0, 8] in steps of 1/4096: the 24-bit weights come from single precision, so each has to go through the same roundings."""
    image = np.random.default_rng(0).integers(0, 256, (6, 24, 3), dtype=np.uint8)
    crops = np.repeat(whole_image(pack([image])[1], 0), 1 << 15)
    crops["blur"] = np.arange(1, (1 << 15) + 1) / 4096
    picture = Image.fromarray(image)
    expected = [np.asarray(picture.filter(ImageFilter.GaussianBlur(sigma))) for sigma in crops["blur"].tolist()]
    np.testing.assert_array_equal(levels(pack([image]), crops, (6, 24)), expected)


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


def test_real_images_have_pillows_bytes():
    paths = sorted(shared_path("data", "imagenet-samples").glob("*.JPEG"))[:24]
    packed = pack([np.asarray(decode_image(str(path))) for path in paths])
    for count, size in ((48, 224), (48, 96)):
        crops = random_plan(packed[1], count, seed=size)
        np.testing.assert_array_equal(levels(packed, crops, size), augment_levels(*packed, crops, size))


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
    if NEW_PILLOW:
        assert g.check(key, ours)
        return
    difference = np.abs(ours - g[key]) * 255 * np.array(std, np.float32)[:, None, None]
    assert difference.max() < 1.01 and (difference > 0.01).mean() < 0.1, key


@pytest.mark.golden
@pytest.mark.parametrize("case", range(4))
@pytest.mark.parametrize(("number", "name"), [(0, "rectq"), (1, "rectk")])
def test_golden_crops_of_the_published_pipeline(case, number, name):
    g, key, packed, crops = published(case, name, number)
    agrees(g, key, reference(*packed, crops, 48, mean=MEAN, std=STD_PUBLISHED)[0], STD_PUBLISHED)
    agrees(g, key, augment_crops_host(*packed, crops, 48, std=STD_PUBLISHED)[0], STD_PUBLISHED)


@pytest.mark.golden
@pytest.mark.parametrize("case", range(4))
def test_golden_images_of_the_joint_crops(case):
    g = golden("10_label_augmentation")
    packed = pack([np.asarray(decode_image(str(shared_path("golden", "pass", "images", "aug_img.png"))))])
    top, left, height, width, flip = g[f"{case}/box_flip"].tolist()
    crops = plain_crops(1)
    crops[0] = (0, int(flip), -1, 0, left, top, width, height, 1, 1, 1, 0, 0)
    agrees(g, f"{case}/image", reference(*packed, crops, 40, mean=MEAN, std=STD)[0], STD)
    agrees(g, f"{case}/image", augment_crops_host(*packed, crops, 40)[0], STD)


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
    found, expected = augment_crops_host(*packed, crops, 20, **options), reference(*packed, crops, 20, **options)
    # scale and shift are rounded, and so are product and sum: four roundings of numbers below 2, each of 2^-24 of them at most
    np.testing.assert_allclose(found, expected, rtol=0, atol=4 * 2 * 2**-24)


def test_threads_neighbours_and_a_given_array_change_nothing(packed):
    crops = random_plan(packed[1], 23, seed=4)
    whole = augment_crops_host(*packed, crops, 33, threads=1)
    out = np.full_like(whole, np.nan)
    assert augment_crops_host(*packed, crops, 33, threads=5, out=out) is out and np.array_equal(out, whole)
    alone = np.concatenate([augment_crops_host(*packed, crops[i : i + 1], 33) for i in range(23)])
    assert np.array_equal(alone, whole)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 60), st.integers(1, 60), st.integers(1, 40), st.integers(1, 40), st.floats(0, 1), st.floats(0, 1), st.floats(0.01, 1),
    st.sampled_from([0.0, 0.5, 3.0]),
)  # fmt: skip
def test_a_flat_image_stays_flat_whatever_the_box(height, width, h, w, x, y, share, blur):
    colour = np.array([0, 255, 93], np.uint8)
    packed = pack([np.tile(colour, (height, width, 1))])
    crops = plain_crops(1)
    crops["width"], crops["height"] = max(0.01, width * share), max(0.01, height * share)
    crops["left"], crops["top"] = x * (width - crops["width"]), y * (height - crops["height"])
    crops["blur"] = blur
    assert (levels(packed, crops, (h, w)) == colour).all()


def test_fractions_shift_the_crop():
    ramp = np.repeat(np.arange(0, 200, 2, dtype=np.uint8)[None, :, None], 3, 2).repeat(8, 0)
    crops = plain_crops(3)
    crops["image"] = 0
    crops["left"], crops["width"], crops["height"] = [10, 10.5, 10 + 1e-4], 20, 8
    found = levels(pack([ramp]), crops, (8, 20))[:, 4, 5:15, 0]
    assert found[0].tolist() == list(range(30, 50, 2)) and (found[1] == found[0] + 1).all() and np.array_equal(found[2], found[0])


@pytest.mark.parametrize(
    ("left", "width"),
    [
        (1 - 2**-10, 2**-10),
        (0.9999, 0.001),
        (32.999, 0.0015),
        (32 + 2**-11, 1),
        (0, 2**-10),
        (0.5, 33 - 0.5 + 2**-10),
        (4 - 2**-11, 2 + 2**-10),
        (7.25, 8.5),
    ],
)
def test_slivers_and_touches_of_a_box(packed, left, width):
    crops = plain_crops(2)
    crops["image"], crops["left"], crops["width"], crops["height"], crops["flip"] = 2, left, width, 34, [0, 1]
    np.testing.assert_array_equal(levels(packed, crops, (5, 9)), augment_levels(*packed, crops, (5, 9)))


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
