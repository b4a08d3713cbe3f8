"""Losses of PASS: Sinkhorn codes, swapped prediction, deep-to-shallow, pixel-to-pixel (spec/pass.md 3.4); labels of stage 3 (7)."""

from __future__ import annotations

import numpy as np

from engine.runtime import jt

nn = jt.nn


def sinkhorn(scores, epsilon: float = 0.05, iterations: int = 3):
    """Balanced soft assignment of samples to prototypes (SwAV, Caron et al. 2020, equation 3 and its appendix).

    Args:
        scores: (b, P) cosine similarities of this process's samples.

    Returns:
        (b, P) codes, rows summing to 1, without gradient. Row sums run over all processes. As in the published code
        nothing guards against overflow: a score above 88 epsilon gives NaN.
    """
    with jt.no_grad():
        q = jt.exp(scores / epsilon).transpose()  # (P, b)
        prototypes, samples = q.shape
        samples *= jt.world_size if jt.in_mpi else 1
        # The first division cancels in the next one. 2^30 times its result keeps small codes out of the subnormal numbers, which
        # the processor takes for 0 here, and a sum that overflows still gives NaN as published.
        q = q / (_sum_over_processes(q.sum()) * (2.0**-30 if iterations else 1.0))
        for _ in range(iterations):
            # Carried out one by one: else the compiler merges these divisors, the first of them up to exp(1 / epsilon), and
            # their product or its reciprocal leaves the range of float32.
            q.sync()
            q = q / _sum_over_processes(q.sum(1, keepdims=True)) / prototypes
            q.sync()
            q = q / q.sum(0, keepdims=True) / samples
        return (q * samples).transpose()


def _sum_over_processes(x):
    return x.mpi_all_reduce("add") if jt.in_mpi else x


def soft_cross_entropy(codes, scores, temperature: float):
    """-(1/b) sum_n sum_p codes log softmax(scores / temperature)."""
    return -(codes * nn.log_softmax(scores / temperature, dim=1)).sum(1).mean()


class EmbeddingQueue:
    """The latest embeddings of the two assigning crops, newest first; used once it is full.

    Args:
        length: rows of this process. rows: (2, length, d) float32 to continue from, else zeros.
    """

    def __init__(self, length: int, dim: int, rows: np.ndarray | None = None):
        start = np.zeros((2, length, dim), np.float32) if rows is None else np.asarray(rows, np.float32)
        if start.shape != (2, length, dim):
            raise ValueError(f"rows: expected {(2, length, dim)}, found {start.shape}")
        self.rows = jt.array(start).stop_grad()
        occupied = np.any(start[0] != 0, axis=1)
        self.filled = length if length and occupied[-1] else int(occupied.sum())  # the published test is the last row alone

    @property
    def full(self) -> bool:
        return self.filled >= self.rows.shape[1]

    def push(self, crops) -> None:
        """Put one (b, d) batch a crop in front; the oldest rows leave."""
        length = self.rows.shape[1]
        fresh = jt.stack([c.detach() for c in crops], dim=0)
        if fresh.shape[1] > length:
            raise ValueError(f"crops: a batch of {fresh.shape[1]} rows does not fit a queue of {length}")
        self.rows = jt.concat([fresh, self.rows[:, : length - fresh.shape[1]]], dim=1).stop_grad()
        self.filled = min(length, self.filled + fresh.shape[1])


def assign_codes(embedding, scores, batch: int, prototypes, queue: EmbeddingQueue | None, epsilon: float, iterations: int):
    """Codes (b, P) of crops 0 and 1; with a full queue its rows take part in the balancing. Pushes onto the queue."""
    codes = []
    for crop in (0, 1):
        part = scores[crop * batch : (crop + 1) * batch].detach()
        if queue is not None and queue.full:
            with jt.no_grad():
                part = jt.concat([nn.matmul_transpose(queue.rows[crop], prototypes), part], dim=0)
        codes.append(sinkhorn(part, epsilon, iterations)[-batch:])
    if queue is not None:
        queue.push([embedding[crop * batch : (crop + 1) * batch] for crop in (0, 1)])
    return codes


def swapped_prediction(codes, scores, batch: int, crops: int, temperature: float):
    """I2I loss: every crop predicts the codes of crops 0 and 1 other than itself; mean over pairs."""
    total = 0.0
    for source, code in enumerate(codes):
        others = [v for v in range(crops) if v != source]
        terms = [soft_cross_entropy(code, scores[v * batch : (v + 1) * batch], temperature) for v in others]
        total = total + sum(terms[1:], terms[0]) / len(others)
    return total / len(codes)


def deep_to_shallow(codes, scores, batch: int, crops: int, stages: int, temperature: float):
    """D2S losses, one a shallow stage in list order: its crops 0 and 1 predict the deep codes of the other one.

    `scores` are all rows of the forward pass; the shallow ones follow the `crops` deep ones. They are found by position
    in the list, so that any list of stages works (the published code indexes wrongly for lists other than 3 and 3 2).
    """
    losses = []
    for position in range(stages):
        first = (crops + 2 * position) * batch
        pair = [scores[first + v * batch : first + (v + 1) * batch] for v in (0, 1)]
        losses.append((soft_cross_entropy(codes[0], pair[1], temperature) + soft_cross_entropy(codes[1], pair[0], temperature)) / 2)
    return losses


def pixel_to_pixel(z, p):
    """P2P loss: minus the mean cosine of prediction and the other crop's stopped embedding at corresponding points.

    z, p: (2 b, d, s, s), first half crop 0. Points without overlap hold zero vectors and count as cosine 0.
    """
    half = z.shape[0] // 2
    target = z.detach()

    def cosine(a, b):
        na = jt.sqrt((a * a).sum(1).maximum(1e-16))
        nb = jt.sqrt((b * b).sum(1).maximum(1e-16))
        return ((a * b).sum(1) / (na * nb)).mean()

    return -(cosine(p[:half], target[half:]) + cosine(p[half:], target[:half])) / 2


def shrink_labels(labels: np.ndarray, scale: float, published_jittor: bool = False) -> np.ndarray:
    """Nearest down-sampling of (b, H, W) ids: out = int(H scale), source row floor(i / scale).

    `published_jittor`: source row floor(i H / out) instead, which differs for odd sizes.
    """
    axes = []
    for size in labels.shape[1:]:
        out = int(size * scale)
        step = np.float32(size / out) if published_jittor else np.float32(1 / scale)
        axes.append(np.minimum((np.arange(out, dtype=np.float32) * step).astype(np.int64), size - 1))
    return np.ascontiguousarray(labels[:, axes[0]][:, :, axes[1]])
