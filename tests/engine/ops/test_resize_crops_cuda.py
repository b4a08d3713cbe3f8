"""The CUDA kernel of resize_crops: run on the CPU against the CPU path, to the bit, and compiled by nvcc where it is; its tables."""

import ctypes

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.ops import resize_crops as op
from engine.ops.crop_output import MEAN, STD, affine
from engine.ops.crop_table import CUT
from engine.ops.resize_crops import resize_crops_host, resize_tables
from tests.cuda_on_cpu.harness import call, driver
from tests.engine.ops.cut_samples import MIXED_SIZE, cut_of, mixed_batch, pack
from tests.engine.ops.nvcc import ARCHITECTURES, compile_launches


def kernel(packed, cuts, size, dtype="float32", order="forward"):
    pixels, images = packed
    out = np.full((len(cuts), 3, *size), np.nan, dtype)
    axes, taps = resize_tables(images, cuts, size)
    lengths = [ctypes.c_int64(len(array)) for array in (pixels, images, taps)]
    arguments = (pixels, lengths[0], np.ascontiguousarray(images), lengths[1], cuts, axes, taps, lengths[2], len(cuts), *size)
    call(driver("resize_crops").luss_emulate_resize_crops, *arguments, int(dtype == "float16"), *affine(MEAN, STD)[:2], out, order=order)
    return out


@pytest.mark.parametrize("order", ["forward", "reverse", "random"])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_mixed_batch_equals_the_cpu_path_to_the_bit(dtype, order):
    packed, cuts = mixed_batch()
    expected = resize_crops_host(*packed, cuts, MIXED_SIZE, dtype=dtype)
    assert kernel(packed, cuts, MIXED_SIZE, dtype, order).tobytes() == expected.tobytes()


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 70), st.integers(1, 70), st.data())
def test_any_cut_equals_the_cpu_path_to_the_bit(width, height, new_width, new_height, data):
    size = data.draw(st.integers(1, new_height)), data.draw(st.integers(1, new_width))
    cuts = cut_of(new_width, new_height, data.draw(st.integers(0, new_width - size[1])), data.draw(st.integers(0, new_height - size[0])))
    packed = pack([np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8)])
    assert np.array_equal(kernel(packed, cuts, size), resize_crops_host(*packed, cuts, size))


@pytest.mark.parametrize(
    ("source", "target"), [((1, 2000), (3, 2)), ((2000, 1), (2, 3)), ((1000, 3), (1, 40)), ((400, 401), (5, 1)), ((3, 900), (33, 2))]
)
def test_long_filters_pass_through_many_chunks(source, target):
    packed = pack([np.random.default_rng(1).integers(0, 256, (*source, 3), dtype=np.uint8)])
    cuts = cut_of(target[1], target[0])
    assert np.array_equal(kernel(packed, cuts, target), resize_crops_host(*packed, cuts, target))


def test_no_cuts():
    packed, cuts = mixed_batch()
    assert kernel(packed, cuts[:0], (5, 5)).shape == (0, 3, 5, 5)


def test_tables_hold_each_axis_once_and_say_what_the_weights_are():
    packed, cuts = mixed_batch()
    axes, taps = resize_tables(packed[1], cuts, MIXED_SIZE)
    assert axes.shape == (8, 3) and axes.dtype == taps.dtype == np.int32
    assert axes[0, 0] == axes[0].min() == 0 and axes[:, 2].tolist() == [0, 1, 0, 0, 0, 1, 0, 0]  # 75 x 300 to 50 x 100 is the tall one
    twice = np.concatenate([cuts, cuts])
    again, more = resize_tables(packed[1], twice, MIXED_SIZE)
    assert np.array_equal(more, taps) and np.array_equal(again, np.concatenate([axes, axes]))
    for cut, places in zip(cuts, axes):
        image = packed[1][cut["image"]]
        for begin, start, target, extent, length in zip(
            places, (cut["top"], cut["left"]), (cut["height"], cut["width"]), image.tolist()[1:], MIXED_SIZE
        ):
            table = taps[begin : begin + 2 * length + 2].reshape(-1, 2)
            scale = extent / target
            for i, ((first, at), (_, end)) in enumerate(zip(table, table[1:])):
                # the triangle of half-width max(scale, 1) around the pixel's centre, sampled at the centres of the source pixels
                pixels = np.arange(extent)
                weights = np.clip(1 - abs(pixels + 0.5 - (start + i + 0.5) * scale) / max(scale, 1), 0, None)
                found = np.zeros(extent)
                found[first : first + end - at] = taps[at:end] / (1 << 22)
                assert 1 <= end - at <= extent - first
                # rounding to 2^-22 moves a weight by half of that; the formula's own rounding is far below a hundredth of it
                assert abs(found - weights / weights.sum()).max() <= 0.51 / (1 << 22)


def test_tables_too_large_for_32_bits_are_refused():
    images = np.array([(0, 1, 1 << 28)], [("offset", "<i8"), ("height", "<i4"), ("width", "<i4")])
    cuts = np.zeros(10, CUT)
    cuts["height"], cuts["width"] = 1, 100 + np.arange(10)
    with pytest.raises(ValueError, match="the filters of 10 cuts have .* expected less than 2.31: split them"):
        resize_tables(images, cuts, (1, 100))


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_nvcc_compiles_what_jittor_is_given(tmp_path, architecture):
    compile_launches(tmp_path, op, FUNCTION, architecture)


FUNCTION = """
void run(unsigned char* in0_p, int* in1_p, int* in2_p, int64_t in2_shape0, int* in3_p, int* in4_p, %s* out0_p, int64_t out0_shape2,
         int64_t out0_shape3, std::unordered_map<std::string, double> data) { %s }
"""
