"""Packed images against the original files: disk, speed on one core, and how near the crops stay to those of the originals.

    python bench/bench_packed.py --folder IMAGES [--json FILE]

IMAGES is a folder of photographs, or of class folders of them. Each variant is packed by this process and read back. Printed:

- bytes an image, and the same times the 1,183,322 training images of ImageNet-S 919 (extrapolated, by nothing but the mean);
- images a second that are packed, read with their checksum verified (no decoding), and read and decoded; all in one thread with the files in
  memory, the best of three passes in seconds of the process, beside the rate of decoding the original files with `decode_image`;
- fidelity of what a network would see, held against the same crop of the original: peak signal-to-noise ratio of the pooled squared error,
  and mean absolute difference in grey values, for the evaluation's crop (shorter side 256, centre 224 x 224) and for one random crop an image of
  14 to 100 % of its area.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from engine.data.decode import decode_image
from engine.data.eval_plan import center_cuts
from engine.data.manifest import Manifest
from engine.data.manifest_build import build_manifest
from engine.data.pack import pack_images
from engine.data.pack_format import PackSettings
from engine.data.packed import PackedImages
from engine.data.ragged import Ragged
from engine.ops.resize_crops import resize_crops_host

TRAIN = 1_183_322  # images of ImageNet-S 919, train
CROP, RESIZE, AREA, PASSES = 224, 256, (0.14, 1.0), 3
VARIANTS = {
    "raw, shorter 256": PackSettings("shorter", 256, "raw"),
    "q90, shorter 256": PackSettings("shorter", 256),
    "q90, longest 256": PackSettings("longest", 256),
    "q90, longest 384": PackSettings("longest", 384),
    "q95, longest 384": PackSettings("longest", 384, quality=95),
    "q90, longest 512": PackSettings("longest", 512),
}


def best_rate(function, count: int) -> float:
    """Calls a second of function(0) ... function(count - 1), of the best pass."""
    seconds = []
    for _ in range(PASSES):
        begin = time.process_time()
        for i in range(count):
            function(i)
        seconds.append(time.process_time() - begin)
    return count / min(seconds)


def crops(image: Image.Image, box: tuple[float, float, float, float]) -> tuple[np.ndarray, np.ndarray]:
    """The evaluation's crop, and the random one; `box` = left, top, right, bottom as shares of width and height."""
    width, height = image.size
    place = (box[0] * width, box[1] * height, box[2] * width, box[3] * height)
    random = image.resize((CROP, CROP), Image.Resampling.BILINEAR, box=place)
    whole = Ragged.of([np.asarray(image)])
    centre = resize_crops_host(whole.buffer, whole.table, center_cuts([width], [height], RESIZE, CROP), CROP, dtype="uint8")[0]
    return centre, np.asarray(random)


def random_boxes(count: int) -> list[tuple[float, float, float, float]]:
    rng = np.random.default_rng(0)
    boxes = []
    for _ in range(count):
        side = math.sqrt(rng.uniform(*AREA))
        left, top = rng.uniform(0, 1 - side, 2)
        boxes.append((left, top, left + side, top + side))
    return boxes


def fidelity(pairs) -> dict[str, float]:
    """PSNR in dB of the pooled squared error, and the mean absolute difference, over pairs of uint8 arrays."""
    squares = absolute = values = 0.0
    for a, b in pairs:
        difference = a.astype(np.int32) - b
        squares += float((difference**2).sum())
        absolute += float(np.abs(difference).sum())
        values += difference.size
    return {"psnr": 10 * math.log10(255**2 * values / squares) if squares else math.inf, "difference": absolute / values}


def measure(manifest: Manifest, settings: PackSettings, folder: Path, boxes, reference) -> dict:
    begin = time.process_time()
    pack_images(manifest, folder, settings, workers=0)
    packing = len(manifest) / (time.process_time() - begin)
    pack = PackedImages(folder)
    kept = [crops(Image.fromarray(np.asarray(pack.image(i))), boxes[source]) for i, source in enumerate(pack.source.tolist())]
    pairs = [(reference[source], found) for source, found in zip(pack.source.tolist(), kept)]
    return {
        "bytes": pack.bytes / len(pack),
        "untouched": int(pack.untouched.sum()),
        "packed_per_second": packing,
        "read_per_second": best_rate(pack.record, len(pack)),
        "decoded_per_second": best_rate(pack.image, len(pack)),
        "centre": fidelity((was[0], now[0]) for was, now in pairs),
        "random": fidelity((was[1], now[1]) for was, now in pairs),
    }


def show(name: str, row: dict) -> None:
    total = f"{row['bytes'] * TRAIN / 1e9:8.1f}"
    rates = "".join(f"{row[key]:>10,.0f}" if key in row else f"{'-':>10}" for key in ("packed_per_second", "read_per_second", "decoded_per_second"))
    quality = "".join(
        f"{row[kind]['psnr']:>11.1f}{row[kind]['difference']:>7.2f}" if kind in row else f"{'-':>11}{'-':>7}" for kind in ("centre", "random")
    )
    print(f"{name:20}{row['bytes']:10,.0f}{total}{rates}{quality}{row.get('untouched', ''):>7}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", required=True)
    parser.add_argument("--json", metavar="FILE")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        manifest = build_manifest(args.folder, "train", os.path.join(scratch, "manifest"), workers=1)
        paths = [item.path for item in manifest.items]
        images = [decode_image(path) for path in paths]
        boxes = random_boxes(len(images))
        reference = [crops(image, box) for image, box in zip(images, boxes)]
        del images
        print(f"{len(manifest)} images; rates are images a second of one core")
        print(f"{'':20}{'bytes':>10}{'919, GB':>8}{'pack':>10}{'read':>10}{'decode':>10}{'centre dB':>11}", end="")
        print(f"{'diff':>7}{'random dB':>11}{'diff':>7}{'as is':>7}")
        rows = {"originals": {"bytes": float(manifest.bytes.mean()), "decoded_per_second": best_rate(lambda i: decode_image(paths[i]), len(paths))}}
        show("originals", rows["originals"])
        for number, (name, settings) in enumerate(VARIANTS.items()):
            rows[name] = measure(manifest, settings, Path(scratch, str(number)), boxes, reference)
            show(name, rows[name])
    if args.json:
        Path(args.json).write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
