"""Cross-entropy of enlarged logits: CPU path, Jittor and reference held together, gradients, ties, NaN, refusals.

Tolerances: a power e r^j has a relative error below 2e-6 (engine/ops/cpu/cross_entropy_run.h), and interpolating in float adds 1e-7 of the
largest difference of logits, at most twice the largest. With logits up to 12 that is 4e-6 of every probability, thus of either mean whose
difference a gradient is, and absolutely of the loss.
"""

import ctypes
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.ops import upsample_cross_entropy as op
from engine.ops.backend import backend
from engine.ops.kernel_folder import kernel_folder
from engine.ops.upsample_argmax_reference import bilinear_matrix
from engine.ops.upsample_cross_entropy import RUN, axis_table, upsample_cross_entropy, upsample_cross_entropy_host
from engine.ops.upsample_cross_entropy_reference import upsample_cross_entropy as reference
from engine.runtime import jt
from engine.runtime.native import load_native
from tests.engine.ops.entropy_samples import gradient_bound, sample


def tolerance(logits):
    return 2e-6 + 2e-7 * float(np.abs(logits).max())


def check(found, logits, labels, ignore=None, middle=None):
    loss, accuracy, gradient = reference(logits, labels, ignore, middle)
    slack = tolerance(logits)
    np.testing.assert_allclose(found[0], loss, rtol=1e-6, atol=slack)
    assert (np.abs(found[2] - gradient) <= gradient_bound(gradient, labels, ignore, middle, slack)).all()
    clear = 1e-6 * logits.size  # a tie in float is none in the reference; random logits hardly ever tie
    assert abs(found[1] - accuracy) * labels.size <= clear + 0.5


sizes = st.tuples(st.integers(1, 3), st.integers(1, 40), st.integers(1, 6), st.integers(1, 6))


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 10_000), sizes, st.integers(1, 50), st.integers(1, 50), st.booleans(), st.integers(1, 3), st.sampled_from([0.01, 1, 3]))
def test_equals_the_reference(seed, shape, height, width, some_ignored, threads, scale):
    ignore = 1000 if some_ignored else None
    logits, labels = sample(seed, shape, (height, width), ignore, scale)
    check(upsample_cross_entropy_host(logits, labels, ignore, threads=threads), logits, labels, ignore)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10_000), sizes, st.tuples(st.integers(0, 9), st.integers(0, 9)), st.integers(1, 40), st.integers(1, 40))
def test_two_steps_equal_the_reference(seed, shape, more, height, width):
    middle = (shape[2] + more[0], shape[3] + more[1])
    logits, labels = sample(seed, shape, (height, width))
    check(upsample_cross_entropy_host(logits, labels, None, middle), logits, labels, None, middle)


@pytest.mark.parametrize("size", [(112, 112), (56, 56), (224, 224)])
def test_sizes_of_training(size):
    logits, labels = sample(0, (2, 51, 7, 7), size)
    check(upsample_cross_entropy_host(logits, labels), logits, labels)


def test_one_hand_made_pixel():
    logits = np.log(np.array([1, 2, 5], np.float32)).reshape(1, 3, 1, 1)
    loss, accuracy, gradient = upsample_cross_entropy_host(logits, np.array([[[2, 1]]]))
    assert loss == pytest.approx(-(np.log(5 / 8) + np.log(2 / 8)) / 2, abs=1e-7) and accuracy == 0.5
    np.testing.assert_allclose(gradient.ravel(), [1 / 8, 2 / 8 - 0.5, 5 / 8 - 0.5], atol=1e-7)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([15, 40, 100, 1e4]), st.integers(2, 40))
