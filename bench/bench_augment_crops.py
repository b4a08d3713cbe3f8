"""augment_crops against the Pillow chain (and OpenCV's, where it is installed), per core, on the same images and plans in one run.

    python bench/bench_augment_crops.py [--images 32] [--crops 96] [--size 224] [--folder DIR] [--rounds 9] [--json FILE]

Decoded images of --folder, or generated ones of 500 x 375 pixels; boxes of 8 to 100 % of the area. Three plans: plain (cut, resize, flip), all of
pre-training (jitter 0.8, grey 0.2, blur 0.5), and all of it on every crop. Both sides end in normalised float32 (n, 3, h, w); our float16 beside
it. The sides take turns; the figures are the least CPU time of the rounds in milliseconds a crop, on one thread. Before that, the levels of both
must be the same.

With OpenCV the boxes are resized without antialiasing and the jitter is left out: it is a lower bound of what that library would take.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path

os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))  # per core

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.peers.pillow_crops import normalize
from engine.data.decode import decode_rgb
from engine.ops.augment_crops import augment_crops_host
from engine.ops.augment_crops_reference import augment_levels
from tests.engine.data.samples import photo
from tests.engine.ops.crop_samples import pack, random_plan

PLANS = {
    "plain": {"jitter": 0, "grey": 0, "blur": 0},
    "pre-training": {},
    "everything": {"jitter": 1, "grey": 0, "blur": 1},
}


def opencv_side(arrays, crops, size):
    """Cut, resize, flip and blur; None where OpenCV is absent."""
    try:
        import cv2
    except ImportError:
        return None
    cv2.setNumThreads(1)

    def run():
        out = np.empty((len(crops), size, size, 3), np.uint8)
        for crop, result in zip(crops, out):
            left, top, width, height = (int(crop[name]) for name in ("left", "top", "width", "height"))
            cut = cv2.resize(arrays[crop["image"]][top : top + height, left : left + width], (size, size), interpolation=cv2.INTER_LINEAR)
            cut = cv2.flip(cut, 1) if crop["flip"] else cut
            result[:] = cv2.GaussianBlur(cut, (0, 0), float(crop["blur"])) if crop["blur"] > 0 else cut
        return normalize(out)

    return run


def cpu_milliseconds(sides: dict, rounds: int, crops: int) -> dict[str, float]:
    """Least CPU time of each side over the rounds, which they take in turn."""
    best = dict.fromkeys(sides, float("inf"))
    for _ in range(rounds):
        for name, side in sides.items():
            begin = time.process_time()
            side()
            best[name] = min(best[name], (time.process_time() - begin) / crops * 1000)
    return best


def compare(arrays, pixels, images, options, probabilities) -> dict[str, float]:
    """Times of one plan."""
    crops = random_plan(images, options.crops, seed=1, **probabilities)
    size = options.size
    if not np.array_equal(augment_crops_host(pixels, images, crops, size, dtype="uint8"), augment_levels(pixels, images, crops, size)):
        raise SystemExit("the levels differ from Pillow's")
    full, half = (np.empty((len(crops), 3, size, size), dtype) for dtype in ("float32", "float16"))
    sides = {
        "ours float32": lambda: augment_crops_host(pixels, images, crops, size, out=full, threads=1),
        "ours float16": lambda: augment_crops_host(pixels, images, crops, size, dtype="float16", out=half, threads=1),
        "pillow": lambda: normalize(augment_levels(pixels, images, crops, size)),
    }
    opencv = opencv_side(arrays, crops, size)
    if opencv is not None:
        sides["opencv, no jitter"] = opencv
    return cpu_milliseconds(sides, options.rounds, len(crops))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=32)
    parser.add_argument("--crops", type=int, default=96)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--folder", help="JPEG files, at any depth")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json")
    options = parser.parse_args()
    if options.folder:
        paths = sorted(path for path in Path(options.folder).rglob("*") if path.suffix.lower() in (".jpeg", ".jpg"))[: options.images]
        arrays = [decode_rgb(str(path)) for path in paths]
    else:
        arrays = [np.asarray(photo(500, 375, seed)) for seed in range(options.images)]
    pixels, images = pack(arrays)
    results = {name: compare(arrays, pixels, images, options, probabilities) for name, probabilities in PLANS.items()}
    for name, result in results.items():
        print(f"{name}, levels as Pillow's")
        for side, milliseconds in result.items():
            print(f"  {side:18} {milliseconds:7.3f} ms a crop  {result['pillow'] / milliseconds:6.1f} x pillow")
    if options.json:
        Path(options.json).write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
