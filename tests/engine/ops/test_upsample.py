"""Bilinear enlargement against the reference, and its gradient."""

import numpy as np
import pytest

from engine.ops.upsample import interpolation_matrix, upsample_bilinear
from engine.ops.upsample_reference import upsample_bilinear as reference


@pytest.mark.parametrize("shape, size", [((2, 3, 4, 5), (16, 20)), ((1, 2, 1, 1), (3, 7)), ((1, 1, 7, 3), (2, 5)), ((1, 2, 3, 3), (3, 3))])
def test_equals_the_reference_and_its_gradient_the_transpose(shape, size):
    from engine.runtime import jt

    rng = np.random.default_rng(0)
    x, g = rng.standard_normal(shape).astype(np.float32), rng.standard_normal((*shape[:2], *size)).astype(np.float32)
    v = jt.array(x)
    y = upsample_bilinear(v, size)
    np.testing.assert_allclose(y.numpy(), reference(x, size), atol=2e-6)  # four products of values of about three
    if size != shape[2:]:
        rows, columns = (interpolation_matrix(a, b) for a, b in zip(shape[2:], size))
        gradient = jt.grad((y * jt.array(g)).sum(), v).numpy()
        np.testing.assert_allclose(gradient, np.einsum("Hh,ncHW,Ww->nchw", rows, g, columns), atol=2e-5)


def test_rows_of_the_matrix_sum_to_one():
    for source, target in ((1, 5), (7, 28), (9, 4)):
        np.testing.assert_allclose(interpolation_matrix(source, target).sum(1), 1, atol=1e-6)


def test_wrong_rank_is_refused():
    from engine.runtime import jt

    with pytest.raises(ValueError, match="x: expected a non-empty"):
        upsample_bilinear(jt.zeros((2, 3)), (4, 4))
    with pytest.raises(ValueError, match=r"size: expected \(H, W\) of at least 1, found \(4, 0\)"):
        upsample_bilinear(jt.zeros((1, 1, 2, 3)), (4, 0))
