"""The feature cache against plain files of the same bytes: reading in order, random rows, writing, size.

    python bench/bench_feature_cache.py [--rows 200000] [--dim 512] [--dtype float16] [--repeats 9] [--folder DIR] [--json FILE]

Both sides take turns in one run; the least time of the repeats counts. The files lie in a temporary folder of DIR (default /tmp), which has to be a
real disk, and are in the page cache when they are read.

Printed, each with ours, the plain side's, the ratio and ours as a share of the speed at which this machine copies memory (numpy.copyto, one
thread, read plus write counted once):

    load        all rows into one array made before, against readinto of one raw file into the same array
    stream      blocks() of 32 MB, against readinto of the raw file into one buffer of 32 MB
    gather      4096 random rows, against fancy indexing of numpy.load(mmap_mode="r"); mapped and verified before
    write       FeatureWriter to its closing line, against write + fsync of the same bytes into one file; both replace what the turn before wrote
    size        bytes of all files over bytes of the rows

Sequential reading stands there with and without checksums, and also from a cache that four processes wrote in turn (image i by process i mod 4),
whose rows are taken from four files at once.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from engine.features import FeatureCache, FeatureWriter

GATHERED = 4096
APPENDED = 4096  # rows a call of append


def least(ours: Callable[[], object], plain: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Least seconds of each, taken in turns."""
    best = [float("inf"), float("inf")]
    for _ in range(repeats):
        for side, action in enumerate((ours, plain)):
            begin = time.perf_counter()
            action()
            best[side] = min(best[side], time.perf_counter() - begin)
    return best[0], best[1]


def write_cache(folder: Path, rows: np.ndarray, processes: int = 1) -> None:
    for rank in range(processes):
        images = np.arange(rank, len(rows), processes, dtype=np.uint32)
        with FeatureWriter(folder, rows.shape[1], str(rows.dtype), rank=rank) as writer:
            for first in range(0, len(images), APPENDED):
                part = images[first : first + APPENDED]
                writer.append(part, rows[part[0] : part[-1] + 1 : processes])


def write_raw(path: Path, rows: np.ndarray) -> None:
    with open(path, "wb", buffering=0) as stream:
        rest = memoryview(rows).cast("B")
        while rest:
            rest = rest[stream.write(rest) :]
        os.fsync(stream.fileno())


def read_raw(path: Path, out: np.ndarray) -> None:
    view = memoryview(out).cast("B")
    with open(path, "rb", buffering=0) as stream:
        done = 0
        while done < len(view):
            done += stream.readinto(view[done:])


def stream_raw(path: Path, buffer: np.ndarray) -> None:
    view = memoryview(buffer).cast("B")
    with open(path, "rb", buffering=0) as stream:
        while stream.readinto(view):
            pass


def stream_cache(cache: FeatureCache) -> None:
    for _ in cache.blocks():
        pass


def folder_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def measure(work: Path, rows: np.ndarray, repeats: int) -> list[dict]:
    results = []
    copy = np.empty_like(rows)
    memory = rows.nbytes / least(lambda: np.copyto(copy, rows), lambda: None, repeats)[0]

    def row(name: str, goal: str, ours: float, plain: float, moved: int) -> None:
        results.append({"what": name, "goal": goal, "ours_ms": 1e3 * ours, "plain_ms": 1e3 * plain, "speed": plain / ours})
        results[-1]["of_memcpy"] = moved / ours / memory

    def written() -> None:
        shutil.rmtree(work / "cache", ignore_errors=True)
        write_cache(work / "cache", rows)

    ours, plain = least(written, lambda: write_raw(work / "raw", rows), repeats)
    row("write, checksums", ">= 0.8", ours, plain, rows.nbytes)
    write_cache(work / "four", rows, processes=4)
    np.save(work / "plain.npy", rows)
    images = np.random.default_rng(1).integers(0, len(rows), GATHERED)
    mapped = np.load(work / "plain.npy", mmap_mode="r")
    buffer = np.empty((2 * (16 << 20) // rows[:1].nbytes, rows.shape[1]), rows.dtype)
    for name, folder, verify in (
        ("no checksums", "cache", "none"),
        ("checksums", "cache", "lazy"),
        ("checksums, 4 processes", "four", "lazy"),
    ):
        cache = FeatureCache(work / folder, verify=verify)
        goal = ">= 0.9" if folder == "cache" else ""
        row(f"load, {name}", goal, *least(lambda: cache.load(copy), lambda: read_raw(work / "raw", copy), repeats), rows.nbytes)  # noqa: B023
        if not np.array_equal(copy, rows):
            raise SystemExit("the rows read are not those written")
        row(f"stream, {name}", goal, *least(lambda: stream_cache(cache), lambda: stream_raw(work / "raw", buffer), repeats), rows.nbytes)  # noqa: B023
        if verify == "lazy":
            goal = ">= 0.83" if folder == "cache" else ""
            if not np.array_equal(cache.gather(images), mapped[images]):
                raise SystemExit("the rows gathered are not those written")
            pair = least(lambda: cache.gather(images), lambda: mapped[images], 5 * repeats)  # noqa: B023
            row(f"gather {GATHERED}, {name}", goal, *pair, GATHERED * rows[:1].nbytes)
    overhead = folder_bytes(work / "cache") / rows.nbytes - 1
    results.append({"what": "size over the rows", "goal": "<= 0.5 %", "overhead": overhead, "memcpy_gb_s": memory / 1e9})
    return results


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--dtype", choices=("float16", "float32"), default="float16")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--folder", default="/tmp")
    parser.add_argument("--json", help="also write the figures to this file")
    args = parser.parse_args()
    rows = np.random.default_rng(0).standard_normal((args.rows, args.dim), dtype=np.float32).astype(args.dtype)
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        results = measure(Path(folder), rows, args.repeats)
    memory = results[-1]["memcpy_gb_s"]
    print(f"{args.rows:,} x {args.dim} {args.dtype}, {rows.nbytes / 1e6:.0f} MB, least of {args.repeats}; memory copies {memory:.1f} GB/s")
    print(f"{'':34}{'ours ms':>10}{'plain ms':>10}{'speed':>8}{'goal':>9}{'of memcpy':>11}")
    for item in results[:-1]:
        print(f"{item['what']:34}{item['ours_ms']:10.2f}{item['plain_ms']:10.2f}{item['speed']:8.2f}{item['goal']:>9}{item['of_memcpy']:11.2f}")
    print(f"{results[-1]['what']:34}{results[-1]['overhead']:36.2%}  (goal {results[-1]['goal']})")
    if args.json:
        Path(args.json).write_text(json.dumps({"rows": args.rows, "dim": args.dim, "dtype": args.dtype, "results": results}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
