"""Layers with the reference's arithmetic where Jittor's differ, and a few shared builders."""

from __future__ import annotations

import math

import numpy as np

from engine.runtime import jt

nn = jt.nn


class BatchNorm(nn.Module):
    """Batch normalisation over all axes but the second, as in PyTorch: the *unbiased* batch variance enters running_var.

    Jittor's own layer stores the biased one. Input (N, C) or (N, C, H, W) float32. In training mode statistics are
    taken over all processes (synchronised); eps 1e-5, momentum 0.1.
    """

    def __init__(self, channels: int, affine: bool = True, eps: float = 1e-5, momentum: float = 0.1):
        self.channels, self.eps, self.momentum, self.affine = channels, eps, momentum, affine
        self.is_train = True
        self.sync = True
        self.unbiased = True
        if affine:
            self.weight = jt.ones(channels)
            self.bias = jt.zeros(channels)
        self.running_mean = jt.zeros(channels).stop_grad()
        self.running_var = jt.ones(channels).stop_grad()

    def execute(self, x):
        dims = [0] + list(range(2, x.ndim))
        if self.is_train:
            mean = jt.mean(x, dims=dims)
            count = x.shape[0] * int(np.prod(x.shape[2:]))
            if self.sync and jt.in_mpi:
                mean = mean.mpi_all_reduce("mean")
                count *= jt.world_size
            # around the mean, not E[x^2] - E[x]^2: the attention head's inputs have means far larger than their spread
            centred = x - mean.broadcast(x, dims)
            var = jt.mean(centred * centred, dims=dims)
            if self.sync and jt.in_mpi:
                var = var.mpi_all_reduce("mean")
            correction = count / max(count - 1, 1) if self.unbiased else 1.0
            self.running_mean.update(self.running_mean + (mean - self.running_mean) * self.momentum)
            self.running_var.update(self.running_var + (var * correction - self.running_var) * self.momentum)
        else:
            centred, var = x - self.running_mean.broadcast(x, dims), self.running_var
        scale = 1.0 / jt.sqrt(var + self.eps)
        if self.affine:
            return centred * (scale * self.weight).broadcast(x, dims) + self.bias.broadcast(x, dims)
        return centred * scale.broadcast(x, dims)


def conv(inputs: int, outputs: int, kernel: int, stride: int = 1, padding: int = 0, bias: bool = False, dilation: int = 1):
    """Convolution with the reference's initial values: weight N(0, 2 / (out k k)), bias U(+-1 / sqrt(in k k))."""
    layer = nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, bias=bias)
    layer.weight.assign(jt.randn(outputs, inputs, kernel, kernel) * math.sqrt(2.0 / (outputs * kernel * kernel)))
    if bias:
        bound = 1 / math.sqrt(inputs * kernel * kernel)
        layer.bias.assign(jt.rand(outputs) * (2 * bound) - bound)
    return layer


def linear(inputs: int, outputs: int, bias: bool = True):
    """Fully connected layer, weight and bias U(+-1 / sqrt(inputs))."""
    layer = nn.Linear(inputs, outputs, bias=bias)
    bound = 1 / math.sqrt(inputs)
    layer.weight.assign(jt.rand(outputs, inputs) * (2 * bound) - bound)
    if bias:
        layer.bias.assign(jt.rand(outputs) * (2 * bound) - bound)
    return layer


def l2_normalize(x, dim: int = 1, eps: float = 1e-12):
    """x / max(|x|, eps) along `dim`; zero vectors stay zero, with zero gradient."""
    norm = jt.sqrt((x * x).sum(dim, keepdims=True).maximum(eps * eps))
    return x / norm


def global_mean(x):
    """(N, C, H, W) -> (N, C)."""
    return x.mean(dims=[2, 3])


def set_training(model, training: bool) -> None:
    """Switch BatchNorm between batch and running statistics.

    Unlike Module.train() and eval() of Jittor it leaves the parameters alone: those two detach them, so that a gradient
    asked for later is silently zero.
    """
    for module in model.modules():
        module.is_train = training
