import numpy as np
import pytest

from engine.data.normalize import MEAN, STD, STD_PUBLISHED, normalize


@pytest.mark.parametrize("std", [STD, STD_PUBLISHED])
def test_every_value_in_every_channel(std):
    images = np.tile(np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1), (2, 1, 1, 3))
    out = normalize(images, std)
    expected = ((images / 255.0 - MEAN) / std).transpose(0, 3, 1, 2)
    assert out.dtype == np.float32 and out.shape == (2, 3, 16, 16) and out.flags.c_contiguous
    assert np.abs(out - expected).max() < 1e-6


def test_layout_and_views():
    images = np.random.default_rng(0).integers(0, 256, (3, 5, 7, 3), dtype=np.uint8)
    assert np.array_equal(normalize(images[:, ::-1, 1:]), normalize(np.ascontiguousarray(images[:, ::-1, 1:])))
    assert np.allclose(normalize(images)[2, 1, 4, 6], (images[2, 4, 6, 1] / 255 - MEAN[1]) / STD[1])
    assert normalize(images[:0]).shape == (0, 3, 5, 7)


def test_wrong_input_is_named():
    with pytest.raises(ValueError, match=r"images \(3, 5, 5\) uint8: expected \(N, H, W, 3\) uint8"):
        normalize(np.zeros((3, 5, 5), np.uint8))
    with pytest.raises(ValueError, match="float64"):
        normalize(np.zeros((1, 5, 5, 3)))
