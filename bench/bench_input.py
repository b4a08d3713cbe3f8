"""The input pipeline against what a user would write with Pillow, per core, both sides alternately in one run on real photographs.

    python bench/bench_input.py [--images DIR] [--rounds 9] [--json FILE]

DIR: a folder of JPEGs, ../shared/data/imagenet-samples by default (200 ImageNet photographs of original size). Everything runs on one
core; times are the process's CPU seconds, the least of all rounds. The sections:

  decode    libjpeg-turbo alone (simplejpeg into one buffer), ours from the same bytes, and Pillow
  files     JPEG file to normalised crops: 2 x 224, and 2 x 224 + 6 x 96; ours against bench/peers/pillow_crops.py
  packed    the same from packs made here: JPEG quality 90 and raw pixels
  raw crops 2 x 224 without colour changes from a raw pack with the shorter side at 256
  loading   what a loading process does where augmentation is left to the GPU: read, decode, plan; and from it how many cores feed four cards
  fidelity  difference of our crops to Pillow's on the same plans, in levels of 255
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import time
from pathlib import Path

os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))  # per core

import numpy as np
import simplejpeg

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.peers import pillow_crops
from engine.data import MultiCropDataset, PackedImages, Ragged, crop_major
from engine.data.decode import decode_image, read_file
from engine.data.jpeg import EncodedImage
from engine.data.manifest_build import open_manifest
from engine.data.pack import pack_images
from engine.data.pack_format import PackSettings
from engine.data.shared_slots import SlotWriter
from engine.ops import augment_crops_reference
from engine.ops.augment_crops import augment_crops_host

ROOT = Path(__file__).resolve().parents[1]
TWO = ((2, 224, (0.08, 1.0)),)
EIGHT = ((2, 224, (0.14, 1.0)), (6, 96, (0.05, 0.14)))
NEEDED = {"low": 3000, "high": 3600}  # images/s that four RTX 2080 Ti take in stage 1, ResNet-18, fp16 (performance.md section 5, an estimate)
PART = 16  # images a task of a loading process


def dataset(images, groups) -> MultiCropDataset:
    counts, sizes, scales = zip(*groups)
    return MultiCropDataset(images, 1, counts, sizes, [low for low, _ in scales], [high for _, high in scales])


class Ours:
    """Loads parts as a loading process does, into one slot, and augments them."""

    def __init__(self, images, groups, size: int = 96 << 20):
        self.groups, self.data, self.slot, self.epoch = groups, dataset(images, groups), np.zeros(size, np.uint8), 0
        largest = max(count * side * side for count, side, _ in groups) * 3 * PART
        self.out = np.zeros(largest, np.float32)

    def parts(self):
        self.epoch += 1
        for first in range(0, len(self.data), PART):
            writer = SlotWriter(self.slot)
            samples = self.data.load_many(self.epoch, range(first, min(first + PART, len(self.data))), writer.place)
            yield [sample["image"] for sample in samples], np.stack([sample["crops"] for sample in samples])

    def load(self) -> None:
        for _ in self.parts():
            pass

    def crops(self) -> None:
        for images, plans in self.parts():
            self.augment(images, plans)

    def augment(self, images, plans) -> None:
        table = _table(images, self.slot)
        first = 0
        for count, side, _ in self.groups:
            plan = crop_major(plans[:, first : first + count])
            out = self.out[: len(plan) * 3 * side * side].reshape(len(plan), 3, side, side)
            augment_crops_host(self.slot, table, plan, side, out=out, threads=1)
            first += count


def _table(images, slot):
    base = slot.__array_interface__["data"][0]
    return Ragged.at([image.__array_interface__["data"][0] - base for image in images], images)


def least(sides: dict, rounds: int) -> dict:
    """Least CPU seconds of each side, taken in turn."""
    best = dict.fromkeys(sides, float("inf"))
    for _ in range(rounds):
        for name, work in sides.items():
            begin = time.process_time()
            work()
            best[name] = min(best[name], time.process_time() - begin)
    return best


def decode(paths, rounds: int) -> dict:
    datas = [read_file(path) for path in paths]
    buffer = np.zeros(max(image.width * image.height for image in (EncodedImage(data, "") for data in datas)) * 3, np.uint8)

    def turbo():
        for data in datas:
            simplejpeg.decode_jpeg(data, "RGB", buffer=buffer)

    def ours():
        for data, path in zip(datas, paths):
            EncodedImage(data, path).decode(lambda count: buffer[:count])

    def pillow():
        for path in paths:
            np.asarray(decode_image(path))

    seconds = least({"libjpeg-turbo": turbo, "ours": ours, "Pillow": pillow}, rounds)
    return {name: len(paths) / value for name, value in seconds.items()}


def crop_sets(paths, items, packs: dict, groups, rounds: int) -> dict:
    random.seed(1)

    def pillow():
        for path in paths:
            pillow_crops.crops(path, groups)

    sides = {"Pillow": pillow, "files": Ours(items, groups).crops, **{name: Ours(pack, groups).crops for name, pack in packs.items()}}
    return {name: len(paths) / value for name, value in least(sides, rounds).items()}


def raw_crops(pack, rounds: int) -> dict:
    """2 x 224 from raw pixels: crop, resize, flip; as levels and as normalised floats."""
    ours = Ours(pack, TWO)
    ours.data.groups = tuple(type(group)(group.count, group.size, group.scale, jitter=0, grey=0, blur=0) for group in ours.data.groups)
    levels = np.zeros((2 * PART, 224, 224, 3), np.uint8)

    def as_levels():
        for images, plans in ours.parts():
            plan = crop_major(plans)
            augment_crops_host(ours.slot, _table(images, ours.slot), plan, 224, dtype="uint8", out=levels[: len(plan)], threads=1)

    seconds = least({"uint8": as_levels, "float32": ours.crops}, rounds)
    return {name: len(pack) / value for name, value in seconds.items()}


def loading(items, packs: dict, rounds: int) -> dict:
    sides = {f"{name}, {label}": Ours(images, groups).load for label, groups in (("2", TWO), ("2 + 6", EIGHT)) for name, images in
             {"files": items, **packs}.items()}  # fmt: skip
    return {name: len(items) / value for name, value in least(sides, rounds).items()}


def fidelity(items, packs: dict) -> dict:
    """Mean and worst crop's mean absolute difference, on the same plans: of the op alone, and with the image reduced or packed."""
    whole, found = dataset(items, TWO), {}
    whole.sizes = np.full(2, 10**6)  # never reduced while decoding
    exact = [whole.load(0, index) for index in range(len(items))]
    expected = [_levels(augment_crops_reference.augment_levels, sample) for sample in exact]
    sets = {"ours, whole images": whole, "ours, reduced where allowed": dataset(items, TWO)}
    sets.update((name, dataset(pack, TWO)) for name, pack in packs.items())
    for name, data in sets.items():
        differences = []
        for index in range(len(data)):
            got = _levels(augment_crops_host, data.load(0, index), dtype="uint8")
            differences += np.abs(got.astype(int) - expected[index]).reshape(len(got), -1).mean(1).tolist()
        found[name] = {"mean": float(np.mean(differences)), "worst": float(np.max(differences))}
    return found


