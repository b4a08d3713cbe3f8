"""The images that were predicted worst and best: photo, prediction and ground truth."""

from __future__ import annotations

import html
import os
from collections.abc import Sequence

import numpy as np

from luss.benchmark.per_image import image_mious

from .gallery import Pictures, legend, picture_cell, strip
from .scored import Scored
from .sources import Absent, Run

_SHOWN = ("photo", "prediction", "ground truth")


def extremes(run: Run, scored: Scored, count: int) -> str:
    """HTML of the `count` worst and the `count` best images, fewer where there are not twice as many; raises Absent where there are none."""
    if count < 1:
        raise Absent("No pictures were asked for.")
    if run.folder is None:
        raise Absent(run.folder_note)
    values = 100 * image_mious(scored.table, scored.num_classes)
    worst, best = worst_and_best(scored.stems, values, count)
    if not worst:
        raise Absent(f"No image of {run.split} has a valid pixel to score.")
    items = {os.path.splitext(item.key)[0]: item for item in run.folder.items}
    pictures, parts = Pictures(run), []
    for role, positions in (("worst", worst), ("best", best)):
        figures = []
        for position in positions:
            stem = scored.stems[position]
            caption = f"{stem}: mean IoU {values[position]:.1f}"
            if stem in items:
                cells = [(name, picture_cell(pictures, name, items[stem], role)) for name in _SHOWN]
            else:
                cells = [("photo", f"no such image in {html.escape(run.split)} any more")]
            figures.append(strip(caption, cells))
        if figures:
            parts.append(f"<h3>{role.capitalize()}</h3>" + "".join(figures))
    about = "By the mean IoU of each image over other and the categories that occur in its prediction or ground truth. " + scored.note
    return f'<p class="note">{html.escape(about)}</p>' + legend(run, pictures, list(_SHOWN)) + "".join(parts)


def worst_and_best(names: Sequence[str], values: np.ndarray, count: int) -> tuple[list[int], list[int]]:
    """Positions of the `count` lowest values, ascending, and of the `count` highest, descending; none in both, NaN in none, equal ones by name."""
    order = sorted(np.flatnonzero(np.isfinite(values)).tolist(), key=lambda position: (values[position], names[position]))
    count = min(count, (len(order) + 1) // 2)
    return order[:count], order[max(count, len(order) - count) :][::-1]
