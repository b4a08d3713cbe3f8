"""The evaluator against the published algorithm written plainly (bench/peers/plain_evaluator.py), per core, on the same images in one run.

    python bench/bench_evaluate.py [--images 500] [--classes 919] [--folder DIR] [--json FILE]

Label maps of 500 x 375 pixels with smooth outlines, 1 to 4 categories and a thin ignored line between them, are generated, and written as PNG by
Pillow and as float32 attention maps. Both sides take blocks of images in turn; the seconds are those of the process (CPU time), so that other work
on the machine distorts them little. Figures and counts of both sides are compared before anything is printed.

Printed: milliseconds an image and ratios for the metric core (maps in memory), the whole evaluator (from the files), and the 81-threshold curve,
where the plain side's time is 81 times that of one threshold, as the published evaluator does all its metrics anew at each; the matching at K
classes; and from two runs of two worker processes, of all images and of a quarter, wall time extrapolated to the 12,419 validation images of
ImageNet-S 919.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))  # per core

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.peers.plain_evaluator import EROSION, PlainEvaluator, cost_matrix, read_ids
from luss.benchmark.counts import CountTable, count_image
from luss.benchmark.curve import DEFAULT_THRESHOLDS, CurveSums, apply_threshold, count_attention, threshold_edges
from luss.benchmark.evaluate import curve_folder, evaluate_counts, evaluate_folder
from luss.benchmark.label_map import IGNORE, read_label_map
from luss.benchmark.schemes import match_by
from luss.benchmark.scoring import score
from luss.benchmark.store import load_counts, pack_counts, save_counts

SIZE = (375, 500)
VALIDATION = 12_419  # images of ImageNet-S 919
BLOCK = 25  # images a side takes before the other's turn
SHOWN_THRESHOLD = 0.4


def smooth(rng: np.random.Generator, layers: int) -> np.ndarray:
    """Random fields with bumps of about 40 pixels; (layers, H, W) float32."""
    coarse = rng.standard_normal((layers, 9, 12)).astype(np.float32)
    return np.stack([np.asarray(Image.fromarray(layer).resize(SIZE[::-1], Image.Resampling.BICUBIC)) for layer in coarse])


def make_image(rng: np.random.Generator, classes: int, cluster_of: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Predicted ids, true ids, attention."""
    count = int(rng.integers(1, 5))
    labels = rng.choice(np.arange(1, classes + 1), count, replace=False)
    fields = smooth(rng, count + 1)
    fields[0] += 0.5
    ordered = np.sort(fields, axis=0)
    gt = np.concatenate([[0], labels])[fields.argmax(axis=0)]
    gt[ordered[-1] - ordered[-2] < 0.01] = IGNORE
    guesses = np.where(rng.random(count) < 0.5, labels, rng.integers(1, classes + 1, count))
    pred = cluster_of[np.concatenate([[0], guesses])][(fields + 0.6 * smooth(rng, count + 1)).argmax(axis=0)]
    attention = 1 / (1 + np.exp(-2 * (ordered[-1] - fields[0]) - smooth(rng, 1)[0] + 0.5))
    return pred, gt, attention.astype(np.float32)