def _levels(op, sample, **options):
    images = Ragged.of([sample["image"]])
    return op(images.buffer, images.table, sample["crops"], 224, **options)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", default=str(ROOT.parent / "shared" / "data" / "imagenet-samples"), help="folder of JPEGs")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", help="write the figures here, too")
    args = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory() as folder:
        manifest = open_manifest(args.images, "train", os.path.join(folder, "images.manifest"))
        items = [item for item, readable in zip(manifest.items, manifest.readable) if readable]
        paths = [item.path for item in items]
        packs = {}
        for name, settings in {
            "jpeg-256": PackSettings("longest", 256, "jpeg", 90),
            "jpeg-384": PackSettings("longest", 384, "jpeg", 90),
            "raw-256": PackSettings("shorter", 256, "raw"),
        }.items():
            pack_images(manifest, os.path.join(folder, name), settings, workers=0, quiet=True)
            packs[name] = PackedImages(os.path.join(folder, name))
        print(f"{len(items)} photographs of {args.images}, one core, least of {args.rounds} rounds, images/s")
        figures = {"decode": decode(paths, args.rounds)}
        show("decode", figures["decode"], "libjpeg-turbo")
        for label, groups in (("2 x 224", TWO), ("2 x 224 + 6 x 96", EIGHT)):
            figures[label] = crop_sets(paths, items, packs, groups, args.rounds)
            show(label, figures[label], "Pillow")
        figures["raw crops"] = raw_crops(packs["raw-256"], args.rounds)
        show("2 x 224 from raw-256, no colour changes", figures["raw crops"], None)
        figures["loading"] = loading(items, packs, args.rounds)
        show("loading alone", figures["loading"], None)
        for name, rate in figures["loading"].items():
            print(f"  cores for four RTX 2080 Ti at {NEEDED['low']} to {NEEDED['high']} images/s: {name}: "
                  f"{NEEDED['low'] / rate:.1f} to {NEEDED['high'] / rate:.1f}")  # fmt: skip
        figures["fidelity"] = fidelity(items, packs)
        print("difference to Pillow's crops, levels of 255: mean, worst crop")
        for name, value in figures["fidelity"].items():
            print(f"  {name:28} {value['mean']:.3f} {value['worst']:.3f}")
        if args.json:
            Path(args.json).write_text(json.dumps(figures, indent=1))


def show(title: str, rates: dict, base: str | None) -> None:
    print(title)
    for name, rate in rates.items():
        print(f"  {name:20} {rate:8.0f}" + (f"   {rate / rates[base]:.2f} x {base}" if base else ""), flush=True)


if __name__ == "__main__":
    main()
