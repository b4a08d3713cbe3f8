"""A native function as a node of Jittor's graph: pointers, numbers, failure."""

from pathlib import Path

import numpy as np
import pytest

from engine.ops.native_call import native_code
from engine.runtime import jt
from engine.runtime.native import load_native


def add(a, b, factor, status=0):
    function = load_native(Path(__file__).with_name("native_call_sample.cc")).luss_sample_add
    return native_code(function, [a.shape, (1,)], ["float32", "float32"], [a, b], [a.numel(), factor, status])


def test_computes_on_what_the_graph_gives_it():
    a = jt.array(np.arange(12, dtype=np.float32).reshape(3, 4)) * 2
    total, largest = add(a, jt.ones((3, 4)), 0.25)
    after = total + largest
    assert np.array_equal(total.numpy(), 2 * np.arange(12).reshape(3, 4) + 0.25)
    assert largest.numpy().tolist() == [22.25] and np.array_equal(after.numpy(), total.numpy() + 22.25)


def test_other_numbers_do_not_meet_an_earlier_result():
    a, b = jt.zeros((2, 3)), jt.ones((2, 3))
    for factor in (1, 2.5, -1e-30, 2**40):
        assert (add(a, b, factor)[0].numpy() == np.float32(factor)).all()


def test_a_status_is_an_error_and_the_next_call_goes_on():
    a = jt.ones((2,))
    with pytest.raises(RuntimeError, match="luss_sample_add failed with status 7"):
        add(a, a, 1, status=7)[0].numpy()
    assert add(a, a, 1)[0].numpy().tolist() == [2, 2]
