"""SGD with momentum under layer-wise adaptive rate control (LARC; You, Gitman, Ginsburg 2017; NVIDIA apex, clip off)."""

from __future__ import annotations

import numpy as np

from ..runtime import jt


class LarcSGD:
    """One optimiser for both rules: `kind` "larc" or "sgd".

    larc: a parameter with |theta| and |g| not 0 moves by trust |theta| / (|g| + decay |theta| + 1e-8) (g + decay theta),
    any other by g alone, without decay; then momentum. sgd: g + decay theta, then momentum.

    Args:
        parameters: names and Vars to train. momentum_buffers: name -> array, to continue from.
    """

    def __init__(
        self, parameters: dict, kind: str = "larc", momentum: float = 0.9, weight_decay: float = 1e-6, trust: float = 0.001, momentum_buffers=None
    ):
        if kind not in ("larc", "sgd"):
            raise ValueError(f"kind: expected 'larc' or 'sgd', found {kind!r}")
        self.parameters, self.kind = dict(parameters), kind
        self.momentum, self.weight_decay, self.trust = momentum, weight_decay, trust
        saved = momentum_buffers or {}
        # Zero buffers give the same first step as none, since momentum 0 + g = g.
        self.buffers = {
            name: jt.array(saved[name] if name in saved else np.zeros(p.shape, np.float32)).stop_grad() for name, p in self.parameters.items()
        }

    def step(self, loss, lr: float, frozen=frozenset()):
        """One update from `loss`; names in `frozen` get none, and their momentum stays.

        Returns: gradients by name (Vars), averaged over processes.
        """
        names = [name for name in self.parameters if name not in frozen]
        gradients = dict(zip(names, jt.grad(loss, [self.parameters[name] for name in names])))
        if jt.in_mpi:
            gradients = {name: g.mpi_all_reduce("mean") for name, g in gradients.items()}
        rate = jt.array(np.float32(lr))
        for name, gradient in gradients.items():
            parameter, buffer = self.parameters[name], self.buffers[name]
            # `update` marks a Var as the end of its step: with a plain assignment Jittor keeps every earlier step's graph,
            # fuses it into the next one's, and compiles anew each time.
            buffer.update(buffer * self.momentum + self._scaled(parameter, gradient))
            parameter.update(parameter - buffer * rate)
        return gradients

    def _scaled(self, parameter, gradient):
        if self.kind == "sgd":
            return gradient + parameter * self.weight_decay
        p_norm = jt.sqrt((parameter * parameter).sum())
        g_norm = jt.sqrt((gradient * gradient).sum())
        rate = self.trust * p_norm / (g_norm + self.weight_decay * p_norm + 1e-8)
        active = jt.logical_and(p_norm != 0, g_norm != 0).float32()
        # one expression for both cases: active ? rate (g + decay theta) : g
        return gradient * (active * rate + (1 - active)) + parameter * (active * rate * self.weight_decay)

    def state(self) -> dict[str, np.ndarray]:
        """Momentum buffers by name."""
        return {name: buffer.numpy() for name, buffer in self.buffers.items()}
