"""attention_head and attention_pool against the same operations of PyTorch, not fused: 7 x 7 maps enlarged to 28 x 28.

ImageNet-S 50 uses 512 channels (ResNet-18), 300 and 919 use 2048 (ResNet-50). The head is what stage 2.2 runs on every image; pooling, forward
and with its gradients by logits and threshold, is a step of stage 2.1, whose second convolution stays the framework's.
"""

from __future__ import annotations

from harness import THREADS, Case, benchmark_of, main, torch_or_none  # isort: split

import numpy as np

from engine.ops.attention_head import HeadWeights, attention_head_host
from engine.ops.attention_head_reference import attention_head as head_reference
from engine.ops.attention_pool import attention_pool_grad_host, attention_pool_host, pixel_norms_host
from engine.ops.attention_pool_reference import attention_pool as pool_reference

BATCH, SIDE = 8, 7
PIXELS = 16 * SIDE * SIDE
GOALS = {2048: 2.0, 512: 1.6}
LARGEST_ERROR = 1e-5  # relative, in the norm of all values


def cases() -> list[Case]:
    found = []
    for channels, presets in ((512, "50"), (2048, "300, 919")):
        planes = BATCH * channels
        products = 2 * channels * BATCH * channels * (PIXELS + PIXELS // 16)
        small, large = 4 * planes * SIDE * SIDE, 4 * planes * PIXELS
        size = f"C={channels} ({presets})"
        goals = {"torch": GOALS[channels]}
        found.append(Case("attention_head", f"{size} pooled", lambda c=channels: _head(c), products, small + 8 * channels**2, goals))
        found.append(Case("attention_pool", f"{size} forward", lambda c=channels: _pool(c, False), 16 * planes * PIXELS, small + large))
        found.append(Case("attention_pool", f"{size} with gradient", lambda c=channels: _pool(c, True), 32 * planes * PIXELS, small + 3 * large))
    return found


def _head(channels: int) -> dict:
    rng = np.random.default_rng(0)

    def draw(*shape):
        return rng.standard_normal(shape, np.float32)

    features = np.maximum(draw(BATCH, channels, SIDE, SIDE), 0)
    weights = HeadWeights(
        draw(channels, channels), 1 + draw(channels) / 8, draw(channels) / 4,
        draw(channels, channels) / np.float32(np.sqrt(channels)), 1 + draw(channels) / 8, draw(channels),
    )  # fmt: skip
    sides = {"ours": lambda: attention_head_host(features, weights, attention=False, threads=THREADS)[0]}
    torch = torch_or_none()
    if torch is not None:
        x, (w1, a1, b1, w2, a2, b2) = torch.from_numpy(features), map(torch.from_numpy, weights)
        w1, w2, zero, one = w1[:, :, None, None], w2[:, :, None, None], torch.zeros(channels), torch.ones(channels)
        f = torch.nn.functional

        def peer():
            with torch.no_grad():
                u = f.interpolate(x, scale_factor=4, mode="bilinear", align_corners=False)
                hidden = f.relu(f.batch_norm(f.conv2d(f.normalize(u, dim=1), w1), zero, one, a1, b1, eps=0))
                attention = torch.sigmoid(f.batch_norm(f.conv2d(hidden, w2), zero, one, a2, b2, eps=0))
                return (u * attention).mean((2, 3))

        sides["torch"] = peer
    _check(sides, head_reference(features[:1], weights)[0], 1)
    return sides


def _pool(channels: int, gradient: bool) -> dict:
    rng = np.random.default_rng(0)
    features = np.maximum(rng.standard_normal((BATCH, channels, SIDE, SIDE), np.float32), 0)
    logits = rng.standard_normal((BATCH, channels, 4 * SIDE, 4 * SIDE), np.float32)
    threshold, g = rng.standard_normal(channels, np.float32), rng.standard_normal((BATCH, channels), np.float32)

    def ours():
        norms = pixel_norms_host(features, threads=THREADS)
        out = attention_pool_host(features, logits, threshold, norms=norms, threads=THREADS)
        if not gradient:
            return out
        _, *gradients = attention_pool_grad_host(features, logits, threshold, g, norms=norms, features_wanted=False, threads=THREADS)
        return out, gradients

    sides = {"ours": ours}
    torch = torch_or_none()
    if torch is not None:
        x, z, t, d = (torch.from_numpy(array) for array in (features, logits, threshold, g))

        def peer():
            with torch.no_grad():
                unit = torch.nn.functional.normalize(torch.nn.functional.interpolate(x, scale_factor=4, mode="bilinear", align_corners=False), dim=1)
            leaves = (z.detach().requires_grad_(gradient), t.detach().requires_grad_(gradient))
            out = (unit * torch.sigmoid(leaves[0] + leaves[1][:, None, None])).mean((2, 3))
            return (out, torch.autograd.grad(out, leaves, d)) if gradient else out

        sides["torch"] = peer
    _check(sides, pool_reference(features[:1], logits[:1], threshold), 1)
    return sides


def _check(sides: dict, exact: np.ndarray, images: int) -> None:
    for name, side in sides.items():
        found = side()
        if isinstance(found, tuple):
            found = found[0]
        found = np.asarray(found if isinstance(found, np.ndarray) else found.detach())[:images]
        error = np.linalg.norm(found - exact) / np.linalg.norm(exact)
        if not error <= LARGEST_ERROR:
            raise SystemExit(f"{name}: relative error {error:.2g} against float64, expected at most {LARGEST_ERROR}")


test_attention_pool = benchmark_of(cases)

if __name__ == "__main__":
    main(cases)