def test_far_apart_logits_take_the_slow_way_and_stay_right(seed, scale, classes):
    logits, labels = sample(seed, (1, classes, 3, 2), (21, 17), scale=scale)
    loss, accuracy, gradient = upsample_cross_entropy_host(logits, labels)
    wanted = reference(logits, labels)
    np.testing.assert_allclose(loss, wanted[0], rtol=1e-5, atol=1e-6)
    # a probability is off by a factor of at most exp(2e-7 largest); beyond that nearly all are 0 or 1
    assert (np.abs(gradient - wanted[2]) <= gradient_bound(wanted[2], labels, None, None, np.expm1(min(1.0, tolerance(logits))))).all()


def test_logits_near_the_end_of_the_range_give_finite_figures():
    logits, labels = sample(0, (1, 6, 3, 2), (21, 17), scale=1e37)
    loss, accuracy, gradient = upsample_cross_entropy_host(logits, labels)
    wanted = reference(logits, labels)
    np.testing.assert_allclose(loss, wanted[0], rtol=1e-5)
    assert abs(accuracy - wanted[1]) < 1e-6 and np.isfinite(gradient).all()


def test_a_class_that_wins_between_two_deep_corners():
    logits = np.zeros((1, 3, 1, 2), np.float32)
    logits[0, 0] = [0, -300]  # at the middle -150, where class 2 has -160: all powers would be 0 there
    logits[0, 1] = [-300, 0]
    logits[0, 2] = [-160, -160]
    labels = np.full((1, 1, 33), 2, np.int32)
    check(upsample_cross_entropy_host(logits, labels), logits, labels)


def test_ties_count_as_right_and_shifts_change_nothing():
    logits, labels = np.full((1, 5, 2, 2), 0.3, np.float32), sample(0, (1, 5, 2, 2), (8, 9))[1]
    loss, accuracy, _ = upsample_cross_entropy_host(logits, labels)
    assert accuracy == 1 and loss == pytest.approx(np.log(5), abs=1e-6)
    logits, labels = sample(1, (1, 5, 2, 2), (8, 9))
    whole = np.round(logits * 8)  # so that adding is exact
    shifted = whole + np.arange(4, dtype=np.float32).reshape(1, 1, 2, 2) * 64
    for one, other in zip(upsample_cross_entropy_host(whole, labels), upsample_cross_entropy_host(shifted, labels)):
        assert np.array_equal(one, other)


def test_results_do_not_depend_on_the_number_of_threads():
    logits, labels = sample(2, (3, 70, 5, 7), (60, 50), ignore=-1)
    first = upsample_cross_entropy_host(logits, labels, -1, threads=1)
    for threads in (2, 3, 7):
        assert all(np.array_equal(a, b) for a, b in zip(first, upsample_cross_entropy_host(logits, labels, -1, threads=threads)))
    figures = upsample_cross_entropy_host(logits, labels, -1, gradient=False)
    assert figures[:2] == first[:2] and figures[2] is None


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_reach_loss_and_gradient_of_their_image(value):
    logits, labels = sample(3, (3, 18, 2, 3), (9, 8))
    clean = upsample_cross_entropy_host(logits, labels)
    logits[1, 17, 1, 2] = value
    loss, accuracy, gradient = upsample_cross_entropy_host(logits, labels)
    assert np.isnan(loss) and np.isnan(gradient[1]).all()
    assert np.array_equal(gradient[[0, 2]], clean[2][[0, 2]]) and accuracy < clean[1]
    labels[1] = 99  # nothing counts there: no trace of it
    loss, _, gradient = upsample_cross_entropy_host(logits, labels, 99)
    assert np.isfinite(loss) and not gradient[1].any()


def test_no_counting_pixel_gives_zero():
    logits, labels = sample(4, (2, 3, 2, 2), (5, 5))
    labels[:] = 7
    loss, accuracy, gradient = upsample_cross_entropy_host(logits, labels, 7)
    assert loss == 0 and accuracy == 0 and not gradient.any()


