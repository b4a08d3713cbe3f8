"""The CUDA kernels of augment_crops: run on the CPU against the CPU path, to the bit, and compiled by nvcc where it is."""

import ctypes

import numpy as np
import pytest

from engine.ops import augment_crops as op
from engine.ops.augment_crops import augment_crops_host, most_taps
from engine.ops.crop_output import MEAN, STD
from tests.cuda_on_cpu.harness import call, driver
from tests.engine.data.samples import photo
from tests.engine.ops.crop_samples import pack, plain_crops, random_plan
from tests.engine.ops.nvcc import ARCHITECTURES, compile_launches

SIZES = [(61, 47), (23, 90), (1, 1), (130, 77)]  # width, height


@pytest.fixture(scope="module")
def packed():
    return pack([np.asarray(photo(width, height, seed=width)) for width, height in SIZES])


def kernel(packed, crops, size, dtype="float32", order="forward"):
    pixels, images = packed
    height, width = size
    out = np.full((len(crops), 3, height, width), np.nan, dtype)
    scale, shift = (1 / (255 * np.array(STD))).astype(np.float32), (-np.array(MEAN) / np.array(STD)).astype(np.float32)
    taps = most_taps(crops, height, width) if len(crops) else 0
    arguments = (pixels, ctypes.c_int64(pixels.size), images, ctypes.c_int64(len(images)), crops, len(crops), height, width, taps)
    call(driver("augment_crops").luss_emulate_augment_crops, *arguments, int(dtype == "float16"), scale, shift, out, order=order)
    return out


@pytest.mark.parametrize("order", ["forward", "reverse", "random"])
@pytest.mark.parametrize(("size", "dtype"), [((37, 41), "float32"), ((32, 33), "float16"), ((9, 70), "float32")])
def test_random_plans_equal_the_cpu_path_to_the_bit(packed, size, dtype, order):
    crops = random_plan(packed[1], 12, seed=size[1])
    ours = kernel(packed, crops, size, dtype, order=order)
    assert ours.tobytes() == augment_crops_host(*packed, crops, size, dtype=dtype).tobytes()


def test_all_orders_of_the_colour_steps_with_and_without_grey(packed):
    crops = random_plan(packed[1], 48, seed=5, jitter=1, blur=0)
    crops["order"], crops["grey"] = np.arange(48) % 24, np.arange(48) // 24
    assert np.array_equal(kernel(packed, crops, (17, 19)), augment_crops_host(*packed, crops, (17, 19)))


def test_widest_blur_single_pixels_and_fractions(packed):
    crops = plain_crops(6)
    crops["image"] = [0, 0, 2, 3, 3, 1]
    crops["width"], crops["height"] = [61, 1, 1, 64.5, 130, 11.25], [47, 1, 1, 30.25, 77, 3]
    crops["left"], crops["top"] = [0, 60, 0, 10.25, 0, 11.75], [0, 46, 0, 0.5, 0, 87]
    crops["blur"], crops["flip"] = [8, 0, 8, 0.1, 1.3, 0], [0, 1, 0, 1, 1, 0]
    for size in ((35, 40), (1, 1), (3, 2), (70, 5)):  # the second one passes through many chunks
        assert np.array_equal(kernel(packed, crops, size), augment_crops_host(*packed, crops, size))


@pytest.mark.parametrize("order", ["forward", "reverse", "random"])
@pytest.mark.parametrize("sigma", [0.3, 1.5, 2.0, 3.3, 8.0])  # boxes of radius 0, 1, 1, 2 and 7
def test_tiles_blur_like_the_whole_crop(packed, sigma, order):
    crops = plain_crops(2)
    crops["image"], crops["width"], crops["height"], crops["blur"], crops["grey"] = 3, 130, 77, sigma, [0, 1]
    assert np.array_equal(kernel(packed, crops, (77, 70), order=order), augment_crops_host(*packed, crops, (77, 70)))


def test_no_crops(packed):
    assert kernel(packed, plain_crops(0), (5, 5)).shape == (0, 3, 5, 5)


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_nvcc_compiles_what_jittor_is_given(tmp_path, architecture):
    compile_launches(tmp_path, op, FUNCTION, architecture)


FUNCTION = """
void run(unsigned char* in0_p, int* in1_p, int* in2_p, int64_t in2_shape0, %s* out0_p, int64_t out0_shape2, int64_t out0_shape3,
         unsigned char* out1_p, int* out2_p, int* out3_p, std::unordered_map<std::string, double> data) { %s }
"""
