"""Evaluated runs made up on disk, for the tests of results and tables."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from luss.benchmark.counts import count_image, rename_predictions, stack_counts
from luss.benchmark.matching import match_table
from luss.benchmark.metrics import compute_metrics
from luss.benchmark.store import save_counts

K = 3
MATCH = {"1": 2, "2": 3, "3": 1, "0": 0}


def record(**changes) -> dict:
    """What an evaluation notes beside its counts."""
    said = {"num_classes": K, "num_clusters": K, "scheme": "given", "match": MATCH, "boundary": "after", "compat": None, "split": "validation"}
    return {**said, "allow_unknown_ids": False, "bad": {}, **changes}


def truths(number: int = 8) -> list[np.ndarray]:
    rng = np.random.default_rng(7)
    return [np.kron(rng.choice([0, 1, 2, 3, 1000], (4, 4)), np.ones((5, 5), int)) for _ in range(number)]


def evaluated_run(root: Path, wrong: float, *, seed: int = 1, images: int = 8, counts: bool = True, metrics: bool = True) -> Path:
    """A workspace whose predictions are the ground truth in generated ids, with a share of wrong cells."""
    rng = np.random.default_rng(seed)
    table = match_table({int(key): label for key, label in MATCH.items()})
    clusters = np.argsort(table)  # class id -> generated id
    counted = []
    for gt in truths(images):
        cells = clusters[np.where(gt[::5, ::5] == 1000, 0, gt[::5, ::5])]
        cells = np.where(rng.random(cells.shape) < wrong, rng.integers(0, K + 1, cells.shape), cells)
        counted.append(count_image(np.kron(cells, np.ones((5, 5), int)), gt))
    folder = root / "8-evaluate"
    folder.mkdir(parents=True)
    (root / "7-predict").mkdir()
    (root / "7-predict" / "match.json").write_text(json.dumps(MATCH))
    (root / "settings.json").write_text(json.dumps({"run": {"seed": seed}}))
    names = [f"n{number % K + 1:02}/{number}.png" for number in range(images)]
    if counts:
        save_counts(folder / "counts.npz", names, counted, record())
    if metrics:
        found = compute_metrics(stack_counts(rename_predictions(one, table) for one in counted), K)
        (folder / "metrics.json").write_text(json.dumps({**found, "images": images, "split": "validation"}))
    return root


def edit_json(path: Path, **changes) -> None:
    content = json.loads(path.read_text())
    content.update(changes)
    path.write_text(json.dumps({name: value for name, value in content.items() if value != "DROP"}))