@pytest.mark.parametrize("middle", [None, (5, 8)])
def test_gradient_by_finite_differences_of_the_reference(middle):
    logits, labels = sample(5, (2, 4, 3, 4), (10, 13), ignore=9)
    gradient = upsample_cross_entropy_host(logits, labels, 9, middle)[2]
    rng, step = np.random.default_rng(0), 1e-4
    for _ in range(5):
        direction = rng.standard_normal(logits.shape)
        above, below = (reference(logits.astype(np.float64) + sign * step * direction, labels, 9, middle)[0] for sign in (1, -1))
        # central differences: step^2 times a third derivative of about 1, and the gradient's own 3e-6
        assert (gradient * direction).sum() == pytest.approx((above - below) / (2 * step), rel=1e-5, abs=1e-7)


def test_jittor_gives_the_same_with_its_gradient():
    logits, labels = sample(6, (2, 9, 3, 4), (13, 22), ignore=9)
    x = jt.array(logits)
    loss, accuracy = upsample_cross_entropy(x, labels, 9)
    gradient = jt.grad(3 * loss, x)
    host = upsample_cross_entropy_host(logits, labels, 9)
    assert loss.shape == [1] and loss.item() == host[0] and accuracy.item() == host[1]
    np.testing.assert_allclose(gradient.numpy(), 3 * host[2], rtol=1e-6)
    with jt.no_grad():
        loss, accuracy = upsample_cross_entropy(x, jt.array(labels), 9, (6, 8))
    assert loss.item() == upsample_cross_entropy_host(logits, labels, 9, (6, 8))[0]


def test_gradient_reaches_what_the_logits_came_from():
    logits, labels = sample(7, (1, 5, 2, 2), (6, 6))
    x = jt.array(logits)
    loss, accuracy = upsample_cross_entropy(x * 2, labels)
    assert np.allclose(jt.grad(loss + accuracy, x).numpy(), 2 * upsample_cross_entropy_host(2 * logits, labels)[2], rtol=1e-6)


def test_reference_backend_gives_reference_figures():
    logits, labels = sample(8, (1, 5, 2, 2), (6, 6))
    wanted = reference(logits, labels)
    with backend("reference"):
        host = upsample_cross_entropy_host(logits, labels)
        x = jt.array(logits)
        loss, accuracy = upsample_cross_entropy(x, labels)
        gradient = jt.grad(2 * loss, x).numpy()
    assert host[0] == np.float32(wanted[0]) and np.array_equal(host[2], wanted[2].astype(np.float32))
    assert loss.item() == host[0] and accuracy.item() == host[1] and np.array_equal(gradient, 2 * host[2])


@pytest.mark.parametrize("middle", [None, (8, 8)])
def test_it_is_the_loss_that_training_used_before(middle):
    """Against enlargement, softmax and picking by Jittor operations, whose float32 sums are good to about 1e-6."""
    from engine.ops.upsample import upsample_bilinear

    logits, labels = sample(9, (4, 7, 4, 4), (32, 32))
    x = jt.array(logits)
    full = upsample_bilinear(x if middle is None else upsample_bilinear(x, middle), (32, 32))
    onehot = jt.array((np.arange(7)[:, None, None] == labels[:, None]).astype(np.float32))
    plain = -(jt.nn.log_softmax(full, dim=1) * onehot).sum(1).mean()
    loss, accuracy = upsample_cross_entropy(x, labels, None, middle)
    exact = reference(logits, labels, None, middle)
    assert loss.item() == pytest.approx(plain.item(), rel=3e-6) and loss.item() == pytest.approx(exact[0], rel=1e-6)
    old, new = (jt.grad(value, x).numpy() for value in (plain, loss))
    np.testing.assert_allclose(new, old, atol=5e-6 * np.abs(old).max())
    assert np.abs(new - exact[2]).max() <= 3 * np.abs(old - exact[2]).max() + 1e-7 * np.abs(old).max()  # no worse than it was
    assert accuracy.item() == (full.numpy().argmax(1) == labels).mean()


