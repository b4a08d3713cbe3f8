"""upsample_cross_entropy, loss, accuracy and gradient, against torch: interpolate, cross_entropy, backward, argmax.

    python bench/bench_upsample_cross_entropy.py [--rounds N] [--only TEXT] [--json FILE]

Batches of 8; logits of 7 x 7 to labels of 112 x 112 (stage 3 of PASS) and, in two steps, 14 to 56 to 112 (SAMPASS's progressive head).
Operations counted: per class and pixel of the enlarged logits a product and a sum for the normaliser, two fused operations for the gradient:
what is left where exponentials along a source cell are powers. Bytes: logits and gradient once, labels once.
"""

from __future__ import annotations

import functools

import harness
import numpy as np
from harness import Case

from engine.ops.upsample_cross_entropy import upsample_cross_entropy_host

BATCH, LABELS = 8, 112


def sides(classes: int, side: int, middle: tuple[int, int] | None) -> dict:
    rng = np.random.default_rng(0)
    # a logit of its own for each source pixel, and labels in patches, three of four of them the largest logit's
    logits = (3 * rng.standard_normal((BATCH, classes, side, side))).astype(np.float32)
    labels = np.repeat(np.repeat(logits.argmax(1), LABELS // side, 1), LABELS // side, 2).astype(np.int32)
    labels[:, :, : LABELS // 4] = rng.integers(0, classes, labels[:, :, : LABELS // 4].shape)
    run = {harness.OURS: lambda: upsample_cross_entropy_host(logits, labels, None, middle, threads=harness.THREADS)}
    torch = harness.torch_or_none()
    if torch is None:
        return run
    functional = torch.nn.functional
    enlarge = functools.partial(functional.interpolate, mode="bilinear", align_corners=False)
    source, target = torch.from_numpy(logits), torch.from_numpy(labels.astype(np.int64))

    def peer():
        x = source.detach().requires_grad_()
        full = enlarge(x if middle is None else enlarge(x, middle), (LABELS, LABELS))
        loss = functional.cross_entropy(full, target)
        loss.backward()
        return loss.item(), (full.detach().argmax(1) == target).float().mean().item(), x.grad.numpy()

    ours, theirs = run[harness.OURS](), peer()
    # torch's float32 sums over 12,544 pixels are the worse ones; near ties may fall either way
    if abs(ours[0] - theirs[0]) > 1e-5 or abs(ours[1] - theirs[1]) > 1e-4 or np.abs(ours[2] - theirs[2]).max() > 2e-5 * np.abs(theirs[2]).max():
        raise SystemExit(f"the sides differ: {ours[:2]} and {theirs[:2]}")
    return {**run, "torch": peer}


def cases() -> list[Case]:
    made = []
    for classes in (51, 301, 920):
        for side, middle in ((7, None), (14, (56, 56))):
            values = BATCH * classes * LABELS * LABELS
            steps = f"{side} -> {LABELS}" if middle is None else f"{side} -> {middle[0]} -> {LABELS}"
            made.append(
                Case(
                    "upsample_cross_entropy",
                    f"{classes} classes, {steps}",
                    functools.partial(sides, classes, side, middle),
                    operations=6.0 * values,
                    moved=8.0 * BATCH * classes * side * side + 4.0 * BATCH * LABELS * LABELS,
                    goals={"torch": 3.0},
                )
            )
    return made


test_upsample_cross_entropy = harness.benchmark_of(cases)

if __name__ == "__main__":
    harness.main(cases)
