"""AdamW (Loshchilov, Hutter 2019) with a rate and a weight decay for each parameter."""

from __future__ import annotations

import numpy as np

from ..runtime import jt

_COUNT = "steps"


class AdamW:
    """Decoupled weight decay: theta <- theta - lr r (wd theta + m' / (sqrt(v') + eps)), m' and v' the bias-corrected moments.

    Args:
        parameters: names and Vars to train.
        weight_decay: of parameters with at least two axes; biases and normalisation get none.
        rates: name -> r, the factor on the learning rate; absent = 1.
    """

    def __init__(self, parameters: dict, weight_decay: float, rates: dict[str, float] | None = None, betas=(0.9, 0.999), eps: float = 1e-8):
        self.parameters, self.betas, self.eps = dict(parameters), betas, eps
        self.rates = {name: float((rates or {}).get(name, 1.0)) for name in self.parameters}
        self.decays = {name: weight_decay if p.ndim > 1 else 0.0 for name, p in self.parameters.items()}
        self.buffers = {_COUNT: jt.array(np.zeros(1, np.float32)).stop_grad()}
        for name, p in self.parameters.items():
            for moment in ("first", "second"):
                self.buffers[f"{moment}/{name}"] = jt.array(np.zeros(p.shape, np.float32)).stop_grad()

    def gradients(self, loss) -> dict:
        """Gradients of `loss` by name (Vars), averaged over processes."""
        found = dict(zip(self.parameters, jt.grad(loss, list(self.parameters.values()))))
        return {name: g.mpi_all_reduce("mean") for name, g in found.items()} if jt.in_mpi else found

    def apply(self, gradients: dict, lr: float) -> None:
        """One update from gradients by name."""
        first_beta, second_beta = self.betas
        count = self.buffers[_COUNT]
        # `update` ends the step's graph at these Vars, see LarcSGD
        count.update(count + 1.0)
        steps = float(count.item())
        first_scale, second_scale = 1 / (1 - first_beta**steps), 1 / (1 - second_beta**steps)
        scalars = jt.array(np.array([first_scale, second_scale, lr], np.float32))  # data, not constants: compiled once
        for name, gradient in gradients.items():
            parameter = self.parameters[name]
            first, second = self.buffers[f"first/{name}"], self.buffers[f"second/{name}"]
            first.update(first * first_beta + gradient * (1 - first_beta))
            second.update(second * second_beta + gradient * gradient * (1 - second_beta))
            step = first * scalars[0] / (jt.sqrt(second * scalars[1]) + self.eps) + parameter * self.decays[name]
            parameter.update(parameter - step * (scalars[2] * self.rates[name]))

    def step(self, loss, lr: float) -> None:
        """One update from `loss`."""
        self.apply(self.gradients(loss), lr)

    def state(self) -> dict[str, np.ndarray]:
        """Moments by "first/<name>" and "second/<name>", and the number of steps."""
        return {name: buffer.numpy() for name, buffer in self.buffers.items()}
