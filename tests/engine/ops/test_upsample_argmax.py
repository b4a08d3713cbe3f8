"""Label maps from enlarged logits: the CPU path against the float64 reference, exact away from ties, and its rules for ties and NaN."""

import ctypes
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.ops import upsample_argmax as op
from engine.ops.backend import backend
from engine.ops.kernel_folder import kernel_folder
from engine.ops.upsample_argmax import enlarge_map, upsample_argmax, upsample_argmax_host
from engine.ops.upsample_argmax_reference import bilinear_matrix, enlarge, enlarged_logits
from engine.ops.upsample_argmax_reference import upsample_argmax as reference
from engine.ops.upsample_reference import upsample_bilinear
from engine.runtime.jittor_setup import find_compiler
from engine.runtime.native import FLAGS

# Of the size of the numbers: each value has at most 8.1 roundings of 2^-24 (bilinear_taps.h), two values change places within twice that
BAND = 2 * 8.1 * 2.0**-24


def agrees(found, logits, size, **options):
    """Whether labels are the reference's wherever its largest value leads by more than rounding can move."""
    values = enlarged_logits(logits.astype(np.float32), size, **options)
    expected = values.argmax(0)
    lead = values.max(0) - np.take_along_axis(values, found[None].astype(np.int64), 0)[0]
    assert found.shape == tuple(size) and found.dtype == np.int32
    return bool(((found == expected) | (lead <= BAND * np.abs(logits.astype(np.float64)).max())).all())


shapes = st.tuples(st.integers(1, 40), st.integers(1, 6), st.integers(1, 40))  # k, h, w: more columns than a vector has lanes


@settings(deadline=None, max_examples=200)
@given(shapes, st.integers(1, 50), st.integers(1, 90), st.sampled_from(["float32", "float16"]), st.integers(0, 10**6))
def test_equals_the_reference_away_from_ties(shape, height, width, dtype, seed):
    rng = np.random.default_rng(seed)
    logits = (rng.standard_normal(shape) * 10.0 ** rng.integers(-3, 4) + rng.integers(-1, 2) * 30).astype(dtype)
    (found,) = upsample_argmax_host(logits[None], [(height, width)], threads=1)
    assert agrees(found, logits, (height, width))


@settings(deadline=None, max_examples=100)
@given(shapes, st.integers(1, 50), st.integers(1, 90), st.integers(0, 5), st.integers(0, 90), st.integers(0, 10**6))
def test_two_steps_equal_the_reference_away_from_ties(shape, height, width, more_rows, more_columns, seed):
    logits = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    middle = (shape[1] + more_rows, shape[2] + more_columns)
    (found,) = upsample_argmax_host(logits[None], [(height, width)], middle=middle, threads=1)
    assert agrees(found, logits, (height, width), middle=middle)


@settings(deadline=None, max_examples=100)
@given(shapes, st.integers(1, 50), st.integers(1, 90), st.integers(1, 20), st.integers(0, 10**6))
def test_grids_and_max_res_are_looked_up_by_nearest(shape, height, width, side, seed):
    logits = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    (found,) = upsample_argmax_host(logits[None], [(height, width)], grid=(side, 2 * side), threads=1)
    assert agrees(found, logits, (height, width), grid=(side, 2 * side))
    (found,) = upsample_argmax_host(logits[None], [(height, width)], max_res=side, threads=1)
    assert agrees(found, logits, (height, width), max_res=side)


@settings(deadline=None, max_examples=100)
@given(st.integers(2, 6), st.integers(1, 5), st.integers(1, 20), st.integers(1, 4), st.integers(1, 3), st.sampled_from([1, 2]), st.integers(0, 10**6))
def test_equal_values_give_the_smallest_class(k, h, w, rows, columns, steps, seed):
    """Whole numbers enlarged by powers of two: every value is exact, so labels are the reference's everywhere, ties included."""
    logits = np.random.default_rng(seed).integers(-2, 3, (1, k, h, w)).astype(np.float32)
    size = np.array([(h << rows, w << columns)])
    middle = None if steps == 1 else (2 * h, 2 * w)
    (found,) = upsample_argmax_host(logits, size, middle=middle, threads=1)
    assert np.array_equal(found, reference(logits, size, middle=middle)[0])


