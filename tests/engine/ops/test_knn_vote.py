"""The vote of nearest bank rows against the reference, with ties, and both ways to find the nearest."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.ops import knn_vote as op
from engine.ops.knn_vote import LabelledBank, knn_vote, top_by_passes, top_on_host
from engine.ops.knn_vote_reference import knn_vote as reference


def sample(seed, m, n, c, classes):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((m, c)).astype(np.float32), rng.standard_normal((n, c)).astype(np.float32), rng.integers(0, classes, n)


@settings(max_examples=8, deadline=None)  # each new shape compiles an operator
@given(
    st.integers(0, 10**6),
    st.sampled_from([(1, 1, 1, 1), (7, 5, 3, 4), (33, 40, 8, 6)]),
    st.sampled_from([1, 3, 10]),
    st.sampled_from([0.07, 1.0]),
)
def test_equals_the_reference(seed, shape, k, temperature):
    from engine.runtime import jt

    queries, rows, labels = sample(seed, *shape)
    found = knn_vote(jt.array(queries), LabelledBank(rows, labels, shape[3]), k, temperature)
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found, reference(queries, rows, labels, shape[3], k, temperature))


@given(st.integers(0, 10**6), st.integers(1, 12), st.integers(1, 30))
def test_the_host_takes_the_largest_and_of_equals_the_lower_column(seed, k, n):
    rng = np.random.default_rng(seed)
    cosine = rng.integers(-3, 4, (9, n)).astype(np.float32) / 4  # many ties
    k = min(k, n)
    values, columns = top_on_host(cosine, k)
    for row in range(len(cosine)):
        expected = np.sort(np.argsort(-cosine[row], kind="stable")[:k])
        np.testing.assert_array_equal(np.sort(columns[row]), expected)
        np.testing.assert_array_equal(values[row], cosine[row, columns[row]])


def test_passes_on_the_device_find_the_same_as_the_host():
    from engine.runtime import jt

    rng = np.random.default_rng(3)
    cosine = rng.integers(-5, 6, (20, 17)).astype(np.float32) / 8
    values, columns = top_by_passes(jt.array(cosine), 6)
    expected_values, expected_columns = top_on_host(cosine, 6)
    np.testing.assert_array_equal(np.sort(columns, 1), np.sort(expected_columns, 1))
    np.testing.assert_array_equal(np.sort(values, 1), np.sort(expected_values, 1))


def test_blocks_change_nothing(monkeypatch):
    from engine.runtime import jt

    queries, rows, labels = sample(5, 33, 40, 8, 6)
    bank = LabelledBank(rows, labels, 6)
    whole = knn_vote(jt.array(queries), bank)
    monkeypatch.setattr(op, "_CELLS", 40 * 11)
    np.testing.assert_array_equal(knn_vote(jt.array(queries), bank), whole)


def test_equal_sums_go_to_the_lower_class_and_zero_vectors_are_allowed():
    from engine.runtime import jt

    bank = LabelledBank(np.eye(4, dtype=np.float32), [3, 1, 2, 1], 4)
    queries = np.array([[1, 1, 0, 0], [0, 0, 0, 0], [1, 0, 1, 0]], np.float32)
    assert knn_vote(jt.array(queries), bank, k=2).tolist() == [1, 1, 2]
    assert knn_vote(jt.array(queries[:0]), bank).shape == (0,)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"rows": np.zeros((0, 4))}, "expected non-empty"),
        ({"labels": [0, 1, 2, 4]}, r"labels: expected 0..3, found 0..4"),
        ({"rows": np.full((4, 4), np.nan)}, "finite"),
    ],
)
def test_a_bad_bank_is_refused(change, message):
    arguments = {"rows": np.eye(4), "labels": [0, 1, 2, 3], "classes": 4, **change}
    with pytest.raises(ValueError, match=message):
        LabelledBank(**arguments)


def test_bad_queries_are_refused():
    from engine.runtime import jt

    bank = LabelledBank(np.eye(4, dtype=np.float32), [0, 1, 2, 3], 4)
    with pytest.raises(ValueError, match=r"queries: expected \(M, 4\)"):
        knn_vote(jt.zeros((2, 3)), bank)
    with pytest.raises(ValueError, match=r"queries: expected \(M, 4\) float32 as in the bank, found \(2, 4\) float16"):
        knn_vote(jt.zeros((2, 4), "float16"), bank)
    with pytest.raises(ValueError, match="k=0"):
        knn_vote(jt.zeros((2, 4)), bank, k=0)
    with pytest.raises(ValueError, match="not finite"):
        knn_vote(jt.array(np.array([[np.nan, 0, 0, 0]], np.float32)), bank, k=2)
