"""upsample_argmax and vote_masks: the labels of the CPU path; times against PyTorch."""

from __future__ import annotations

import numpy as np

from engine import capi
from engine.ops.masks import Masks
from engine.ops.pixel_nearest_centroid import pixel_nearest_centroid_host
from engine.ops.upsample_argmax import upsample_argmax_host
from engine.ops.vote_masks import vote_masks_host

from .compare import same_bits
from .gpu import on_h200
from .timing import Timing

IMAGES = 27_423  # of ImageNet-S 919's test set


def smooth_logits(n: int, classes: int, height: int, width: int, seed: int) -> np.ndarray:
    """(n, classes, h, w) float32: a few regions with their own classes, and noise, as a trained head gives."""
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((n, classes, height, width), np.float32)
    rows, columns = np.mgrid[:height, :width]
    for image in values:
        for label in rng.integers(0, classes, 6):
            far = ((rows / height - rng.random()) ** 2 + (columns / width - rng.random()) ** 2) / 0.05
            image[label] += (6 * np.exp(-far)).astype(np.float32)
    return values


def ellipses(shape: tuple[int, int], count: int, seed: int, share: float = 0.043) -> np.ndarray:
    """(count, H, W) bool: overlapping ellipses of about `share` of the image."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    area = shape[0] * shape[1] * share * rng.uniform(0.2, 1.8, count)
    aspect = rng.uniform(0.5, 2, count)
    high, wide = np.sqrt(area / np.pi * aspect), np.sqrt(area / np.pi / aspect)
    top, left = rng.random(count) * shape[0], rng.random(count) * shape[1]
    lines = zip(top, left, np.maximum(high, 0.6), np.maximum(wide, 0.6))
    return np.stack([((rows - t) / a) ** 2 + ((columns - x) / b) ** 2 <= 1 for t, x, a, b in lines])


def checks(gpu, small: bool):
    if small:
        cases = [("float32", 5, (3, 4), [(9, 14), (5, 6)], {}), ("float16", 70, (2, 3), [(8, 9)], {"middle": (4, 6)})]
    else:
        both = [(375, 500), (500, 375)]
        cases = [
            ("float32", 51, (32, 43), both, {}),
            ("float16", 301, (32, 43), both, {}),
            ("float32", 920, (32, 43), both, {"first_id": 1, "threshold": 0.4}),
            ("float32", 920, (8, 11), both, {"middle": (32, 44)}),
            ("float32", 51, (7, 7), [(1, 1), (3, 2000), (61, 47)], {"max_res": 40}),
            ("float16", 2, (1, 1), [(17, 19)], {"grid": (5, 6)}),
        ]
    for dtype, classes, shape, sizes, options in cases:

        def enlarged(dtype=dtype, classes=classes, shape=shape, sizes=sizes, options=options):
            logits, given = smooth_logits(len(sizes), classes, *shape, seed=classes).astype(dtype), dict(options)
            on_gpu = dict(options)
            if "threshold" in options:
                gate = np.random.default_rng(1).random((len(sizes), 28, 29), np.float32)
                given["attention"], on_gpu["attention"] = gate, gpu.upload(gate)
            found = capi.upsample_argmax(gpu.upload(logits), np.array(sizes), **on_gpu)
            expected = upsample_argmax_host(logits, np.array(sizes), **given)
            return same_bits(np.concatenate([gpu.download(one).reshape(-1) for one in found]), np.concatenate([one.reshape(-1) for one in expected]))

        yield f"upsample_argmax {classes} classes {shape[0]} x {shape[1]} {dtype} {options or ''}".strip(), enlarged

    def wild():
        logits = smooth_logits(2, 33, 5, 6, seed=9)
        logits[0, 3, 2, 2], logits[1, 7, 0, 0], logits[1, 8, 4, 5] = np.nan, np.inf, -np.inf
        sizes = np.array([(13, 14), (21, 9)] if small else [(130, 141), (215, 97)])
        found = capi.upsample_argmax(gpu.upload(logits), sizes)
        pairs = zip(found, upsample_argmax_host(logits, sizes))
        return {"values": sum(same_bits(gpu.download(ours), expected)["values"] for ours, expected in pairs)}

    yield "upsample_argmax with NaN and infinite logits", wild
    large = [("float32", 512, 919), ("float16", 512, 50), ("float32", 2048, 300), ("float32", 17, 65)]
    for dtype, depth, classes in [("float32", 9, 5)] if small else large:

        def nearest(dtype=dtype, depth=depth, classes=classes):
            rng = np.random.default_rng(depth)
            shape, sizes = ((2, 3), [(9, 14)]) if small else ((8, 11), [(256, 341), (375, 500), (61, 47)])
            features = rng.standard_normal((len(sizes), depth, *shape)).astype(dtype)
            centroids = rng.standard_normal((classes, depth)).astype(np.float32)
            gate = rng.random((len(sizes), 4 * shape[0], 4 * shape[1]), np.float32)
            found = capi.pixel_nearest_centroid(gpu.upload(features), centroids, sizes, attention=gpu.upload(gate), threshold=0.3)
            expected = pixel_nearest_centroid_host(features, centroids, sizes, attention=gate, threshold=0.3)
            return {"values": sum(same_bits(gpu.download(ours), theirs)["values"] for ours, theirs in zip(found, expected))}

        yield f"pixel_nearest_centroid {classes} of {depth} {dtype}", nearest
    scenes = [((9, 14), 4, 7, {})] if small else [
        ((375, 500), 100, 51, {}), ((375, 500), 100, 920, {"on": "original"}), ((61, 47), 30, 20_000, {"min_share": 0.3}), ((1, 1), 3, 5, {}),
        ((768, 1024), 300, 301, {"min_area": 2000, "ignore_background": True}),
    ]  # fmt: skip
    for shape, count, ids, options in scenes:
        for dtype in ("uint16", "int32"):

            def voted(shape=shape, count=count, ids=ids, options=options, dtype=dtype):
                rng = np.random.default_rng(count)
                maps = [blocks(rng, shape, ids).astype(dtype) for _ in range(3)]
                masks = [Masks.from_dense(ellipses(shape, count, seed)) for seed in range(3)]
                expected, votes = vote_masks_host(maps, masks, **options)
                words, total = [gpu.upload(one.to_packed()) for one in masks], 0
                for given in (masks, words):
                    found, cast = capi.vote_masks([gpu.upload(one) for one in maps], given, **options)
                    for ours, theirs, mine, yours in zip(found, expected, cast, votes):
                        same_bits(gpu.download(mine), yours.view(np.int32).reshape(-1, 4))
                        total += same_bits(gpu.download(ours), theirs)["values"]
                return {"values": total}

            yield f"vote_masks {count} masks {shape[0]} x {shape[1]} {ids} ids {dtype} {options or ''}".strip(), voted


def blocks(rng: np.random.Generator, shape: tuple[int, int], ids: int) -> np.ndarray:
    """A label map of patches, as a network gives."""
    coarse = rng.integers(0, ids, (-(-shape[0] // 24), -(-shape[1] // 24)))
    return np.repeat(np.repeat(coarse, 24, 0), 24, 1)[: shape[0], : shape[1]]


def timings(gpu, small: bool):
    shapes = [(5, (3, 4), (9, 14), None, 2)] if small else [
        (51, (32, 43), (375, 500), None, 32), (301, (32, 43), (375, 500), None, 16), (920, (32, 43), (375, 500), None, 16),
        (920, (8, 11), (375, 500), None, 16), (920, (8, 11), (375, 500), (32, 44), 16),
    ]  # fmt: skip
    for classes, source, size, middle, n in shapes:
        way = [source, middle, size] if middle else [source, size]
        case = f"{n} images, {classes} classes, " + " to ".join(f"{height} x {width}" for height, width in way)

        def enlarged(classes=classes, source=source, size=size, middle=middle, n=n, case=case):
            logits = gpu.upload(smooth_logits(n, classes, *source, seed=1))
            sides = {"ours": lambda: capi.upsample_argmax(logits, np.array([size] * n), middle=middle)}
            if gpu.name == "torch":
                grow = gpu.torch.nn.functional.interpolate

                def peer():  # image by image: the enlarged logits of one take 0.7 GB at 920 classes
                    for one in logits.split(1):
                        one = grow(one, middle, mode="bilinear") if middle else one
                        grow(one, size, mode="bilinear").argmax(1)

                sides["torch"] = peer
            pixels = n * size[0] * size[1]
            goals = {"torch": 20.0, **on_h200(gpu, 50e-6 * n)}
            return Timing("upsample_argmax", case, sides, 0, 4.0 * (n * classes * source[0] * source[1] + pixels), goals=goals)

        yield f"upsample_argmax {case}", enlarged
    n, depth, classes, source, size = (2, 9, 5, (2, 3), (9, 14)) if small else (32, 512, 919, (8, 11), (256, 341))

    def nearest():
        rng = np.random.default_rng(6)
        features = gpu.upload(rng.standard_normal((n, depth, *source)).astype(np.float32))
        centroids = rng.standard_normal((classes, depth)).astype(np.float32)
        sides = {"ours": lambda: capi.pixel_nearest_centroid(features, centroids, np.array([size] * n))}
        if gpu.name == "torch":
            unit, functional = gpu.torch.nn.functional.normalize(gpu.upload(centroids)), gpu.torch.nn.functional

            def peer():  # as published: enlarge and normalise the features, then the product
                for one in features.split(1):
                    large = functional.normalize(functional.interpolate(one, scale_factor=4, mode="bilinear"), dim=1)
                    labels = gpu.torch.einsum("nchw,kc->nkhw", large, unit).argmax(1, keepdim=True).float() + 1
                    functional.interpolate(labels, size)

            sides["torch"] = peer
        area, pixels = source[0] * source[1], size[0] * size[1]
        moved = 4.0 * (n * depth * area + classes * depth + n * pixels)
        case = f"{n} images, {classes} centroids of {depth}, {source[0]} x {source[1]}"
        return Timing("pixel_nearest_centroid", case, sides, 2.0 * n * classes * depth * area, moved)

    yield "pixel_nearest_centroid", nearest
    shape, count, n = ((9, 14), 3, 2) if small else ((375, 500), 100, 256)
    for form in ("packed", "runs"):

        def voted(form=form):
            rng = np.random.default_rng(2)
            some = [Masks.from_dense(ellipses(shape, count, seed)) for seed in range(min(n, 8))]
            masks = [some[i % len(some)] for i in range(n)]
            maps = [gpu.upload(blocks(rng, shape, 51).astype(np.uint16)) for _ in range(n)]
            given = [gpu.upload(one.to_packed()) for one in masks] if form == "packed" else masks
            pixels, sides = shape[0] * shape[1], {"ours": lambda: capi.vote_masks(maps, given, bins=51)}
            moved = n * 4.0 * pixels + sum(8.0 * len(one.runs) if form == "runs" else len(one) * pixels / 8 for one in masks)
            return Timing("vote_masks", f"{n} images, {count} masks, {form}", sides, 0, moved, goals=on_h200(gpu, 2.0 * n / IMAGES))

        yield f"vote_masks {form}", voted

    def one_image():
        masks = ellipses(shape, count, 1)
        label_map, dense, words = blocks(np.random.default_rng(2), shape, 51), None, gpu.upload(Masks.from_dense(masks).to_packed())
        first = gpu.upload(label_map.astype(np.int32))
        sides = {"ours": lambda: capi.vote_masks(first, words, bins=51)}
        if gpu.name == "torch":
            dense, wide = gpu.upload(masks), gpu.upload(label_map.astype(np.int64))

            def peer():
                out = wide.clone()
                for mask in dense:
                    out[mask] = gpu.torch.bincount(out[mask], minlength=51).argmax()

            sides["torch"] = peer
        moved = 8.0 * shape[0] * shape[1] + masks.size / 8
        return Timing("vote_masks", f"1 image, {count} masks, packed", sides, 0, moved)

    yield "vote_masks one image", one_image
