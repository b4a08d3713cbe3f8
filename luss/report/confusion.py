"""Which category is taken for which: counts, the most confused pairs, and a heat map as inline SVG."""

from __future__ import annotations

import html
from collections.abc import Sequence

import numpy as np

from luss.benchmark.counts import CountTable
from luss.benchmark.metrics import confusion

from .palette import css, heat

WHOLE = 30  # categories up to which all are drawn
BLOCK = 24  # categories drawn of more
_NUMBERS = 13  # rows up to which every cell shows its percentage
_LABEL = 22  # characters of a name
_PAPER = "#fbfbf7"


def confusion_counts(table: CountTable, num_classes: int) -> np.ndarray:
    """Valid pixels of class i (row, ground truth) that carry class j (column, prediction); (K + 1, K + 1) int64. Ids above K are left out."""
    true, predicted, pixels = confusion(table, num_classes).T
    counts = np.zeros((num_classes + 1, num_classes + 1), np.int64)
    inside = predicted <= num_classes
    counts[true[inside], predicted[inside]] = pixels[inside]
    return counts


def confused_pairs(counts: np.ndarray, number: int) -> list[tuple[int, int, float]]:
    """The `number` largest (category, other category it is taken for, share of its pixels), largest first; background stands in none."""
    shares = _shares(counts)
    shares[0, :] = shares[:, 0] = 0
    np.fill_diagonal(shares, 0)
    order = np.argsort(-shares, axis=None, kind="stable")[:number]  # equal shares: lowest ids first
    rows, columns = np.unravel_index(order, shares.shape)
    return [(int(row), int(column), float(shares[row, column])) for row, column in zip(rows, columns) if shares[row, column] > 0]


def drawn_categories(counts: np.ndarray) -> list[int]:
    """Categories of the heat map, ascending: all of at most WHOLE, else those of the most confused pairs, BLOCK at most."""
    total = len(counts) - 1
    if total <= WHOLE:
        return list(range(1, total + 1))
    chosen: set[int] = set()
    for row, column, _ in confused_pairs(counts, BLOCK * BLOCK):
        if len(chosen | {row, column}) <= BLOCK:
            chosen |= {row, column}
    return sorted(chosen)


def heat_map(counts: np.ndarray, categories: Sequence[int], names: Sequence[str]) -> str:
    """Rows = ground truth, columns = prediction, colour = share of the row's pixels; an <svg> element.

    Args:
        counts: as of `confusion_counts`.
        categories: those to draw; "other" is always drawn, and what falls on categories that are not drawn has a column of its own.
        names: of the classes 0..K.
    """
    rows = [0, *categories]
    shares = _shares(counts)[rows]
    cells = shares[:, rows]
    heads = [names[number] for number in rows]
    if len(rows) < len(counts):
        cells = np.column_stack([cells, shares.sum(1) - cells.sum(1)])
        heads.append("all the rest")
    numbered = len(rows) <= _NUMBERS
    side = 30 if numbered else 16
    left = 14 + 6 * min(_LABEL, max(map(len, heads)))
    top = 24 + round(4.6 * min(_LABEL, max(map(len, heads))))
    width, height = left + side * len(heads) + 46, top + side * len(rows) + 8
    parts = [f'<rect x="{left}" y="{top}" width="{side * len(heads)}" height="{side * len(rows)}" fill="{_PAPER}" stroke="#bbb"/>']
    for i, number in enumerate(rows):
        middle = top + side * i + side / 2 + 3.5
        empty = ' fill="#999"' if not counts[number].any() else ""  # a class without a true pixel has no row to show
        parts.append(f'<text x="{left - 5}" y="{middle:.1f}" text-anchor="end"{empty}>{_short(names[number])}</text>')
    for j, name in enumerate(heads):
        at = left + side * j + side / 2
        parts.append(f'<text transform="translate({at + 3:.1f},{top - 5}) rotate(-50)">{_short(name)}</text>')
    for i, row in enumerate(cells.tolist()):
        for j, share in enumerate(row):
            if share >= 0.005:
                parts.append(_cell(left + side * j, top + side * i, side, share, numbered, rows[i] == rows[j] if j < len(rows) else False))
    parts.append(f'<text x="{left - 5}" y="{top - 8}" text-anchor="end" fill="#666">true, predicted:</text>')
    label = "confusion between categories: share of each true category's pixels, by predicted category"
    return (
        f'<svg viewBox="0 0 {width} {height}" style="max-width:{round(width * 1.25)}px" role="img" aria-label="{label}" font-size="10" '
        f'font-family="sans-serif" fill="#333">{"".join(parts)}</svg>'
    )


def _cell(x: float, y: float, side: int, share: float, numbered: bool, diagonal: bool) -> str:
    red, green, blue = heat(np.array(1 - min(share, 1.0))).tolist()
    frame = ' stroke="#222"' if diagonal else ""
    square = f'<rect x="{x + 0.5}" y="{y + 0.5}" width="{side - 1}" height="{side - 1}" fill="{css((red, green, blue))}"{frame}/>'
    if not numbered:
        return square
    ink = "#fff" if 0.3 * red + 0.59 * green + 0.11 * blue < 130 else "#222"
    return square + f'<text x="{x + side / 2}" y="{y + side / 2 + 3.5}" text-anchor="middle" fill="{ink}">{100 * share:.0f}</text>'


def _shares(counts: np.ndarray) -> np.ndarray:
    """Each row as shares of its sum, 0 where that is 0; float64."""
    return counts / np.maximum(1, counts.sum(1, keepdims=True))


def _short(name: str) -> str:
    text = name if len(name) <= _LABEL else name[: _LABEL - 1] + "\N{HORIZONTAL ELLIPSIS}"
    return html.escape(text)
