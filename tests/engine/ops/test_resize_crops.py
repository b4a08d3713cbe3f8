"""resize_crops against Pillow, to the bit."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import PIL
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from engine.data.eval_plan import center_cuts, whole_cuts
from engine.ops.crop_output import MEAN, STD
from engine.ops.crop_table import CUT, IMAGE
from engine.ops.resize_crops import resize_crops, resize_crops_host
from engine.ops.resize_crops_reference import resize, resize_levels
from engine.ops.resize_crops_reference import resize_crops as reference
from tests.engine.ops.cut_samples import MIXED_SIZE, cut_of, mixed_batch, pack
from tests.shared_folder import shared_path

ROOT = Path(__file__).resolve().parent.parent.parent.parent
sides = st.integers(1, 700)
NEW_PILLOW = int(PIL.__version__.split(".")[0]) >= 13  # from then on tall images are resized down the columns first


def noise(width, height, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def levels(array, width, height):
    """The whole image, resized by us."""
    return resize_crops_host(*pack([array]), cut_of(width, height), (height, width), dtype="uint8", threads=1)[0]


@settings(max_examples=150, deadline=None)
@given(sides, sides, sides, sides, st.integers(0, 10**6), st.data())
def test_any_cut_of_any_size_equals_pillow(width, height, new_width, new_height, seed, data):
    h, w = data.draw(st.integers(1, new_height)), data.draw(st.integers(1, new_width))
    cuts = cut_of(new_width, new_height, data.draw(st.integers(0, new_width - w)), data.draw(st.integers(0, new_height - h)))
    packed = pack([noise(width, height, seed)])
    found = resize_crops_host(*packed, cuts, (h, w), dtype="uint8", threads=1)
    np.testing.assert_array_equal(found, resize_levels(*packed, cuts, (h, w)))


@settings(max_examples=300, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 40), st.integers(1, 40), st.sampled_from(["noise", "black", "white", "stripes"]))
def test_small_and_extreme_images_equal_pillow(width, height, new_width, new_height, kind):
    array = noise(width, height) if kind == "noise" else np.full((height, width, 3), 255 if kind != "black" else 0, np.uint8)
    if kind == "stripes":
        array[::2] = 0
    np.testing.assert_array_equal(levels(array, new_width, new_height), np.asarray(resize(Image.fromarray(array), new_width, new_height)))


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1), (3000, 2), (20000, 3), (2, 20000), (701, 703)])
@pytest.mark.parametrize("new", [(1, 1), (1, 300), (300, 1), (7, 5), (256, 256)])
def test_long_filters_and_single_pixels(size, new):
    array = noise(*size)
    np.testing.assert_array_equal(levels(array, *new), np.asarray(resize(Image.fromarray(array), *new)))


def test_an_image_of_the_same_size_stays_as_it_is():
    array = noise(53, 37)
    np.testing.assert_array_equal(levels(array, 53, 37), array)


@pytest.mark.skipif(not NEW_PILLOW, reason=f"Pillow {PIL.__version__} always resizes along the rows first; ours does as 13 and later")
@settings(max_examples=300, deadline=None)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 90), st.integers(1, 90), st.booleans())
def test_the_order_of_the_passes_is_pillows(width, height, new_width, new_height, at_the_edge):
    if at_the_edge:  # where the height shrinks by twice as many pixels as the width, and one more
        new_height = max(1, height - 2 * (width - new_width) - height % 2)
    array = noise(width, height)
    expected = Image.fromarray(array).resize((new_width, new_height), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(levels(array, new_width, new_height), np.asarray(expected))


def test_hand_made_answer():
    """Two pixels to one: the mean, rounded half up, first along the rows; then the mean of the two rows."""
    array = np.array([[[0, 10, 255], [1, 21, 255]], [[0, 11, 0], [0, 20, 0]]], np.uint8)
    # scale 2: the triangle reaches from -1 to 3, both pixels lie half a pixel of 2 away and weigh the same
    np.testing.assert_array_equal(levels(array, 1, 1), [[[1, 16, 128]]])  # 0.5 -> 1, 0 -> 0, 0.5 -> 1; 15.5 -> 16, 16; 255, 0 -> 127.5


@pytest.mark.parametrize("square", [False, True])
def test_evaluation_crops_of_real_images(square):
    folder = shared_path("data", "imagenet-samples")
    arrays = [np.asarray(Image.open(path).convert("RGB")) for path in sorted(folder.glob("*.JPEG"))[:60]]
    arrays += [np.ascontiguousarray(array.transpose(1, 0, 2)) for array in arrays[:15]]
    packed = pack(arrays, gap=5)
    widths, heights = packed[1]["width"], packed[1]["height"]
    cuts = center_cuts(widths, heights, 256, 224, square)
    np.testing.assert_array_equal(resize_crops_host(*packed, cuts, 224, dtype="uint8"), resize_levels(*packed, cuts, 224))
    for cut in whole_cuts(widths, heights, 256, square)[::7]:
        size = (int(cut["height"]), int(cut["width"]))
        np.testing.assert_array_equal(resize_crops_host(*packed, cut[None], size, dtype="uint8"), resize_levels(*packed, cut[None], size))


def test_types_threads_and_a_given_array():
    (packed, cuts), size = mixed_batch(), MIXED_SIZE
    expected = resize_levels(*packed, cuts, size)
    scale, shift = (1 / (255 * np.array(STD))).astype("f4"), (-np.array(MEAN) / np.array(STD)).astype("f4")
    floats = np.moveaxis(expected.astype("f4") * scale + shift, -1, 1)
    for threads in (1, 2, 7):
        for dtype, result in (("uint8", expected), ("float32", floats), ("float16", floats.astype("f2"))):
            out = np.empty(result.shape, dtype)
            assert resize_crops_host(*packed, cuts, size, dtype=dtype, threads=threads, out=out) is out
            np.testing.assert_array_equal(out, result)
    # scale and shift are rounded, and so are product and sum: four roundings of numbers below 5, each of 2^-24 of them at most
    np.testing.assert_allclose(floats, reference(*packed, cuts, size, mean=MEAN, std=STD), rtol=0, atol=4 * 5 * 2**-24)


def test_normalisation_is_by_channel():
    (packed, cuts), size = mixed_batch(), MIXED_SIZE
    found = resize_crops_host(*packed, cuts, size, mean=(0, 0.25, 0.5), std=(1, 0.5, 2), threads=1)
    expected = reference(*packed, cuts, size, mean=(0, 0.25, 0.5), std=(1, 0.5, 2))
    np.testing.assert_allclose(found, expected, rtol=0, atol=4 * 2 * 2**-24)  # as above, numbers up to 2


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_with_jittor(dtype):
    from engine.runtime import jt

    (packed, cuts), size = mixed_batch(), MIXED_SIZE
    expected = resize_crops_host(*packed, cuts, size, dtype=dtype)
    for pixels in (packed[0], jt.array(packed[0])):
        found = resize_crops(pixels, packed[1], cuts, size, dtype=dtype)
        assert isinstance(found, jt.Var) and found.dtype == dtype
        np.testing.assert_array_equal(found.numpy(), expected)
    assert tuple(resize_crops(packed[0], packed[1], cuts[:0], size, dtype=dtype).shape) == (0, 3, 33, 41)


def test_no_cuts():
    for dtype, shape in (("uint8", (0, 4, 6, 3)), ("float32", (0, 3, 4, 6))):
        found = resize_crops_host(np.zeros(0, np.uint8), np.zeros(0, IMAGE), np.zeros(0, CUT), (4, 6), dtype=dtype)
        assert found.shape == shape and found.dtype == dtype


# Each image ends where a page begins that must not be touched; reading on would end the process.
AT_THE_END = """
import ctypes, mmap
import numpy as np
from engine.ops.crop_table import CUT, IMAGE
from engine.ops.resize_crops import resize_crops_host

