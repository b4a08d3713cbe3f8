"""pixel_norms, attention_pool and attention_head: within float32's bounds of the float64 reference; times against unfused PyTorch."""

from __future__ import annotations

import numpy as np

from engine import capi
from engine.ops.attention_head import HeadWeights
from engine.ops.attention_head_reference import attention_head as head_reference
from engine.ops.attention_pool_reference import attention_pool as reference
from engine.ops.attention_pool_reference import attention_pool_grad as reference_grad
from engine.ops.attention_pool_reference import pixel_norms as reference_norms
from tests.engine.ops.attention_samples import head_bounds, head_inputs, norm_bound, pool_bounds, pool_inputs
from tests.engine.ops.test_attention_head_cuda import half_bounds

from .compare import close
from .timing import Timing

BOUND = "the roundings of float32, tests/engine/ops/attention_samples.py"


def checks(gpu, small: bool):
    shapes = [(1, 5, 2, 3)] if small else [(4, 512, 7, 7), (3, 130, 8, 11), (2, 1, 1, 1), (1, 33, 1, 9)]
    for shape in shapes:
        name = " x ".join(map(str, shape))
        for normalize in (True, False):

            def pooled(shape=shape, normalize=normalize):
                inputs = pool_inputs(1, *shape)
                gradient = np.random.default_rng(2).standard_normal(shape[:2]).astype(np.float32)
                bounds, given = pool_bounds(inputs, gradient, normalize), [gpu.upload(value) for value in inputs]
                facts = [close(gpu.download(capi.attention_pool(*given, normalize)), reference(*inputs, normalize), bounds.pooled, BOUND)]
                found = capi.attention_pool_grad(*given, gpu.upload(gradient), normalize)
                for ours, right, bound in zip(found, reference_grad(*inputs, gradient, normalize), bounds[1:]):
                    facts.append(close(gpu.download(ours), right, bound, BOUND))
                return dict(zip(("pooled", "d_features", "d_logits", "d_threshold"), (one["worst_share_of_bound"] for one in facts)))

            yield f"attention_pool {name} {'normalised' if normalize else 'plain'}, with gradients", pooled

        def normed(shape=shape):
            features = pool_inputs(3, *shape).features
            return close(gpu.download(capi.pixel_norms(gpu.upload(features))), reference_norms(features), norm_bound(features), BOUND)

        yield f"pixel_norms {name}", normed
    for shape in [(1, 6, 2, 2)] if small else [(1, 1024, 7, 7), (3, 130, 4, 5), (2, 31, 5, 3), (2, 1, 1, 1)]:

        def headed(shape=shape):
            features, weights = head_inputs(4, *shape)
            weights = weights._replace(weight2=weights.weight2.astype(np.float16).astype(np.float32))  # exact in both kinds of products
            right, facts = head_reference(features, weights), {}
            for products, bounds in (("float32", head_bounds), ("float16", half_bounds)):
                found = capi.attention_head(gpu.upload(features), HeadWeights(*map(gpu.upload, weights)), products=products)
                for name, ours, exact, bound in zip(("pooled", "attention"), found, right, bounds(features, weights)):
                    facts[f"{name} {products}"] = close(gpu.download(ours), exact, bound, BOUND)["worst_share_of_bound"]
            return facts

        yield f"attention_head {' x '.join(map(str, shape))}", headed


def unfused(torch, features, weights: list):
    """The head as written by hand: enlarge, normalise, two 1x1 convolutions with folded normalisation, sigmoid, product, mean."""
    weight1, scale1, shift1, weight2, scale2, shift2 = weights
    large = torch.nn.functional.interpolate(features, scale_factor=4, mode="bilinear")
    unit = torch.nn.functional.normalize(large, dim=1)
    hidden = torch.relu(torch.nn.functional.conv2d(unit, weight1[:, :, None, None]) * scale1[:, None, None] + shift1[:, None, None])
    a = torch.sigmoid(torch.nn.functional.conv2d(hidden, weight2[:, :, None, None]) * scale2[:, None, None] + shift2[:, None, None])
    return (large * a).mean((2, 3)), a.mean(1, keepdim=True)


def timings(gpu, small: bool):
    n, side = (2, 2) if small else (64, 7)
    pixels = 16 * side * side
    for c in (6,) if small else (512, 2048):

        def headed(products, c=c):
            features, weights = head_inputs(5, n, c, side, side)
            given = gpu.upload(features), [gpu.upload(value) for value in weights]
            sides = {"ours": lambda: capi.attention_head(given[0], HeadWeights(*given[1]), products=products)}
            if gpu.name == "torch":
                theirs = given if products == "float32" else (given[0].half(), [value.half() for value in given[1]])
                sides["torch"] = lambda: unfused(gpu.torch, *theirs)
            operations, moved = 2.0 * n * c * c * (pixels + side * side), 4.0 * (features.size + 2 * c * c)
            case, rate = f"{n} images, {c} channels, {side} x {side}, {products}", {"float32": "fp32", "float16": "fp16"}[products]
            return Timing("attention_head", case, sides, operations, moved, rate, {"torch": 3.0 if products == "float32" else 2.0})

        def pooled(c=c):
            given = [gpu.upload(value) for value in pool_inputs(6, n, c, side, side)]
            sides = {"ours": lambda: capi.attention_pool(*given)}
            if gpu.name == "torch":
                functional = gpu.torch.nn.functional

                def peer():
                    unit = functional.normalize(functional.interpolate(given[0], scale_factor=4, mode="bilinear"), dim=1)
                    return (unit * gpu.torch.sigmoid(given[1] + given[2][:, None, None])).mean((2, 3))

                sides["torch"] = peer
            moved = 4.0 * n * c * (pixels + side * side)
            return Timing("attention_pool", f"{n} images, {c} channels, {side} x {side}", sides, 0, moved, goals={"torch": 3.0})

        def plain(c=c):
            given = [gpu.upload(value) for value in pool_inputs(6, n, c, side, side)]
            moved = 4.0 * n * c * (pixels + side * side)
            case = f"{n} images, {c} channels, {side} x {side}, not normalised"
            return Timing("attention_pool", case, {"ours": lambda: capi.attention_pool(*given, False)}, 0, moved, goals={"limit": 0.8})

        def pooled_back(c=c):
            given = [gpu.upload(value) for value in pool_inputs(6, n, c, side, side)]
            gradient = gpu.upload(np.ones((n, c), np.float32))
            norms = capi.pixel_norms(given[0])

            def ours():
                capi.attention_pool(*given, norms=norms)
                return capi.attention_pool_grad(*given, gradient, norms=norms, features_wanted=False)

            sides = {"ours": ours}
            if gpu.name == "torch":
                functional, torch = gpu.torch.nn.functional, gpu.torch
                logits, threshold = (value.clone().requires_grad_() for value in given[1:])

                def peer():
                    with torch.enable_grad():
                        unit = functional.interpolate(given[0], scale_factor=4, mode="bilinear") / norms
                        out = (unit * torch.sigmoid(logits + threshold[:, None, None])).mean((2, 3))
                        return torch.autograd.grad(out, (logits, threshold), gradient)

                sides["torch"] = peer
            moved = 4.0 * n * c * 3 * pixels
            return Timing("attention_pool", f"{n} images, {c} channels, forward and backward", sides, 0, moved, goals={"torch": 3.0})

        for products in ("float32", "float16"):
            yield f"attention_head {c} channels, {products}", lambda headed=headed, products=products: headed(products)
        yield f"attention_pool {c} channels", pooled
        yield f"attention_pool {c} channels, not normalised", plain
        yield f"attention_pool {c} channels, forward and backward", pooled_back
