"""PCA-whitening of streamed rows: against NumPy and faiss, the same bits for any blocks and processes, faults."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.clustering.whitening import Whitening, fit_whitening
from engine.runtime.errors import LussError
from tests.engine.clustering.thread_exchange import run_ranks


@dataclass
class Blocks:
    """Rows [first, last) of x as the driver reads them: into one array, which is overwritten."""

    x: np.ndarray
    step: int
    first: int = 0
    last: int = -1

    @property
    def total(self):
        return len(self.x)

    @property
    def dim(self):
        return self.x.shape[1]

    def blocks(self):
        last = self.total if self.last < 0 else self.last
        space = np.empty((self.step, self.dim), self.x.dtype)
        for first in range(self.first, last, self.step):
            part = space[: min(self.step, last - first)]
            part[...] = self.x[first : first + len(part)]
            yield first, part
            space[...] = np.nan


def sample(seed, n, d, dtype=np.float32):
    """Rows with variances that fall, in a mixed basis, away from 0, of columns of unlike size."""
    rng = np.random.default_rng(seed)
    mixed = rng.standard_normal((n, d)) * np.arange(1, d + 1) ** -0.5 @ np.linalg.qr(rng.standard_normal((d, d)))[0]
    return ((mixed + rng.standard_normal(d)) * np.exp(rng.uniform(-2, 2, d))).astype(dtype)


def same(a: Whitening, b: Whitening) -> bool:
    return all(getattr(a, name).tobytes() == getattr(b, name).tobytes() for name in ("mean", "basis", "eigenvalues"))


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize(("n", "d", "dim"), [(500, 12, 12), (700, 40, 8), (3000, 70, 33), (60, 50, 20)])
def test_equals_numpy(n, d, dim, dtype):
    x = sample(n, n, d, dtype)
    found = fit_whitening(Blocks(x, 100), dim)
    wide = x.astype(np.float64)
    values, vectors = np.linalg.eigh(np.cov(wide.T, bias=True))
    values, vectors = values[::-1][:dim], vectors[:, ::-1][:, :dim]
    np.testing.assert_allclose(found.mean, wide.mean(0), rtol=2.0**-22, atol=1e-7)
    np.testing.assert_allclose(found.eigenvalues, values, rtol=1e-6)  # the numbers' rounding to 2^-22 of their range
    expected = vectors / np.sqrt(values)
    expected *= np.sign((found.basis * expected).sum(0))
    # an eigenvector turns by the error of the covariance over the distance to the next eigenvalue, which is some 1e-3 of the largest here
    np.testing.assert_allclose(found.basis, expected, rtol=0, atol=1e-4 * np.abs(expected).max())
    largest = np.argmax(np.abs(found.basis), axis=0)
    assert (found.basis[largest, np.arange(dim)] > 0).all()


def test_whitened_rows_have_unit_covariance_and_no_mean():
    x = sample(1, 4000, 64)
    white = fit_whitening(Blocks(x, 512), 24).apply(x).astype(np.float64)
    # float32: 64 products of numbers of up to some 20, each rounded by 2^-24
    np.testing.assert_allclose(np.cov(white.T, bias=True), np.eye(24), atol=1e-4)
    np.testing.assert_allclose(white.mean(0), 0, atol=1e-4)


def test_is_that_of_faiss_but_for_signs_and_scale():
    faiss = pytest.importorskip("faiss")
    x = sample(2, 5000, 48)
    other = faiss.PCAMatrix(48, 16, -0.5)
    other.train(x)
    theirs, ours = other.apply(x).astype(np.float64), fit_whitening(Blocks(x, 700), 16).apply(x).astype(np.float64)
    theirs, ours = (rows / np.linalg.norm(rows, axis=0) for rows in (theirs, ours))
    # after scaling, columns agree but for their sign; faiss adds up 5,000 products in float32
    np.testing.assert_allclose(np.abs((theirs * ours).sum(0)), 1, atol=1e-4)
    np.testing.assert_allclose(np.abs(theirs), np.abs(ours), atol=1e-3)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000), st.integers(30, 900), st.sampled_from([np.float32, np.float16]))
def test_the_same_bits_for_any_blocks_and_ranks(seed, n, dtype):
    x = sample(seed, n, 17, dtype)
    whole = fit_whitening(Blocks(x, n), 6)
    for step in (7, 100, 640):
        assert same(whole, fit_whitening(Blocks(x, step), 6))
    for size in (1, 2, 3):
        cuts = [min(n, -(-n * rank // size)) for rank in range(size)] + [n]
        for found in run_ranks(size, lambda exchange, cuts=cuts: fit_whitening(Blocks(x, 50, *cuts[exchange.rank :][:2]), 6, exchange)):
            assert same(whole, found)


def test_a_process_without_rows_takes_part():
    x = sample(3, 100, 9)
    parts = [(0, 100), (100, 100)]
    found = run_ranks(2, lambda exchange: fit_whitening(Blocks(x, 30, *parts[exchange.rank]), 4, exchange))
    assert same(found[0], found[1]) and same(found[0], fit_whitening(Blocks(x, 100), 4))


def test_sums_at_the_edge_of_their_range_are_exact():
    """Columns of +-1 use all bits, so that the products of 512 rows fill those of float64; means are counts, and exact."""
    x = np.where(np.random.default_rng(4).random((4096, 6)) < 0.5, -1, 1).astype(np.float32)
    x[:, 1] *= 2.0**100
    x[:, 2] *= 2.0**-100
    mean = x.astype(np.float64).mean(0)
    found = fit_whitening(Blocks(x, 4096), 1)
    assert found.mean.tolist() == mean.tolist() and found.eigenvalues[0] == 2.0**200 - mean[1] ** 2


def test_columns_that_do_not_vary_are_left_out():
    x = np.concatenate([sample(5, 300, 5), np.full((300, 2), 3.25, np.float32)], 1)
    found = fit_whitening(Blocks(x, 64), 5)
    assert not found.basis[5:].any() and (found.mean[5:] == 3.25).all()
    np.testing.assert_allclose(np.abs(found.basis[:5]), np.abs(fit_whitening(Blocks(x[:, :5].copy(), 64), 5).basis), rtol=1e-5, atol=1e-7)


def test_progress_and_stopping():
    told = []
    fit_whitening(Blocks(sample(6, 250, 4), 100), 2, on_block=told.append)
    assert told == [100, 200, 250, 350, 450, 500]

    def stop(done):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_whitening(Blocks(sample(6, 250, 4), 100), 2, on_block=stop)


def test_faults_are_named_on_every_rank():
    x = sample(7, 60, 8)
    with pytest.raises(LussError, match="to 9 dimensions: the rows have 8"):
        fit_whitening(Blocks(x, 20), 9)
    with pytest.raises(LussError, match="5 rows span at most 4"):
        fit_whitening(Blocks(x[:5], 20), 5)
    flat = x.copy()
    flat[:, 4:] = flat[:, :4] @ np.ones((4, 4), np.float32)
    with pytest.raises(LussError, match="60 rows vary along 4 directions only"):
        fit_whitening(Blocks(flat, 20), 5)
    assert fit_whitening(Blocks(flat, 20), 4).basis.shape == (8, 4)
    with pytest.raises(LussError, match="vary along 0 directions"):
        fit_whitening(Blocks(np.ones((60, 8), np.float32), 20), 1)
    bad = x.copy()
    bad[47, 3], bad[52, 1] = np.inf, np.nan
    errors = run_ranks(2, lambda exchange: _error_of(Blocks(bad, 7, 30 * exchange.rank, 30 * exchange.rank + 30), exchange))
    assert errors == ["whitening: row 47 is not finite; expected finite features"] * 2
    with pytest.raises(LussError, match="30 rows were read, expected 60"):
        fit_whitening(Blocks(x, 7, 0, 30), 4)


def _error_of(rows, exchange):
    with pytest.raises(LussError) as caught:
        fit_whitening(rows, 3, exchange)
    return str(caught.value)
