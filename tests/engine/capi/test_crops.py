"""The crop ops through the C interface, emulated: the same bits as the CPU path; what does not fit is refused by name."""

import numpy as np
import pytest

from engine import capi
from engine.ops.augment_crops import augment_crops_host
from engine.ops.crop_labels_reference import crop_labels as labels_reference
from engine.ops.resize_crops import resize_crops_host
from tests.engine.capi.emulated import on_gpu, set_order, use_emulation
from tests.engine.data.samples import photo
from tests.engine.ops.crop_samples import pack, random_plan
from tests.engine.ops.cut_samples import MIXED_SIZE, mixed_batch
from tests.engine.ops.test_crop_labels import sample


@pytest.fixture(autouse=True)
def emulation(monkeypatch):
    use_emulation(monkeypatch)


@pytest.fixture(scope="module")
def packed():
    return pack([np.asarray(photo(width, height, seed=width)) for width, height in ((61, 47), (23, 90))])


@pytest.mark.parametrize(("dtype", "order"), [("float32", "forward"), ("float16", "reverse"), ("float32", "random")])
def test_augmented_crops(packed, dtype, order):
    set_order(order)
    pixels, images = packed
    crops = random_plan(images, 5, seed=2)
    found = capi.augment_crops(on_gpu(pixels), images, crops, (19, 33), dtype=dtype)
    assert found.values.tobytes() == augment_crops_host(pixels, images, crops, (19, 33), dtype=dtype).tobytes()


def test_resized_cuts():
    (pixels, images), cuts = mixed_batch()
    found = capi.resize_crops(on_gpu(pixels), images, cuts, MIXED_SIZE)
    assert np.array_equal(found.values, resize_crops_host(pixels, images, cuts, MIXED_SIZE))


def test_crops_of_labels():
    maps, *rest = sample(3, 5, 17, 41)
    assert np.array_equal(capi.crop_labels(on_gpu(maps), *rest).values, labels_reference(maps, *rest))


def test_no_crops(packed):
    pixels, images = packed
    assert capi.augment_crops(on_gpu(pixels), images, random_plan(images, 0, seed=1), 5).shape == (0, 3, 5, 5)
    assert capi.resize_crops(on_gpu(pixels), images, mixed_batch()[1][:0], 5).shape == (0, 3, 5, 5)
    maps, *rest = sample(3, 0, 17, 41)
    assert capi.crop_labels(on_gpu(maps), *rest).shape == (0, 17, 41)


def test_what_does_not_fit_is_refused(packed):
    pixels, images = packed
    crops = random_plan(images, 2, seed=1)
    with pytest.raises(ValueError, match="pixels: expected an array on a GPU .*found numpy.ndarray of shape"):
        capi.augment_crops(pixels, images, crops, 5)
    with pytest.raises(ValueError, match=r"pixels: expected \(bytes,\) uint8, found .* int32"):
        capi.augment_crops(on_gpu(np.zeros(8, np.int32)), images, crops, 5)
    with pytest.raises(ValueError, match=r"images\[0\]: expected it inside the 8 bytes"):
        capi.resize_crops(on_gpu(np.zeros(8, np.uint8)), images, mixed_batch()[1][:1], 5)
    maps, records, numbers, rows, columns = sample(3, 5, 17, 41)
    with pytest.raises(ValueError, match="columns"):
        capi.crop_labels(on_gpu(maps), records, numbers, rows, columns + 99)
