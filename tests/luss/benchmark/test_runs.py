"""Joint histograms by runs against counting pixel by pixel."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from luss.benchmark.runs import compact, joint_runs, sparse_bincount


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.data())
def test_runs_cover_the_frame_and_are_uniform(size, data):
    maps = [data.draw(arrays(np.uint16, size, elements=st.integers(0, 2))) for _ in range(data.draw(st.integers(1, 3)))]
    starts, lengths = joint_runs(*maps)
    assert lengths.sum() == size
    np.testing.assert_array_equal(np.cumsum(lengths) - lengths, starts)
    for one in maps:
        np.testing.assert_array_equal(np.repeat(one[starts], lengths), one)
    joint = np.stack([one[starts] for one in maps])
    assert (joint[:, 1:] != joint[:, :-1]).any(axis=0).all()  # no run is split


@settings(max_examples=60, deadline=None)
@given(arrays(np.uint16, st.integers(1, 30), elements=st.sampled_from([0, 3, 919, 1000, 65535])))
def test_compact(ids):
    distinct, place = compact(ids)
    np.testing.assert_array_equal(distinct, np.unique(ids))
    np.testing.assert_array_equal(distinct[place], ids)


def test_dense_and_sparse_counts_agree():
    rng = np.random.default_rng(0)
    cells, weights = rng.integers(0, 50, 200), rng.integers(1, 9, 200)
    for limit in (50, 10**9):
        found, sums = sparse_bincount(cells, limit, weights)
        assert found.tolist() == sorted(set(cells.tolist()))
        assert sums.tolist() == [int(weights[cells == cell].sum()) for cell in found]
        assert sparse_bincount(cells, limit)[1].tolist() == [int((cells == cell).sum()) for cell in found]