def write_images(folder: Path, images: int, classes: int) -> list[str]:
    """PNG and .npy files below folder/pred and folder/data; keys in order."""
    rng = np.random.default_rng(0)
    cluster_of = np.concatenate([[0], rng.permutation(classes) + 1])
    keys = []
    for number in range(images):
        pred, gt, attention = make_image(rng, classes, cluster_of)
        keys.append(f"n{number % 50:02d}/{number:05d}.png")
        for part, ids in (("pred", pred), ("data/validation-segmentation", gt)):
            path = folder / part / keys[-1]
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.stack([ids % 256, ids // 256, 0 * ids], axis=-1).astype(np.uint8)).save(path)
        np.save((folder / "pred" / keys[-1]).with_suffix(".npy"), attention)
    return sorted(keys, key=lambda key: key.split("/"))


class Sides:
    """CPU seconds of two sides that take blocks in turn."""

    def __init__(self):
        self.seconds = {"plain": 0.0, "ours": 0.0}

    def time(self, side: str, function, *arguments):
        begin = time.process_time()
        result = function(*arguments)
        self.seconds[side] += time.process_time() - begin
        return result


def compare(name: str, ours: dict, plain: dict) -> None:
    """The two sides must agree, or there is nothing to time."""
    for metric, value in plain.items():
        if value is None or ours[metric] is None:
            agree = value is None and ours[metric] is None
        else:
            agree = abs(value - ours[metric]) <= 1e-9 * abs(value)
        if not agree:
            raise SystemExit(f"{name}: {metric} is {ours[metric]!r} here and {value!r} in the plain evaluator")


def bench_core(folder: Path, keys: list[str], classes: int, threshold: float | None) -> tuple[Sides, Sides]:
    """Counting and metrics of maps in memory; and of the same maps in files."""
    memory, files = Sides(), Sides()
    counts, edge = [], np.float32(0 if threshold is None else threshold)
    lookup = np.arange(classes + 1)
    plain_memory, plain_files = PlainEvaluator(classes, lookup), PlainEvaluator(classes, lookup)

    def ours_read(key):
        return read_label_map(folder / "pred" / key), read_label_map(folder / "data/validation-segmentation" / key)

    def plain_read(key):
        return read_ids(str(folder / "pred" / key)), read_ids(str(folder / "data/validation-segmentation" / key))

    for first in range(0, len(keys), BLOCK):
        block = keys[first : first + BLOCK]
        pairs = [ours_read(key) for key in block]
        if threshold is not None:
            pairs = [(apply_threshold(pred, np.load((folder / "pred" / key).with_suffix(".npy")), edge), gt) for (pred, gt), key in zip(pairs, block)]
        small = [(pred.astype(np.uint16), gt.astype(np.uint16)) for pred, gt in pairs]  # the type that the decoder hands to the evaluator
        counts += memory.time("ours", lambda maps: [count_image(pred, gt) for pred, gt in maps], small)
        memory.time("plain", lambda maps: [plain_memory.add(pred, gt) for pred, gt in maps], pairs)
        if threshold is None:
            files.time("plain", lambda names: [plain_files.add(*plain_read(key)) for key in names], block)

    def finish():
        return score(pack_counts(keys, counts, {}), classes, "identity")

    found = memory.time("ours", finish)
    compare("core", found["metrics"], memory.time("plain", plain_memory.metrics))
    if threshold is None:
        whole = files.time("ours", lambda: evaluate_folder(str(folder / "pred"), str(folder / "data"), "validation", classes, match="identity"))
        compare("whole evaluator", whole["metrics"], files.time("plain", plain_files.metrics))
    return memory, files


def bench_curve(folder: Path, keys: list[str], classes: int) -> tuple[float, float, float, float]:
    """CPU seconds of our curve: counting of maps in memory, the 81 matchings, the whole from files, and together with the table."""
    edges, sums, counting = threshold_edges(DEFAULT_THRESHOLDS), CurveSums(DEFAULT_THRESHOLDS, classes, classes), Sides()
    for first in range(0, len(keys), BLOCK):
        triples = []
        for key in keys[first : first + BLOCK]:
            path = folder / "pred" / key
            maps = (read_label_map(path).astype(np.uint16), read_label_map(folder / "data/validation-segmentation" / key).astype(np.uint16))
            triples.append((maps[0], np.load(path.with_suffix(".npy")), maps[1]))
        for counts in counting.time("ours", lambda all_of: [count_attention(*one, edges) for one in all_of], triples):
            sums.add(counts)
    finish, whole = Sides(), Sides()
    direct = finish.time("ours", sums.result)
    found = whole.time("ours", lambda: curve_folder(str(folder / "pred"), str(folder / "data"), "validation", classes))
    if found != direct:
        raise SystemExit("curve: from files it differs from that of the same maps in memory")
    both = Sides()
    options = {"threshold": SHOWN_THRESHOLD, "curve": DEFAULT_THRESHOLDS}
    found = both.time("ours", lambda: evaluate_folder(str(folder / "pred"), str(folder / "data"), "validation", classes, **options))
    if found["curve"] != direct:
        raise SystemExit("curve: made with the table it differs from that made alone")
    return counting.seconds["ours"], finish.seconds["ours"], whole.seconds["ours"], both.seconds["ours"]


def matching_problem(classes: int, images: int) -> CountTable:
    """Image-level presence of as many images as the validation split has: each 4 predicted ids, half of them the right one, and 1 to 4 classes."""
    rng = np.random.default_rng(1)
    cluster_of = np.concatenate([[0], rng.permutation(classes) + 1])
    image, rows = [], []
    for number in range(images):
        labels = rng.choice(classes, int(rng.integers(1, 5)), replace=False) + 1
        for label in labels.tolist():
            cluster = cluster_of[label] if rng.random() < 0.5 else rng.integers(1, classes + 1)
            image.append(number)
            rows.append([cluster, label, int(rng.integers(100, 60_000)), 50, 50, 20])
    return CountTable(np.array(image), np.array(rows), images)


def bench_matching(classes: int) -> dict[str, float]:
    from scipy.optimize import linear_sum_assignment

    table = matching_problem(classes, VALIDATION)
    match_by("image", table, classes, classes)  # SciPy is imported at the first call
    seconds = {"ours": min(_timed(match_by, "image", table, classes, classes)[0] for _ in range(5))}
    lists = [[[] for _ in range(VALIDATION)] for _ in range(2)]
    for image, (cluster, label) in zip(table.image.tolist(), table.rows[:, :2].tolist()):
        for side, value in zip(lists, (cluster, label)):
            if value not in side[image]:
                side[image].append(value)
    seconds["plain matrix"], cost = _timed(cost_matrix, *lists, classes)
    seconds["plain SciPy"], (rows, columns) = _timed(linear_sum_assignment, cost)
    found = match_by("image", table, classes, classes)
    best = round(float((1 - cost[rows, columns].astype(np.float64)).sum() * VALIDATION))
    if best != found.objective:
        raise SystemExit(f"matching: objective {found.objective} here and {best} from the plain matrix")
    try:
        from munkres import Munkres
    except ImportError:
        return seconds
    seconds["munkres"] = _timed(Munkres().compute, cost.tolist())[0]
    return seconds


def _timed(function, *arguments):
    begin = time.process_time()
    result = function(*arguments)
    return time.process_time() - begin, result


def two_processes(folder: Path, keys: list[str], classes: int) -> dict[str, float]:
    """Wall seconds of table, curve, and table at the best threshold with two processes, extrapolated from a quarter and all of the images."""
    quarter = folder / "quarter"
    for key in keys[::4]:
        for part in ("pred", "data/validation-segmentation"):
            for ending in (".png", ".npy") if part == "pred" else (".png",):
                link = (quarter / part / key).with_suffix(ending)
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to((folder / part / key).with_suffix(ending))
    few, many = len(keys[::4]), len(keys)
    result = {}
    for name, function, options in (
        ("table", evaluate_folder, {"num_clusters": classes}),
        ("curve", curve_folder, {}),
        ("table at a threshold", evaluate_folder, {"threshold": SHOWN_THRESHOLD}),
        ("table and curve in one pass", evaluate_folder, {"threshold": SHOWN_THRESHOLD, "curve": DEFAULT_THRESHOLDS}),
    ):
        wall = []
        for root in (quarter, folder):
            begin = time.perf_counter()
            function(str(root / "pred"), str(root / "data"), "validation", classes, workers=2, **options)
            wall.append(time.perf_counter() - begin)
        each = (wall[1] - wall[0]) / (many - few)
        result[name] = wall[1] + each * (VALIDATION - many)
    return result


def rescoring(folder: Path, keys: list[str], classes: int) -> float:
    """Wall seconds to load and score the counts of as many images as the validation split has."""
    file = str(folder / "counts.npz")
    evaluate_folder(str(folder / "pred"), str(folder / "data"), "validation", classes, save=file)
    few = load_counts(file)
    number = [position % len(keys) for position in range(VALIDATION)]
    counts = few.counts
    save_counts(file, [f"n/{position}.png" for position in range(VALIDATION)], [counts[position] for position in number], few.record)
    begin = time.perf_counter()
    evaluate_counts(load_counts(file), "image")
    return time.perf_counter() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--classes", type=int, default=919)
    parser.add_argument("--folder", help="where to write the images (default: a temporary folder, removed at the end)")
    parser.add_argument("--json", help="also write the figures to this file")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        folder = Path(name)
        keys = write_images(folder, args.images, args.classes)
        figures = measure(folder, keys, args.classes)
    if args.json:
        Path(args.json).write_text(json.dumps(figures, indent=1) + "\n")


def measure(folder: Path, keys: list[str], classes: int) -> dict[str, float]:
    count, load = len(keys), os.getloadavg()[0]
    decode = sum(_timed(read_label_map, folder / part / key)[0] for key in keys for part in ("pred", "data/validation-segmentation")) / count
    memory, files = bench_core(folder, keys, classes, None)
    thresholded, _ = bench_core(folder, keys, classes, SHOWN_THRESHOLD)
    counting, finishing, curve_files, both_files = bench_curve(folder, keys, classes)
    matching = bench_matching(classes)
    figures = {"images": count, "load": load, "decoding both maps": 1e3 * decode}
    for name, sides in (("core", memory), ("whole evaluator", files), ("core at a threshold", thresholded)):
        figures.update({f"{name}, {side}": 1e3 * sides.seconds[side] / count for side in ("plain", "ours")})
    steps = len(DEFAULT_THRESHOLDS)
    figures["curve, plain"] = steps * figures["core at a threshold, plain"]
    figures["curve, ours"] = 1e3 * counting / count + 1e3 * finishing / VALIDATION
    figures["matchings of the curve, seconds"] = finishing
    figures["curve from files, ours"] = 1e3 * (curve_files - finishing) / count
    figures["table and curve from files, ours"] = 1e3 * (both_files - finishing) / count
    figures.update({f"matching, {name}": seconds for name, seconds in matching.items()})
    figures["scoring stored counts, seconds"] = rescoring(folder, keys, classes)
    figures.update({f"two processes, {name}, seconds": seconds for name, seconds in two_processes(folder, keys, classes).items()})
    show(figures, classes)
    return figures


def show(f: dict[str, float], classes: int) -> None:
    print(f"{f['images']} pairs of 500 x 375, K = {classes}, one core, CPU time; plain side's erosion: {EROSION}; load at start {f['load']:.1f}")
    print(f"decoding both PNG files: {f['decoding both maps']:.2f} ms an image")
    rows = [("metric core", "core"), ("whole evaluator, from files", "whole evaluator"), ("81-threshold curve (plain: 81 x one threshold)", "curve")]
    for title, name in rows:
        plain, ours = f[f"{name}, plain"], f[f"{name}, ours"]
        print(f"{title:48} plain {plain:9.2f} ms   ours {ours:7.3f} ms   ratio {plain / ours:8.1f}")
    plain = f["matching, plain matrix"] + f.get("matching, munkres", f["matching, plain SciPy"])
    solver = "munkres" if "matching, munkres" in f else "SciPy"
    print(f"{'matching (plain: loop + ' + solver + '), seconds':48} plain {plain:9.2f} s    ours {f['matching, ours']:7.3f} s    ", end="")
    print(f"ratio {plain / f['matching, ours']:8.1f}")
    print(f"81 matchings of the curve: {f['matchings of the curve, seconds']:.2f} s in all; counts stored for {VALIDATION} images ", end="")
    print(f"loaded, matched and scored in {f['scoring stored counts, seconds']:.2f} s (wall)")
    names = ("table", "curve", "table at a threshold", "table and curve in one pass")
    table, curve, again, together = (f[f"two processes, {name}, seconds"] for name in names)
    print(
        f"{VALIDATION} images with two processes, extrapolated (wall): table {table:.1f} s, curve {curve:.1f} s, table at a threshold {again:.1f} s"
    )
    print(f"  table and curve in one pass {together:.1f} s; curve, then the table at its best threshold {curve + again:.1f} s")
    seconds = f["table and curve from files, ours"] * VALIDATION / 2e3 + f["matchings of the curve, seconds"]
    print(f"  table and curve in one pass by CPU time, on two cores that do nothing else: {seconds:.1f} s and the start of the processes")


if __name__ == "__main__":
    main()