AXES = [(7, 0, 112), (7, 0, 56), (1, 0, 40), (5, 0, 5), (6, 0, 4), (14, 56, 112), (3, 4, 31), (2, 2, 9)]


@pytest.mark.parametrize(("source", "middle", "target"), AXES)
def test_runs_make_up_the_interpolation_matrix(source, middle, target):
    runs, windows = axis_table(source, middle, target)
    matrix, next_ = np.zeros((target, source + 3)), 0
    for run in runs.view(RUN).ravel():
        for j in range(run["pixels"]):
            for copy in range(run["copies"]):
                assert run["first"] + j * run["copies"] + copy == next_
                matrix[next_, run["tap"] : run["tap"] + 3] += run["start"] + j * run["step"]
                next_ += 1
    assert next_ == target and not matrix[:, source:].any()
    wanted = bilinear_matrix(middle, target) @ bilinear_matrix(source, middle) if middle else bilinear_matrix(source, target)
    np.testing.assert_allclose(matrix[:, :source], wanted, atol=1e-6)  # 15 steps of 6e-8 / 2
    taps = runs.view(RUN)["tap"].ravel()
    assert windows.tolist() == [0, *(np.flatnonzero(np.diff(taps)) + 1).tolist(), len(runs)] and (np.diff(taps) >= 0).all()


def test_exponential_is_good_to_its_bound():
    library = load_native(Path(__file__).with_name("exp_lanes_sample.cc"), (Path(op.__file__).parent, kernel_folder()))
    x = np.concatenate([np.linspace(-87, 88, 400_000), -np.logspace(-30, 1, 1000), [0, -87.5, -1e30, -(2.0**126)]]).astype(np.float32)
    x = np.concatenate([x, np.zeros(-len(x) % 16, np.float32)])
    found = np.empty_like(x)
    library.luss_sample_exp(ctypes.c_void_p(x.ctypes.data), ctypes.c_void_p(found.ctypes.data), ctypes.c_int64(len(x)))
    wanted = np.exp(x.astype(np.float64))
    inside = x >= -87
    assert (np.abs(found[inside] / wanted[inside] - 1)).max() < 1.5e-7 and not found[~inside].any()


LOGITS, LABELS = sample(0, (2, 4, 3, 3), (5, 6))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"logits": LOGITS[0]}, r"logits: expected a non-empty \(n, K, h, w\) of float32, found \(4, 3, 3\)"),
        ({"logits": LOGITS.astype(np.float64)}, "logits: expected .* float64"),
        ({"logits": LOGITS[:, :0]}, r"logits: expected a non-empty .* found \(2, 0, 3, 3\)"),
        ({"labels": LABELS[:1]}, r"labels: expected non-empty \(2, H, W\) integers, found \(1, 5, 6\)"),
        ({"labels": LABELS.astype(np.float32)}, "labels: expected .* float32"),
        ({"labels": LABELS - 1}, r"labels: expected ids in 0\.\.3, found -1\.\.-1"),
        ({"labels": LABELS + 1}, r"labels: expected ids in 0\.\.3, found 4\.\.4"),
        ({"labels": LABELS * 0 + 1000, "ignore": 999}, r"labels: expected ids in 0\.\.3 or 999, found 1000\.\.1000"),
        ({"middle": (2, 9)}, r"middle: expected a size of at least \(3, 3\), the logits', found \(2, 9\)"),
        ({"middle": (3.5, 4)}, r"middle: expected .* found \(3.5, 4\)"),
        ({"labels": LABELS.astype(np.int64) * 0 + 2**32, "ignore": 2**32}, "ignore=4294967296: expected a whole number of 32 bits"),
        ({"ignore": 0.5}, "ignore=0.5"),
        ({"threads": 0}, "threads=0"),
    ],
)
def test_what_does_not_fit_is_refused(changed, message):
    with pytest.raises(ValueError, match=message):
        upsample_cross_entropy_host(**{"logits": LOGITS, "labels": LABELS, **changed})
