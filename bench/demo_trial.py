"""Trained, untrained and shuffled: mIoU of the demo over several seeds.

    python bench/demo_trial.py --seeds 1 2 3 --folder runs/trial [--data DIR --preset demo] [--set name=value ...]

For each seed: the trained pipeline, the same pipeline with an untrained encoder, and the trained one's predictions handed
to other images (a fixed random permutation, resized by nearest). Where there are no masks: NMI and accuracy of the
clustering for both encoders. Prints one line a run and the ratios of the means.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from engine.ops.label_maps import enlarge_labels  # noqa: E402
from luss.benchmark.evaluate import evaluate_pairs  # noqa: E402
from luss.benchmark.label_map import read_label_map  # noqa: E402


def run(folder: Path, seed: int, untrained: bool, args) -> float:
    command = [sys.executable, "-m", "luss.cli", "demo" if not args.data else "run", "--workspace", str(folder), "--seed", str(seed)]
    command += ["--data", args.data] if args.data else []
    command += [word for text in args.set for word in ("--set", text)]
    if untrained:
        command += ["--untrained"] if not args.data else ["--set", "pretrain.epochs=0"]
    begin = time.time()
    subprocess.run(command, check=True)
    return time.time() - begin


def shuffled(folder: Path, seed: int) -> float:
    """mIoU (percent) of the maps of `folder` after each image has been given another image's map."""
    settings = json.loads((folder / "settings.json").read_text())
    root, split = Path(settings["data"]["root"]), settings["data"]["evaluation_split"]
    masks = sorted((root / f"{split}-segmentation").glob("*/*.png"))
    order = np.random.default_rng(seed).permutation(len(masks))
    pairs = []
    for target, source in zip(masks, order):
        truth = read_label_map(str(target))
        given = read_label_map(str(folder / "7-predict" / split / masks[source].parent.name / masks[source].name))
        pairs.append((enlarge_labels(given, truth.shape).astype(np.int32), truth))
    classes = len({mask.parent.name for mask in masks})
    return evaluate_pairs(pairs, classes, num_clusters=settings["cluster"]["clusters"])["metrics"]["mIoU"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--folder", default="runs/trial")
    parser.add_argument("--data", default="")
    parser.add_argument("--set", action="append", default=[])
    args = parser.parse_args()
    figures: dict[str, list[float]] = {"trained": [], "untrained": [], "shuffled": []}
    lines = []
    for seed in args.seeds:
        for kind in ("trained", "untrained"):
            folder = Path(args.folder) / f"{kind}-{seed}"
            seconds = run(folder, seed, kind == "untrained", args)
            metrics = json.loads((folder / "8-evaluate" / "metrics.json").read_text())
            report = json.loads((folder / "3-cluster" / "report.json").read_text())
            if "mIoU" in metrics:
                figures[kind].append(metrics["mIoU"])
            lines.append(
                f"seed {seed} {kind:9}  mIoU {metrics.get('mIoU', float('nan')):6.2f}  "
                f"NMI {report['nmi']:.3f}  accuracy {report['accuracy']:.3f}  {seconds:.0f} s"
            )
            print(lines[-1], flush=True)
        if figures["trained"]:
            figures["shuffled"].append(shuffled(Path(args.folder) / f"trained-{seed}", seed))
            lines.append(f"seed {seed} shuffled   mIoU {figures['shuffled'][-1]:6.2f}")
            print(lines[-1], flush=True)
    print("\n".join(["", *lines]))
    print(f"peak memory of the largest process {resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024:.0f} MiB")
    if figures["trained"]:
        means = {name: float(np.mean(values)) for name, values in figures.items()}
        ratios = f"trained / untrained {means['trained'] / means['untrained']:.2f}, trained / shuffled {means['trained'] / means['shuffled']:.2f}"
        print(f"means {means}; {ratios}")


if __name__ == "__main__":
    main()