room = 64 * mmap.PAGESIZE
memory = mmap.mmap(-1, room + mmap.PAGESIZE)
whole = np.frombuffer(memory, np.uint8)
assert ctypes.CDLL(None, use_errno=True).mprotect(ctypes.c_void_p(whole.ctypes.data + room), ctypes.c_size_t(mmap.PAGESIZE), 0) == 0
for width, height in [(1, 1), (1, 40), (40, 1), (17, 19), (5, 200), (201, 7)]:
    images = np.array([(room - 3 * width * height, height, width)], IMAGE)
    for size in [(1, 1), (9, 33), (64, 50), (3, 2)]:
        resize_crops_host(whole[:room], images, np.array([(0, *size, 0, 0)], CUT), size, threads=1)
print("untouched")
"""


def test_nothing_past_the_buffer_is_read():
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", AT_THE_END], env=environment, capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stdout.strip()) == (0, "untouched"), done.stderr


def test_the_host_path_never_imports_jittor():
    code = (
        "import sys, numpy as np; from engine.ops.crop_table import CUT, IMAGE; from engine.ops.resize_crops import resize_crops_host\n"
        "resize_crops_host(np.zeros(12, 'u1'), np.array([(0, 2, 2)], IMAGE), np.array([(0, 3, 3, 0, 0)], CUT), 3)\n"
        "assert 'jittor' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def test_mistakes_are_named():
    pixels, images = pack([noise(10, 8), noise(4, 4)])
    good = np.concatenate([cut_of(20, 16, image=1), cut_of(20, 16)])

    def refuses(match, *, pixels=pixels, images=images, cuts=good, size=(16, 20), **options):
        with pytest.raises(ValueError, match=match):
            resize_crops_host(pixels, images, cuts, size, **options)

    def changed(array, **fields):
        array = array.copy()
        for name, value in fields.items():
            array[name][1] = value
        return array

    refuses(r"cuts\[1\]: expected image in 0..1, found image=2, height=16, width=20, top=0, left=0", cuts=changed(good, image=2))
    refuses(r"cuts\[1\]: expected image in 0..1, found image=-1", cuts=changed(good, image=-1))
    refuses(r"cuts\[1\]: expected a resized height and width of at least 1, found .*height=0", cuts=changed(good, height=0))
    refuses(r"cuts\[1\]: expected top >= 0 and top \+ 16 <= height, found .*top=1", cuts=changed(good, top=1))
    refuses(r"cuts\[1\]: expected left >= 0 and left \+ 20 <= width, found .*left=-1", cuts=changed(good, left=-1))
    refuses(r"cuts\[1\]: expected left >= 0 and left \+ 20", cuts=changed(good, left=2**31 - 1))
    refuses(r"cuts\[0\]: expected top >= 0 and top \+ 17", size=(17, 20))
    refuses(r"cuts: expected \(n,\) CUT records, found \(2, 5\) int32", cuts=np.zeros((2, 5), np.int32))
    refuses(r"images\[1\]: expected it inside the 287 bytes", pixels=pixels[:-1])
    refuses(r"images\[1\]: expected height and width of at least 1", images=changed(images, width=0))
    refuses(r"pixels: expected \(bytes,\) uint8, found \(288,\) int8", pixels=pixels.view(np.int8))
    refuses(r"size=0: expected a whole number or \(h, w\)", size=0)
    refuses(r"std=\(1, 0, 1\)", std=(1, 0, 1))
    refuses(r"dtype='float64': expected one of float32, float16, uint8", dtype="float64")
    refuses(r"out: expected a contiguous, writeable \(2, 3, 16, 20\) float32, found \(2, 3, 16, 20\) float64", out=np.empty((2, 3, 16, 20)))
    refuses(r"threads=0: expected at least 1", threads=0)
    with pytest.raises(ValueError, match="dtype='uint8': expected one of float32, float16"):
        resize_crops(pixels, images, good, (16, 20), dtype="uint8")
