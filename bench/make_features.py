"""A feature cache of generated rows, to try `luss cluster --cache` at any size: fp16 shards of rows around 919 class means.

    python bench/make_features.py FOLDER [--rows 1000000] [--dim 512]

Makes 0.1 GB for every 100,000 rows of 512. The classes go to FOLDER.classes.npy, (rows,) int32.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from engine.features import FeatureWriter
from engine.runtime.progress import Progress

CLASSES, PIECE = 919, 16384


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=512)
    options = parser.parse_args()
    deviation = (np.arange(1, options.dim + 1) ** -0.25).astype(np.float32)
    means = 0.6 * np.random.default_rng(0).standard_normal((CLASSES, options.dim), np.float32)
    classes = np.random.default_rng(1).integers(CLASSES, size=options.rows).astype(np.int32)
    bar = Progress("rows", options.rows, unit="row")
    with FeatureWriter(options.folder, options.dim, "float16") as writer:
        for first in range(0, options.rows, PIECE):
            ids = np.arange(first, min(first + PIECE, options.rows))
            noise = np.random.default_rng([2, first]).standard_normal((len(ids), options.dim), np.float32)
            writer.append(ids, (means[classes[ids]] + noise) * deviation)
            bar.update(len(ids))
    bar.close()
    np.save(f"{options.folder}.classes.npy", classes)


if __name__ == "__main__":
    main()
