"""The CUDA kernels of upsample_cross_entropy: run on the CPU against the reference, and compiled by nvcc where it is.

Tolerances: as for the CPU path (test_upsample_cross_entropy.py), whose exponential is better by 1.5e-7: 3e-6 at the 8th power.
"""

import numpy as np
import pytest

from engine.ops import upsample_cross_entropy as op
from engine.ops.upsample_cross_entropy import upsample_cross_entropy_host
from engine.ops.upsample_cross_entropy_reference import upsample_cross_entropy as reference
from tests.cuda_on_cpu.harness import call, driver
from tests.engine.ops.entropy_samples import gradient_bound, sample
from tests.engine.ops.nvcc import ARCHITECTURES, compile_launches

ORDERS = ["forward", "reverse", "random"]


def kernel(logits, labels, ignore=None, middle=None, order="forward", gradient=True):
    """(loss, accuracy, gradient)"""
    sizes = np.array(
        [*logits.shape, *(middle or (0, 0)), *labels.shape[1:], ignore is not None, ignore or 0, logits.dtype == np.float16, gradient], np.int32
    )
    figures, by_logits = np.full(2, -7, np.float32), np.full(logits.shape, -7, np.float32)
    call(driver("upsample_cross_entropy").luss_emulate_upsample_cross_entropy, logits, labels, sizes, figures, by_logits, order=order)
    return figures[0], figures[1], by_logits


def check(logits, labels, ignore=None, middle=None, order="forward"):
    loss, accuracy, gradient = kernel(logits, labels, ignore, middle, order)
    wanted = reference(logits, labels, ignore, middle)
    slack = 3e-6 + 2e-7 * float(np.abs(logits).max())
    np.testing.assert_allclose(loss, wanted[0], rtol=1e-6, atol=slack)
    assert (np.abs(gradient - wanted[2]) <= gradient_bound(wanted[2], labels, ignore, middle, slack)).all()
    host = upsample_cross_entropy_host(logits.astype(np.float32), labels, ignore, middle)
    assert accuracy == host[1]  # the largest logit is found among the same bits
    return loss, gradient


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(
    ("shape", "size", "middle"),
    [
        ((2, 5, 3, 2), (24, 29), None),
        ((1, 37, 2, 3), (32, 20), None),
        ((1, 7, 3, 3), (24, 20), (12, 9)),
        ((2, 3, 1, 1), (5, 40), None),
        ((1, 4, 5, 4), (5, 4), None),
    ],
)
def test_equals_the_reference(shape, size, middle, order):
    check(*sample(1, shape, size), middle=middle, order=order)


@pytest.mark.parametrize("classes", [257, 300, 1100])
def test_more_classes_than_threads_and_than_registers_hold(classes):
    check(*sample(2, (1, classes, 2, 1), (6, 4)), order="random")
    check(*sample(2, (1, classes, 3, 2), (9, 4)), middle=(6, 4))


def test_the_three_orders_give_the_same_bits():
    logits, labels = sample(3, (2, 40, 2, 2), (9, 21), ignore=7)
    found = [kernel(logits, labels, 7, order=order) for order in ORDERS]
    for other in found[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(found[0], other))


def test_half_precision_is_read_as_it_is():
    logits, labels = sample(4, (1, 6, 3, 3), (10, 12))
    check(logits.astype(np.float16), labels)


def test_ignored_pixels_images_without_any_and_far_apart_logits():
    logits, labels = sample(5, (3, 6, 2, 3), (12, 17), ignore=1000)
    labels[1] = 1000
    logits[2] *= 60  # beyond what powers may be used for
    loss, gradient = check(logits, labels, 1000)
    assert not gradient[1].any()
    labels[:] = 1000
    found = kernel(logits, labels, 1000)
    assert found[0] == 0 and found[1] == 0 and not found[2].any()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_reach_loss_and_gradient_of_their_image(value):
    logits, labels = sample(6, (2, 3, 2, 2), (5, 6))
    clean = kernel(logits, labels)[2]
    logits[1, 2, 0, 1] = value
    loss, accuracy, gradient = kernel(logits, labels)
    assert np.isnan(loss) and np.isnan(gradient[1]).all() and np.array_equal(gradient[0], clean[0])
    assert accuracy == upsample_cross_entropy_host(logits, labels)[1]


@pytest.mark.parametrize("scale", [3, 200])  # 200: every exponential by itself
def test_without_gradient_the_figures_are_the_same(scale):
    logits, labels = sample(7, (1, 9, 2, 2), (37, 24), scale=scale)
    full, figures = kernel(logits, labels), kernel(logits, labels, gradient=False)
    assert full[:2] == figures[:2] and (figures[2] == -7).all()


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_nvcc_compiles_what_jittor_is_given(tmp_path, architecture):
    compile_launches(tmp_path, op, FUNCTION, architecture)


FUNCTION = """
void run_%s(void* in0_p, int64_t in0_shape0, int64_t in0_shape1, int64_t in0_shape2, int64_t in0_shape3, int* in1_p, int64_t in1_shape1,
            int64_t in1_shape2, int* in2_p, int* in3_p, int64_t in3_shape0, int* in4_p, int* in5_p, int64_t in5_shape0, float* out0_p, float* out1_p,
            unsigned char* out2_p, float* out3_p, std::unordered_map<std::string, double> data) { %s }
"""