@settings(deadline=None, max_examples=100)
@given(st.integers(1, 6), st.integers(1, 5), st.integers(1, 20), st.sampled_from([1, 2]), st.integers(0, 10**6))
def test_nan_is_largest_and_weight_0_has_no_part(k, h, w, steps, seed):
    """Exact arithmetic as above; the reference's argmax is NumPy's, for which the first NaN is the largest."""
    rng = np.random.default_rng(seed)
    logits = rng.integers(-2, 3, (1, k, h, w)).astype(np.float32)
    for value in (np.nan, np.inf, -np.inf):
        logits[rng.random(logits.shape) < 0.05] = value
    size = np.array([(8 * h, 4 * w)])
    middle = None if steps == 1 else (2 * h, 2 * w)
    (found,) = upsample_argmax_host(logits, size, middle=middle, threads=1)
    assert np.array_equal(found, reference(logits, size, middle=middle)[0])


def test_attention_below_the_threshold_is_0():
    rng = np.random.default_rng(5)
    logits, attention = rng.standard_normal((2, 7, 3, 4)).astype(np.float32), rng.random((2, 6, 8), np.float32)
    attention[0, 2, 3] = np.nan
    sizes = np.array([(31, 45), (8, 7)])
    plain = upsample_argmax_host(logits, sizes, threads=1)
    found = upsample_argmax_host(logits, sizes, attention=attention, threshold=0.41, first_id=3)
    for map_, labels, full, size in zip(attention, found, plain, sizes):
        enlarged = enlarge_map(map_, tuple(size))
        assert np.array_equal(labels, np.where(enlarged < np.float32(0.41), 0, full + 3))
        assert (labels == 0).any() and (labels > 0).any()


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 6), st.integers(1, 40), st.integers(1, 40), st.integers(1, 90), st.integers(0, 10**6))
def test_enlarge_map_equals_the_reference(h, w, height, width, seed):
    x = np.random.default_rng(seed).random((h, w), np.float32)
    # values below one; six roundings of 2^-24 each
    np.testing.assert_allclose(enlarge_map(x, (height, width)), upsample_bilinear(x[None, None], (height, width))[0, 0], rtol=0, atol=6 * 2.0**-24)


def test_the_reference_enlarges_as_the_other_reference_does():
    x = np.random.default_rng(0).standard_normal((3, 5, 7))
    np.testing.assert_allclose(enlarge(x, bilinear_matrix(5, 13), bilinear_matrix(7, 9)), upsample_bilinear(x[None], (13, 9))[0], rtol=0, atol=1e-14)


def test_threads_do_not_change_the_labels():
    logits = np.random.default_rng(6).standard_normal((3, 30, 5, 19)).astype(np.float32)
    sizes = np.array([(40, 33), (5, 70), (64, 1)])
    for options in ({}, {"middle": (20, 76)}):
        one, three = (upsample_argmax_host(logits, sizes, **options, threads=threads) for threads in (1, 3))
        assert all(np.array_equal(a, b) for a, b in zip(one, three))


@pytest.mark.slow
@pytest.mark.parametrize("processor", ["x86-64", "haswell"])
def test_narrower_vectors_give_the_same_labels(tmp_path, monkeypatch, processor):
    if processor == "haswell" and not {"avx2", "fma"} <= set(Path("/proc/cpuinfo").read_text().split()):
        pytest.skip("this processor has no AVX2")
    source, library = Path(op.__file__).with_suffix(".cc"), tmp_path / "narrow.so"
    flags = [flag for flag in FLAGS if not flag.startswith("-march")]
    subprocess.run([find_compiler(), *flags, f"-march={processor}", f"-I{kernel_folder()}", str(source), "-o", str(library)], check=True)
    rng = np.random.default_rng(8)
    logits, attention, sizes = rng.standard_normal((2, 37, 4, 21)), rng.random((2, 5, 9), np.float32), [(40, 133), (7, 5)]
    every = [(dtype, middle) for dtype in ("float32", "float16") for middle in (None, (16, 84))]
    calls = [lambda a=a: upsample_argmax_host(logits.astype(a[0]), sizes, middle=a[1], attention=attention, threshold=0.4) for a in every]
    expected = [call() for call in calls]
    narrow = ctypes.CDLL(str(library))
    monkeypatch.setattr(op, "library", lambda: narrow)
    for call, wide in zip(calls, expected):
        assert all(np.array_equal(a, b) for a, b in zip(call(), wide))


