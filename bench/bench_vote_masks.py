"""vote_masks against the published NumPy loop, a NumPy bincount and torch; masks as runs, dense, and as COCO strings.

    python bench/bench_vote_masks.py [--rounds N] [--only TEXT] [--json FILE]

100 masks of 375 x 500, 4.3 % of the image on average. "published" is the loop of SAMPASS's test.py in our words: np.where, np.unique, np.where
for each mask, on dense masks. With COCO strings the peers decode them with pycocotools first. All sides must give identical bytes.
"""

from __future__ import annotations

from harness import Case, benchmark_of, main, torch_or_none  # first: it sets the number of threads

# isort: split
import numpy as np

from engine.ops.masks import Masks
from engine.ops.vote_masks import vote_masks_host
from tests.engine.ops.mask_samples import predicted, sam_like

HEIGHT, WIDTH, MASKS = 375, 500, 100


def published(label_map: np.ndarray, masks: np.ndarray) -> np.ndarray:
    labels = label_map
    for mask in masks:
        ids, counts = np.unique(labels[np.where(mask)], return_counts=True)
        if len(ids):
            labels = np.where(mask, ids[np.argmax(counts)], labels)
    return labels


def bincount(label_map: np.ndarray, masks: np.ndarray) -> np.ndarray:
    labels = label_map.copy()
    for mask in masks:
        inside = labels[mask]
        if len(inside):
            labels[mask] = np.bincount(inside).argmax()
    return labels


def with_torch(torch, label_map, masks, bins: int):
    labels = label_map.clone()
    for mask in masks:
        inside = labels[mask]
        if len(inside):
            labels[mask] = torch.bincount(inside, minlength=bins).argmax()
    return labels


def prepare(labels: int, regions: bool, form: str) -> dict:
    dense = sam_like(MASKS, HEIGHT, WIDTH)
    map_ = predicted(HEIGHT, WIDTH, labels) if regions else np.random.default_rng(0).integers(0, labels, (HEIGHT, WIDTH)).astype(np.uint16)
    runs = Masks.from_dense(dense, threads=1)
    given = {"runs": runs, "dense": dense, "strings": runs.to_coco()}[form]
    decoded = _pycocotools_decoder(given) if form == "strings" else lambda: dense
    sides = {"ours": lambda: vote_masks_host(map_, given, threads=1)[0]}
    if decoded is not None:
        sides["published"] = lambda: published(map_, decoded())
        sides["numpy"] = lambda: bincount(map_, decoded())
    torch = torch_or_none()
    if torch is not None and form != "strings":
        inputs = torch.from_numpy(map_.astype(np.int64)), torch.from_numpy(dense)
        sides["torch"] = lambda: with_torch(torch, *inputs, labels)
    expected = sides["ours"]()
    for name, side in sides.items():
        if not np.array_equal(np.asarray(side()), expected):
            raise SystemExit(f"{name} differs from ours")
    return sides


def _pycocotools_decoder(records):
    """() -> (M, H, W) bool; None without pycocotools."""
    try:
        from pycocotools import mask as coco
    except ImportError:
        return None
    return lambda: np.ascontiguousarray(coco.decode(records).transpose(2, 0, 1)).astype(bool)


def cases() -> list[Case]:
    covered = float(sam_like(MASKS, HEIGHT, WIDTH).sum())
    goals = {"published": 80.0, "numpy": 15.0}
    moved = 4.0 * HEIGHT * WIDTH + 4 * covered  # the map read and written once; labels under masks read and written, 2 bytes each
    made = []
    for labels, regions, form in (
        (51, True, "runs"),
        (301, True, "runs"),
        (920, True, "runs"),
        (51, False, "runs"),
        (920, False, "runs"),
        (51, True, "dense"),
        (51, True, "strings"),
        (920, True, "strings"),
    ):
        name = f"{labels} labels, {'regions' if regions else 'noise'}, {form}"
        extra = float(MASKS * HEIGHT * WIDTH) if form == "dense" else 0.0
        made.append(Case("vote_masks", name, lambda a=labels, b=regions, c=form: prepare(a, b, c), 0.0, moved + extra, goals))
    return made


test_vote_masks = benchmark_of(cases)
if __name__ == "__main__":
    main(cases)
