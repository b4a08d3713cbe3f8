"""augment_crops, resize_crops, crop_labels: the same bits as the CPU path; times against the copy bandwidth and PyTorch."""

from __future__ import annotations

import numpy as np

from engine import capi
from engine.ops.augment_crops import augment_crops_host
from engine.ops.crop_labels_reference import crop_labels as labels_reference
from engine.ops.crop_table import CROP, CUT, IMAGE
from engine.ops.resize_crops import resize_crops_host

from .compare import same_bits
from .timing import Timing


def packed(shapes, channels: int, dtype, seed: int, high: int) -> tuple[np.ndarray, np.ndarray]:
    """(bytes,) and (m,) IMAGE of random images."""
    rng, offset, parts, records = np.random.default_rng(seed), 0, [], np.zeros(len(shapes), IMAGE)
    for record, (height, width) in zip(records, shapes):
        values = rng.integers(0, high, (height, width, channels)).astype(dtype)
        record["offset"], record["height"], record["width"] = offset, height, width
        parts.append(values.reshape(-1).view(np.uint8))
        offset += values.nbytes
    return np.concatenate(parts), records


def plan(images: np.ndarray, count: int, seed: int) -> np.ndarray:
    """A random plan with every step in it."""
    rng = np.random.default_rng(seed)
    crops = np.zeros(count, CROP)
    crops["image"] = rng.integers(0, len(images), count)
    height, width = (images[side][crops["image"]] for side in ("height", "width"))
    for extent, length, start in ((height, "height", "top"), (width, "width", "left")):
        crops[length] = np.maximum(1, np.floor(extent * rng.uniform(0.3, 1, count)))
        crops[start] = np.floor((extent - crops[length]) * rng.random(count))
    crops["flip"], crops["grey"] = rng.integers(0, 2, count), rng.random(count) < 0.2
    crops["order"] = np.where(rng.random(count) < 0.8, rng.integers(0, 24, count), -1)
    for factor in ("brightness", "contrast", "saturation"):
        crops[factor] = rng.uniform(0.2, 1.8, count)
    crops["hue"], crops["blur"] = rng.uniform(-0.2, 0.2, count), np.where(rng.random(count) < 0.5, rng.uniform(0.1, 2, count), 0)
    return crops


