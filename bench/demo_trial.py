"""Trained, untrained and shuffled: mIoU of the demo over several seeds.

    python bench/demo_trial.py --seeds 1 2 3 --folder runs/trial [--data DIR --preset demo] [--set name=value ...]

For each seed: the trained pipeline, the same pipeline with an untrained encoder, and the trained one's predictions handed
to other images (resized by nearest; the mean over ten permutations). "shuffled" matches clusters to categories anew after
each permutation, as for any set of predictions: the higher figure, chance with the best match. "shuffled, match kept"
keeps the match of the run. Where there are no masks: NMI and accuracy of the clustering for both encoders. Prints one line
a run and the ratios of the means.
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
from luss.benchmark.matching import match_from_json  # noqa: E402

PERMUTATIONS = 10


def run(folder: Path, seed: int, untrained: bool, args) -> float:
    command = [sys.executable, "-m", "luss.cli", "demo" if not args.data else "run", "--workspace", str(folder), "--seed", str(seed)]
    command += ["--data", args.data] if args.data else []
    command += [word for text in args.set for word in ("--set", text)]
    if untrained:
        command += ["--untrained"] if not args.data else ["--set", "pretrain.epochs=0"]
    begin = time.time()
    subprocess.run(command, check=True)
    return time.time() - begin


def shuffled(folder: Path, seed: int) -> tuple[float, float]:
    """Mean mIoU (percent) of the maps of `folder` after each image has been given another image's map: matched anew, match kept."""
    settings = json.loads((folder / "settings.json").read_text())
    root, split, clusters = Path(settings["data"]["root"]), settings["data"]["evaluation_split"], settings["cluster"]["clusters"]
    masks = sorted((root / f"{split}-segmentation").glob("*/*.png"))
    truths = [read_label_map(str(mask)) for mask in masks]
    maps = [read_label_map(str(folder / "7-predict" / split / mask.parent.name / mask.name)) for mask in masks]
    kept = match_from_json(json.loads((folder / "7-predict" / "match.json").read_text()))
    classes = len({mask.parent.name for mask in masks})
    anew, same = [], []
    rng = np.random.default_rng(seed)
    for _ in range(PERMUTATIONS):
        pairs = [(enlarge_labels(maps[i], truth.shape).astype(np.int32), truth) for i, truth in zip(rng.permutation(len(maps)), truths)]
        anew.append(evaluate_pairs(pairs, classes, num_clusters=clusters)["metrics"]["mIoU"])
        same.append(evaluate_pairs(pairs, classes, match=kept, num_clusters=clusters)["metrics"]["mIoU"])
    return float(np.mean(anew)), float(np.mean(same))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--folder", default="runs/trial")
    parser.add_argument("--data", default="")
    parser.add_argument("--set", action="append", default=[])
    args = parser.parse_args()
    figures: dict[str, list[float]] = {"trained": [], "untrained": [], "shuffled": [], "shuffled, match kept": []}
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
            for name, value in zip(("shuffled", "shuffled, match kept"), shuffled(Path(args.folder) / f"trained-{seed}", seed)):
                figures[name].append(value)
            lines.append(f"seed {seed} shuffled   mIoU {figures['shuffled'][-1]:6.2f}, match kept {figures['shuffled, match kept'][-1]:.2f}")
            print(lines[-1], flush=True)
    print("\n".join(["", *lines]))
    print(f"peak memory of the largest process {resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024:.0f} MiB")
    if figures["trained"]:
        means = {name: float(np.mean(values)) for name, values in figures.items()}
        ratios = ", ".join(f"trained / {name} {means['trained'] / value:.2f}" for name, value in means.items() if name != "trained")
        print(f"means {means}; {ratios}")


if __name__ == "__main__":
    main()
