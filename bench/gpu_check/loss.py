"""upsample_cross_entropy: figures and gradient of the float64 reference within float32's rounding; times against PyTorch."""

from __future__ import annotations

import numpy as np

from engine import capi
from engine.ops.upsample_argmax_reference import bilinear_matrix
from engine.ops.upsample_cross_entropy_reference import upsample_cross_entropy as reference

from .compare import close
from .timing import Timing

UNIT = 2.0**-24


def sample(n: int, classes: int, source: tuple[int, int], size: tuple[int, int], dtype: str, seed: int):
    rng = np.random.default_rng(seed)
    logits = (3 * rng.standard_normal((n, classes, *source))).astype(dtype)
    return logits, rng.integers(0, classes, (n, *size)).astype(np.int32)


def weights(source: int, middle: int | None, target: int) -> np.ndarray:
    """(target, source) of one axis, over `middle` where it is given."""
    return bilinear_matrix(source, target) if middle is None else bilinear_matrix(middle, target) @ bilinear_matrix(source, middle)


def undecided(logits, labels, rows, columns, slack: float) -> float:
    """Share of pixels whose label's logit is within `slack` of the largest other: rounding may count them either way."""
    near = 0
    for one, ids in zip(logits.astype(np.float64), labels):
        z = np.einsum("yv,kvu,xu->kyx", rows, one, columns, optimize=True)
        picked = np.take_along_axis(z, ids[None], 0)[0]
        np.put_along_axis(z, ids[None], -np.inf, 0)
        near += int((np.abs(picked - z.max(0)) <= slack).sum())
    return near / labels.size


def checks(gpu, small: bool):
    if small:
        cases = [(1, 5, (2, 3), (9, 8), None, "float32", None)]
    else:
        cases = [
            (4, 51, (7, 7), (112, 112), None, "float32", None),
            (2, 920, (7, 7), (112, 112), None, "float32", 1),
            (2, 301, (14, 14), (112, 112), (56, 56), "float16", 0),
            (3, 33, (8, 11), (61, 97), None, "float32", 5),
            (1, 1500, (3, 2), (17, 19), (6, 9), "float32", None),
            (2, 3, (1, 1), (5, 7), None, "float16", None),
        ]
    for n, classes, source, size, middle, dtype, ignore in cases:

        def lost(n=n, classes=classes, source=source, size=size, middle=middle, dtype=dtype, ignore=ignore):
            logits, labels = sample(n, classes, source, size, dtype, seed=classes)
            found = [gpu.download(one) for one in capi.upsample_cross_entropy(gpu.upload(logits), gpu.upload(labels), ignore, middle)]
            loss, accuracy, gradient = reference(logits, labels, ignore, middle)
            rows, columns = (weights(*axis) for axis in zip(source, middle or (None, None), size))
            # A value has some roundings of numbers up to `top`, its exponential and their sum a few more: this much, relative, in p, and
            # absolute in log p. The loss is a mean of these; a source pixel's gradient their sum with the weights of its taps, over the count.
            top = float(np.abs(logits).max())
            each, counted = (64 + 8 * top) * UNIT, np.ones(labels.shape, bool) if ignore is None else labels != ignore
            taps = rows.sum(0)[:, None] * columns.sum(0) / counted.sum()
            open_pixels = undecided(logits, labels, rows, columns, 64 * UNIT * top) * labels.size / counted.sum()
            close(found[1], np.array([accuracy]), open_pixels + 4 * UNIT, "pixels that rounding decides")
            return {
                "loss": close(found[0], np.array([loss]), each * (1 + abs(loss)), "roundings of -log p")["worst_share_of_bound"],
                "gradient": close(found[2], gradient, each * taps, "roundings of p")["worst_share_of_bound"],
            }

        way = " to ".join(f"{h} x {w}" for h, w in ([source, middle, size] if middle else [source, size]))
        yield f"upsample_cross_entropy {n} images, {classes} classes, {way}, {dtype}", lost

    def special():
        logits, labels = sample(3, 5, (2, 3), (9, 8), "float32", seed=1)
        logits[1, 2, 1, 1] = np.inf
        loss, accuracy, gradient = (gpu.download(one) for one in capi.upsample_cross_entropy(gpu.upload(logits), gpu.upload(labels)))
        if not (np.isnan(loss).all() and np.isnan(gradient[1]).all() and np.isfinite(gradient[[0, 2]]).all() and 0 <= accuracy[0] <= 1):
            raise AssertionError(f"an infinite logit: expected NaN in loss and its image's gradient, found {loss}, {np.isnan(gradient).sum()} NaN")
        nothing = capi.upsample_cross_entropy(gpu.upload(logits), gpu.upload(np.full_like(labels, 7)), ignore=7)
        if any(gpu.download(one).any() for one in nothing):
            raise AssertionError("nothing counts: expected zeros")
        return {"images": 3}

    yield "upsample_cross_entropy with an infinite logit and with nothing that counts", special


def timings(gpu, small: bool):
    cases = [(1, 5, (2, 3), (9, 8), None)] if small else [
        (8, classes, *way) for way in (((7, 7), (112, 112), None), ((14, 14), (112, 112), (56, 56))) for classes in (51, 301, 920)
    ]  # fmt: skip
    for n, classes, source, size, middle in cases:
        for dtype in ("float32",) if small else ("float32", "float16"):
            way = " to ".join(f"{h} x {w}" for h, w in ([source, middle, size] if middle else [source, size]))

            def trained(n=n, classes=classes, source=source, size=size, middle=middle, dtype=dtype, way=way):
                logits, labels = (gpu.upload(one) for one in sample(n, classes, source, size, dtype, seed=1))
                sides = {"ours": lambda: capi.upsample_cross_entropy(logits, labels, middle=middle, checked=False)}
                if gpu.name == "torch":
                    torch, functional, given, ids = gpu.torch, gpu.torch.nn.functional, logits.clone().requires_grad_(), labels.long()

                    def peer():
                        with torch.enable_grad():
                            large = functional.interpolate(given, middle, mode="bilinear") if middle else given
                            large = functional.interpolate(large, size, mode="bilinear")
                            loss = functional.cross_entropy(large, ids)
                            (large.detach().argmax(1) == ids).float().mean()
                            return torch.autograd.grad(loss, given)

                    sides["torch"] = peer
                values = float(n) * classes * size[0] * size[1]
                moved = 4.0 * (2 * n * classes * source[0] * source[1] + n * size[0] * size[1])
                case = f"{n} images, {classes} classes, {way}, {dtype}"
                return Timing("upsample_cross_entropy", case, sides, 6 * values, moved, "fp32", {"torch": 5.0})

            yield f"upsample_cross_entropy {classes} classes, {way}, {dtype}", trained