def cuts_of(images: np.ndarray, size: int, count: int) -> np.ndarray:
    """The middle size x size of images whose shorter side becomes 8 / 7 of it."""
    cuts = np.zeros(count, CUT)
    cuts["image"] = np.arange(count) % len(images)
    height, width = (images[side][cuts["image"]].astype(np.int64) for side in ("height", "width"))
    short = size * 8 // 7
    for name, extent in (("height", height), ("width", width)):
        cuts[name] = np.maximum(short, extent * short // np.minimum(height, width))
    cuts["top"], cuts["left"] = (cuts["height"] - size) // 2, (cuts["width"] - size) // 2
    return cuts


def label_sample(shapes, count: int, size: tuple[int, int], seed: int):
    maps, records = packed(shapes, 1, np.uint16, seed, 920)
    rng = np.random.default_rng(seed)
    numbers = rng.integers(0, len(records), count).astype(np.int32)
    rows, columns = (
        (rng.random((count, length)) * records[side][numbers][:, None]).astype(np.int32) for side, length in (("height", size[0]), ("width", size[1]))
    )
    return maps, records, numbers, rows, columns


def checks(gpu, small: bool):
    shapes = [(17, 23), (9, 40)] if small else [(375, 500), (500, 375), (61, 47), (1, 1), (768, 1024)]
    pixels, images = packed(shapes, 3, np.uint8, 1, 256)
    sizes = [(11, 13)] if small else [(224, 224), (96, 96), (37, 131), (1, 1)]
    for size in sizes:
        for dtype in ("float32", "float16"):
            crops = plan(images, 3 if small else 40, seed=size[1])

            def augmented(size=size, dtype=dtype, crops=crops):
                found = capi.augment_crops(gpu.upload(pixels), images, crops, size, dtype=dtype)
                return same_bits(gpu.download(found), augment_crops_host(pixels, images, crops, size, dtype=dtype))

            def resized(size=size, dtype=dtype):
                cuts = cuts_of(images, max(size), 3 if small else 40)
                found = capi.resize_crops(gpu.upload(pixels), images, cuts, size, dtype=dtype)
                return same_bits(gpu.download(found), resize_crops_host(pixels, images, cuts, size, dtype=dtype))

            yield f"augment_crops {size[0]} x {size[1]} {dtype}", augmented
            yield f"resize_crops {size[0]} x {size[1]} {dtype}", resized

        def labels(size=size):
            maps, *rest = label_sample(shapes, 3 if small else 40, size, seed=size[0])
            return same_bits(gpu.download(capi.crop_labels(gpu.upload(maps), *rest)), labels_reference(maps, *rest))

        yield f"crop_labels {size[0]} x {size[1]}", labels


def timings(gpu, small: bool):
    count, side, shape = (2, 8, (12, 16)) if small else (256, 224, (375, 500))
    floats = {"float32": 4, "float16": 2}

    def augmented(dtype):
        pixels, images = packed([shape] * min(count, 32), 3, np.uint8, 2, 256)
        crops, at = plan(images, count, seed=3), gpu.upload(pixels)
        moved = float((3 * crops["height"] * crops["width"]).sum()) + floats[dtype] * 3.0 * side * side * count
        sides = {"ours": lambda: capi.augment_crops(at, images, crops, side, dtype=dtype)}
        return Timing("augment_crops", f"{count} crops of {side}, {dtype}", sides, 0, moved)

    def resized():
        pixels, images = packed([shape] * min(count, 32), 3, np.uint8, 2, 256)
        cuts, at = cuts_of(images, side, count), gpu.upload(pixels)
        sides = {"ours": lambda: capi.resize_crops(at, images, cuts, side)}
        height, width = int(cuts["height"][0]), int(cuts["width"][0])
        if gpu.name == "torch":
            resize, whole = gpu.torch.nn.functional.interpolate, at.reshape(-1, *shape, 3).permute(0, 3, 1, 2)
            top, left = int(cuts["top"][0]), int(cuts["left"][0])
            mean, std = (gpu.torch.tensor(v, device="cuda")[:, None, None] for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
            numbers = gpu.torch.arange(count, device="cuda") % len(images)

            def peer():
                large = resize(whole[numbers].float(), (height, width), mode="bilinear", antialias=True)
                return (large[:, :, top : top + side, left : left + side] / 255 - mean) / std

            sides["torch"] = peer
        needed = 3.0 * shape[0] * shape[1] * (side / height) * (side / width)
        return Timing("resize_crops", f"{count} cuts of {side}", sides, 0, count * (needed + 12.0 * side * side))

    def labelled():
        maps, records, numbers, rows, columns = label_sample([shape] * min(count, 32), count, (side, side), seed=4)
        at = gpu.upload(maps)
        sides = {"ours": lambda: capi.crop_labels(at, records, numbers, rows, columns)}
        if gpu.name == "torch":
            whole = at.view(gpu.torch.int16).reshape(-1, *shape)
            n, r, c = (gpu.torch.from_numpy(v.astype(np.int64)).cuda() for v in (numbers, rows, columns))
            sides["torch"] = lambda: whole[n[:, None, None], r[:, :, None], c[:, None, :]].int()
        return Timing("crop_labels", f"{count} crops of {side}", sides, 0, count * (6.0 * side * side + 8.0 * side))

    yield "augment_crops float32", lambda: augmented("float32")
    yield "augment_crops float16", lambda: augmented("float16")
    yield "resize_crops", resized
    yield "crop_labels", labelled
