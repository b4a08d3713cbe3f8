"""LARC-SGD against a NumPy restatement."""

import numpy as np
import pytest

from engine.training.larc import LarcSGD


def numpy_step(theta, g, buffer, lr, kind, wd=1e-6, trust=1e-3):
    p, n = np.linalg.norm(theta), np.linalg.norm(g)
    if kind == "sgd":
        g = g + wd * theta
    elif p != 0 and n != 0:
        g = trust * p / (n + wd * p + 1e-8) * (g + wd * theta)
    buffer = 0.9 * buffer + g
    return theta - lr * buffer, buffer


@pytest.mark.parametrize("kind", ["larc", "sgd"])
def test_steps_follow_the_formula_also_for_zero_tensors(kind):
    from engine.runtime import jt

    rng = np.random.default_rng(0)
    start = {"w": rng.standard_normal((3, 4)).astype(np.float32), "zero": np.zeros(5, np.float32)}
    variables = {name: jt.array(value) for name, value in start.items()}
    optimizer = LarcSGD(variables, kind)
    expected = {name: (value.astype(np.float64), np.zeros_like(value, np.float64)) for name, value in start.items()}
    for step in range(4):
        grads = {name: rng.standard_normal(value.shape).astype(np.float32) for name, value in start.items()}
        loss = sum((variables[name] * jt.array(g)).sum() for name, g in grads.items())
        optimizer.step(loss, 0.5 / (step + 1))
        for name, g in grads.items():
            expected[name] = numpy_step(*expected[name][:1], g, expected[name][1], 0.5 / (step + 1), kind)
            # float32 arithmetic over four steps of values near one
            np.testing.assert_allclose(variables[name].numpy(), expected[name][0], rtol=0, atol=2e-6)


def test_the_check_value_of_the_specification():
    from engine.runtime import jt

    theta = {"w": jt.array(np.array([3, 4], np.float32))}
    LarcSGD(theta).step((theta["w"] * jt.array(np.array([0.6, 0.8], np.float32))).sum(), 0.6)
    np.testing.assert_allclose(theta["w"].numpy(), [2.9982, 3.9976], atol=1e-6)


def test_frozen_parameters_and_their_momentum_stay():
    from engine.runtime import jt

    theta = {"a": jt.array(np.ones(3, np.float32)), "b": jt.array(np.ones(3, np.float32))}
    optimizer = LarcSGD(theta)
    optimizer.step((theta["a"] * 2 + theta["b"] * 3).sum(), 1.0, {"b"})
    assert (theta["b"].numpy() == 1).all() and (optimizer.state()["b"] == 0).all()
    assert (theta["a"].numpy() != 1).all()


def test_the_graph_does_not_grow_from_step_to_step():
    from engine.runtime import jt

    theta = {"w": jt.array(np.ones((4, 4), np.float32))}
    optimizer, alive = LarcSGD(theta), []
    for _ in range(8):
        optimizer.step((theta["w"] * theta["w"]).sum(), 0.1)
        jt.sync_all()
        alive.append(jt.liveness_info()["lived_ops"])
    assert alive[-1] == alive[2]


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="kind: expected 'larc' or 'sgd', found 'adam'"):
        LarcSGD({}, "adam")
