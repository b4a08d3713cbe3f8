"""AdamW against a NumPy restatement, and going on from its state."""

import numpy as np

from engine.training.adamw import AdamW

LR, DECAY = 0.01, 0.1
RATES = {"w": 0.5}


def numpy_steps(theta, gradients, rate, decay):
    m = v = np.zeros_like(theta, np.float64)
    theta = theta.astype(np.float64)
    for t, g in enumerate(gradients, 1):
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        theta = theta - LR * rate * (decay * theta + m / (1 - 0.9**t) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8))
    return theta


def start(rng):
    return {"w": rng.standard_normal((3, 4)).astype(np.float32), "bias": rng.standard_normal(5).astype(np.float32)}


def run(optimizer, variables, gradients):
    from engine.runtime import jt

    for step in gradients:
        optimizer.step(sum((variables[name] * jt.array(g)).sum() for name, g in step.items()), LR)


def test_steps_follow_the_formula_with_rates_and_without_decay_on_vectors():
    from engine.runtime import jt

    rng = np.random.default_rng(0)
    values = start(rng)
    gradients = [{name: rng.standard_normal(value.shape).astype(np.float32) for name, value in values.items()} for _ in range(4)]
    variables = {name: jt.array(value) for name, value in values.items()}
    run(AdamW(variables, DECAY, RATES), variables, gradients)
    for name, decay in (("w", DECAY), ("bias", 0.0)):
        expected = numpy_steps(values[name], [step[name] for step in gradients], RATES.get(name, 1.0), decay)
        np.testing.assert_allclose(variables[name].numpy(), expected, rtol=0, atol=2e-6)  # float32 over four steps of values near one


def test_goes_on_from_its_state_to_the_bit():
    from engine.runtime import jt

    rng = np.random.default_rng(1)
    values = start(rng)
    gradients = [{name: rng.standard_normal(value.shape).astype(np.float32) for name, value in values.items()} for _ in range(5)]
    whole = {name: jt.array(value) for name, value in values.items()}
    run(AdamW(whole, DECAY, RATES), whole, gradients)
    parts = {name: jt.array(value) for name, value in values.items()}
    before = AdamW(parts, DECAY, RATES)
    run(before, parts, gradients[:3])
    after = AdamW(parts, DECAY, RATES)
    for name, value in before.state().items():
        after.buffers[name].assign(jt.array(value))
    run(after, parts, gradients[3:])
    for name in values:
        np.testing.assert_array_equal(parts[name].numpy(), whole[name].numpy())
