"""resize_crops against Pillow's resize, per core, on the same images in one run.

    python bench/bench_resize_crops.py [--images 16] [--folder DIR] [--rounds 15] [--json FILE]

Decoded images of --folder, or generated ones of 500 x 375, 1600 x 1200 and 300 x 200 pixels, with their shorter side at 256: the central
224 x 224, and the whole image. Beside Pillow's resize alone stands what it takes to come to the same result, cut out and normalised
float32 (3, h, w); ours includes that always. The sides take turns; the figures are the least CPU time of the rounds in milliseconds an
image, on one thread. Before that, the levels of both must be the same.
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
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.peers.pillow_crops import normalize
from engine.data.decode import decode_rgb
from engine.data.eval_plan import center_cuts, whole_cuts
from engine.ops.resize_crops import resize_crops_host
from engine.ops.resize_crops_reference import resize_levels
from tests.engine.data.samples import photo
from tests.engine.ops.cut_samples import pack

SHORTER, CROP = 256, 224
SIZES = ((500, 375), (1600, 1200), (300, 200))


def sides_of(arrays, cuts, sizes):
    """What is timed; each does all images. sizes: (h, w) of each cut; ours takes cuts of one size together."""
    pixels, images = pack(arrays)
    pictures = [Image.fromarray(array) for array in arrays]
    groups = [(np.flatnonzero((sizes == size).all(1)), tuple(size.tolist())) for size in np.unique(sizes, axis=0)]

    def resized():
        return [picture.resize((int(cut["width"]), int(cut["height"])), Image.Resampling.BILINEAR) for picture, cut in zip(pictures, cuts)]

    def pillow():
        for picture, cut, (height, width) in zip(resized(), cuts, sizes):
            normalize(np.asarray(picture)[None, cut["top"] : cut["top"] + height, cut["left"] : cut["left"] + width])

    def ours(dtype):
        return lambda: [resize_crops_host(pixels, images, cuts[group], size, dtype=dtype, threads=1) for group, size in groups]

    for group, size in groups:
        if not np.array_equal(resize_crops_host(pixels, images, cuts[group], size, dtype="uint8"), resize_levels(pixels, images, cuts[group], size)):
            raise SystemExit("the levels differ from Pillow's")
    return {
        "Pillow resize": resized,
        "Pillow, cut, normalised": pillow,
        "ours float32": ours("float32"),
        "ours float16": ours("float16"),
        "ours uint8": ours("uint8"),
    }


def least(sides, rounds: int) -> dict[str, float]:
    """Least CPU milliseconds of each side, which take turns."""
    best = dict.fromkeys(sides, float("inf"))
    for _ in range(rounds):
        for name, side in sides.items():
            begin = time.process_time()
            side()
            best[name] = min(best[name], 1e3 * (time.process_time() - begin))
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--folder", help="JPEG files to take instead of generated images")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json")
    options = parser.parse_args()
    if options.folder:
        paths = sorted(Path(options.folder).glob("*.JPEG"))[: options.images]
        sets = {f"{len(paths)} files of {options.folder}": [decode_rgb(path) for path in paths]}
    else:
        sets = {f"{w} x {h}": [np.asarray(photo(w, h, seed)) for seed in range(options.images)] for w, h in SIZES}
    results = {}
    for name, arrays in sets.items():
        heights, widths = np.array([array.shape[:2] for array in arrays]).T
        whole = whole_cuts(widths, heights, SHORTER)
        cases = {
            f"{CROP} of {SHORTER}": (center_cuts(widths, heights, SHORTER, CROP), np.full((len(arrays), 2), CROP)),
            "whole image": (whole, np.stack([whole["height"], whole["width"]], 1)),
        }
        for case, (cuts, sizes) in cases.items():
            best = least(sides_of(arrays, cuts, sizes), options.rounds)
            results[f"{name}, {case}"] = {side: total / len(arrays) for side, total in best.items()}
            print(f"{name}, {case}")
            for side, total in best.items():
                ratio = best["Pillow resize"] / total
                print(f"  {side:24} {total / len(arrays):7.3f} ms an image   {ratio:5.2f} x Pillow's resize")
    if options.json:
        Path(options.json).write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
