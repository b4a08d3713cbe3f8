"""COCO's run-length encoding of masks and back: ours against pycocotools.

    python bench/bench_masks.py [--rounds N] [--only TEXT] [--json FILE]

100 masks of 375 x 500, 4.3 % of the image on average. Encoding begins with (M, H, W) bool and gives COCO's strings, to the byte the same on both
sides; pycocotools wants them in Fortran order, which is part of its time. Decoding begins with strings: to runs, as vote_masks takes them (the
peer has no runs, so it makes dense masks), and to dense (M, H, W) bool.
"""

from __future__ import annotations

from harness import Case, benchmark_of, main  # first: it sets the number of threads

# isort: split
import numpy as np

from engine.ops.masks import Masks
from tests.engine.ops.mask_samples import sam_like

HEIGHT, WIDTH, MASKS = 375, 500, 100


def prepare(what: str) -> dict:
    dense = sam_like(MASKS, HEIGHT, WIDTH)
    masks = Masks.from_dense(dense, threads=1)
    strings = masks.to_coco(threads=1)
    ours = {
        "encode": lambda: Masks.from_dense(dense, threads=1).to_coco(threads=1),
        "encode runs": lambda: masks.to_coco(threads=1),
        "decode to runs": lambda: Masks.from_coco(strings, threads=1),
        "decode to dense": lambda: Masks.from_coco(strings, threads=1).to_dense(threads=1),
    }[what]
    try:
        from pycocotools import mask as coco
    except ImportError:
        return {"ours": ours}
    if coco.encode(np.asfortranarray(dense.transpose(1, 2, 0)).view(np.uint8)) != strings:
        raise SystemExit("the strings differ from pycocotools'")
    if not np.array_equal(coco.decode(strings).transpose(2, 0, 1), dense):
        raise SystemExit("pycocotools decodes another mask")
    peer = {
        "encode": lambda: coco.encode(np.asfortranarray(dense.transpose(1, 2, 0)).view(np.uint8)),
        "encode runs": lambda: coco.encode(np.asfortranarray(dense.transpose(1, 2, 0)).view(np.uint8)),
        "decode to runs": lambda: coco.decode(strings),
        "decode to dense": lambda: np.ascontiguousarray(coco.decode(strings).transpose(2, 0, 1)),
    }[what]
    return {"ours": ours, "pycocotools": peer}


def cases() -> list[Case]:
    size = float(MASKS * HEIGHT * WIDTH)
    masks = Masks.from_dense(sam_like(MASKS, HEIGHT, WIDTH), threads=1)
    runs, text = float(masks.runs.nbytes), float(sum(len(record["counts"]) for record in masks.to_coco(threads=1)))
    moved = {"encode": size + text, "encode runs": runs + text, "decode to runs": text + runs, "decode to dense": text + size}
    return [Case("masks", what, lambda what=what: prepare(what), 0.0, bytes_) for what, bytes_ in moved.items()]


test_masks = benchmark_of(cases)
if __name__ == "__main__":
    main(cases)