def test_jittor_gives_the_same_and_so_does_the_reference_backend():
    from engine.runtime import jt

    rng = np.random.default_rng(7)
    logits, attention, sizes = rng.standard_normal((2, 6, 3, 4)).astype(np.float32), rng.random((2, 5, 5), np.float32), [(20, 31), (9, 8)]
    options = {"middle": (12, 16), "threshold": 0.3, "first_id": 1, "max_res": 12}
    expected = upsample_argmax_host(logits, sizes, attention=attention, **options)
    for pair in ((jt.array(logits), jt.array(attention)), (logits, attention)):
        ours = upsample_argmax(pair[0], sizes, attention=pair[1], **options)
        assert len(ours) == 2 and all(np.array_equal(a, b) for a, b in zip(ours, expected))
    with backend("reference"):
        ours = upsample_argmax(jt.array(logits), sizes, attention=jt.array(attention), **options)
    assert all(np.array_equal(a, b) for a, b in zip(ours, expected))  # random numbers: no two values within rounding


def test_whole_numbers_of_numpy_are_numbers():
    logits = np.random.default_rng(8).standard_normal((1, 3, 2, 2)).astype(np.float32)
    plain = upsample_argmax_host(logits, [(9, 7)], grid=(4, 5), first_id=1)
    found = upsample_argmax_host(logits, [(9, 7)], grid=tuple(np.array([4, 5])), first_id=np.int64(1), max_res=np.int64(0))
    assert np.array_equal(found[0], plain[0])


def test_no_images():
    assert upsample_argmax_host(np.zeros((0, 3, 2, 2), np.float32), []) == []
    assert upsample_argmax(np.zeros((0, 3, 2, 2), np.float32), []) == []


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"logits": np.zeros((1, 0, 2, 2), np.float32)}, r"logits: expected a non-empty .* found \(1, 0, 2, 2\)"),
        ({"logits": np.zeros((3, 2, 2), np.float32)}, r"logits: .* found \(3, 2, 2\)"),
        ({"logits": np.zeros((1, 3, 2, 2))}, "logits: .* float64"),
        ({"sizes": [(3, 4), (5, 6)]}, r"sizes: expected \(1, 2\) integers, found \(2, 2\)"),
        ({"sizes": [(3.5, 4)]}, "sizes: .* float64"),
        ({"sizes": [(0, 4)]}, r"sizes: expected sides from 1 to 65536, found 0\.\.4"),
        ({"sizes": [(65536, 65536)]}, "sizes: expected up to 2147483647 pixels an image, found 4294967296"),
        ({"middle": (1, 2)}, r"middle: expected \(rows, columns\) from \(2, 2\) to 65536, found \(1, 2\)"),
        ({"grid": (0, 2)}, r"grid: .* found \(0, 2\)"),
        ({"grid": (2.5, 2)}, r"grid: .* found \(2.5, 2\)"),
        ({"middle": (2, 2.5)}, r"middle: .* found \(2, 2.5\)"),
        ({"first_id": 0.5}, "first_id=0.5: expected a whole number"),
        ({"first_id": 2**31 - 2}, "first_id=2147483646: expected"),
        ({"attention": np.zeros((2, 4, 4), np.float32)}, r"attention: expected a non-empty \(1, h, w\) float32, found \(2, 4, 4\)"),
        ({"attention": np.zeros((1, 4, 4))}, "attention: .* float64"),
        ({"threads": 0}, "threads=0"),
    ],
)
def test_what_does_not_fit_is_refused(changed, message):
    given_ = {"logits": np.zeros((1, 3, 2, 2), np.float32), "sizes": [(3, 4)], **changed}
    with pytest.raises(ValueError, match=message):
        upsample_argmax_host(given_.pop("logits"), given_.pop("sizes"), **given_)
