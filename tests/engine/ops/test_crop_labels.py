"""Crops of label maps: CPU path and kernel against the reference, the reference against the existing look-up, faults."""

import ctypes

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.data.label_crops import label_indices
from engine.ops.crop_labels import crop_labels, crop_labels_host
from engine.ops.crop_labels_reference import crop_labels as reference
from tests.cuda_on_cpu.harness import call, driver
from tests.engine.ops.crop_samples import pack


def sample(seed, count, height, width):
    """(maps, records, numbers, rows, columns)"""
    rng = np.random.default_rng(seed)
    shapes = rng.integers(1, 40, (4, 2))
    maps, records = pack([rng.integers(0, 1 << 16, shape).astype(np.uint16) for shape in shapes])
    numbers = rng.integers(0, 4, count).astype(np.int32)
    rows = (rng.random((count, height)) * shapes[numbers, 0][:, None]).astype(np.int32)
    columns = (rng.random((count, width)) * shapes[numbers, 1][:, None]).astype(np.int32)
    return maps, records, numbers, rows, columns


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 5), st.integers(1, 50), st.integers(1, 50), st.sampled_from([1, 2, 3]))
def test_equals_the_reference(seed, count, height, width, threads):
    given_ = sample(seed, count, height, width)
    found = crop_labels_host(*given_, threads=threads)
    assert found.dtype == np.int32 and np.array_equal(found, reference(*given_))


@pytest.mark.parametrize("order", ["forward", "reverse", "random"])
def test_kernel_equals_the_reference(order):
    maps, records, numbers, rows, columns = sample(3, 5, 37, 41)
    out = np.full((5, 37, 41), -7, np.int32)
    arguments = (maps, ctypes.c_int64(maps.size), records, ctypes.c_int64(len(records)), numbers, rows, columns, 5, 37, 41, out)
    call(driver("crop_labels").luss_emulate_crop_labels, *arguments, order=order)
    assert np.array_equal(out, reference(maps, records, numbers, rows, columns))


def test_shows_the_labels_under_a_flipped_crop():
    label = np.arange(12, dtype=np.uint16).reshape(3, 4)
    rows, columns = label_indices((4, 3), (4, 3), (1, 0, 3, 2), True, 6)
    found = crop_labels_host(*pack([label]), np.array([0]), rows[None], columns[None])
    assert found[0, [0, 0, 5, 5], [0, 5, 0, 5]].tolist() == [3, 1, 7, 5]
    assert np.array_equal(found[0], label[rows[:, None], columns])


def test_jittor_gives_the_same():
    given_ = sample(1, 3, 9, 8)
    found = crop_labels(*given_)
    assert str(found.dtype) == "int32" and np.array_equal(found.numpy(), reference(*given_))
    empty = sample(1, 0, 9, 8)
    assert tuple(crop_labels(*empty).shape) == (0, 9, 8)


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("numbers", -1, r"numbers: expected 0\.\.3, found -1"),
        ("numbers", 4, r"found .*\.\.4"),
        ("rows", 99, r"rows\[2, 5\]: expected 0\.\.\d+, the map's height, found 99"),
        ("columns", -1, r"columns\[2, 5\].*width, found -1"),
        ("columns", 1 << 40, r"columns\[2, 5\].*found 1099511627776"),
        ("offset", 1, r"records\[2\]: expected an even offset, found 1"),
        ("height", 1000, r"records\[2\]: expected it inside the \d+ bytes, found offset=\d+, height=1000"),
    ],
)
def test_what_does_not_fit_is_refused(place, value, message):
    maps, records, numbers, rows, columns = sample(2, 4, 7, 8)
    arrays = {"numbers": numbers.astype(np.int64), "rows": rows.astype(np.int64), "columns": columns.astype(np.int64)}
    if place in arrays:
        arrays[place][(2,) if place == "numbers" else (2, 5)] = value
    else:
        records[2][place] = value
    with pytest.raises(ValueError, match=message):
        crop_labels_host(maps, records, arrays["numbers"], arrays["rows"], arrays["columns"])


def test_other_shapes_and_types_are_refused():
    maps, records, numbers, rows, columns = sample(2, 4, 7, 8)
    for changed, message in (
        ((maps.view(np.uint16), records, numbers, rows, columns), "maps: expected"),
        ((maps, records.view(np.int32), numbers, rows, columns), r"records: expected \(m,\) IMAGE"),
        ((maps, records, numbers, rows[:3], columns), r"rows: expected \(4, ...\) integers, found \(3, 7\)"),
        ((maps, records, numbers, rows, columns.astype(np.float32)), "columns: expected .* float32"),
    ):
        with pytest.raises(ValueError, match=message):
            crop_labels_host(*changed)
    with pytest.raises(ValueError, match="threads=0"):
        crop_labels_host(maps, records, numbers, rows, columns, threads=0)
