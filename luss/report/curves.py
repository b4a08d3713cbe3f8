"""Line and bar charts as inline SVG."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence

import numpy as np

WIDTH, HEIGHT = 340, 220  # units of the drawing; the page scales it
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 12, 28, 30
_COLUMNS = 400  # points of a drawn line at most are twice this: more cannot be seen, and a long run's log would fill the page
_LINE, _FAINT, _MARK = "#1f4e79", "#b9cce0", "#c2410c"


def ticks(low: float, high: float, count: int = 6) -> list[float]:
    """About `count` round numbers (1, 2, 2.5 or 5 times a power of ten apart) within [low, high], low < high."""
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [i * step for i in range(first, last + 1)]


def line_chart(
    x: Sequence[float],
    y: Sequence[float],
    title: str,
    smooth: bool = False,
    mark: float | None = None,
    x_label: str = "",
    counted: bool = False,
) -> str:
    """One curve with axes as an <svg> element; non-finite points are left out and counted in words.

    Args:
        x, y: equal lengths; any order.
        smooth: draw a running mean over a faint raw line.
        mark: an x to mark by a dashed line.
        counted: x counts something: no ticks between whole numbers.
    """
    xs, ys = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if xs.shape != ys.shape or xs.ndim != 1:
        raise ValueError(f"x, y: expected two sequences of one length, found shapes {xs.shape} and {ys.shape}")
    finite = np.isfinite(xs) & np.isfinite(ys)
    if not finite.any():
        return f'<p class="note">{html.escape(title)}: no finite value.</p>'
    order = np.argsort(xs[finite], kind="stable")
    xs, ys = xs[finite][order], ys[finite][order]
    marked = mark is not None and math.isfinite(mark)
    across = np.append(xs, mark) if marked else xs
    frame = _Frame(_range(across.min(), across.max(), 0.0), _range(ys.min(), ys.max(), 0.06), counted)
    parts = [_polyline(frame, *_thin(xs, ys), _FAINT if smooth else _LINE, 1.2)]
    if smooth:
        parts.append(_polyline(frame, *_thin(xs, running_mean(ys)), _LINE, 2))
    if marked:
        at = frame.x(mark)
        anchor, shift = ("end", -4) if at > WIDTH / 2 else ("start", 4)
        parts.append(f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{_TOP}" y2="{HEIGHT - _BOTTOM}" stroke="{_MARK}" stroke-dasharray="4 3"/>')
        parts.append(f'<text x="{at + shift:.1f}" y="{_TOP + 11}" text-anchor="{anchor}" fill="{_MARK}">{mark:.4g}</text>')
    missing = len(finite) - int(finite.sum())
    if missing:
        parts.append(f'<text x="{WIDTH - _RIGHT}" y="{HEIGHT - _BOTTOM - 6}" text-anchor="end" fill="{_MARK}">{missing} not finite</text>')
    return _svg(title, frame.axes(x_label) + "".join(parts))


def series_chart(lines: Sequence[tuple[Sequence[float], Sequence[float]]], title: str, dark: int | None = None, x_label: str = "") -> str:
    """Several curves over counted x in one frame as an <svg> element, in the order given; points that are not finite are left out.

    Args:
        lines: (x, y) of each, of equal lengths.
        dark: number of the one that stands out; None: all do.
    """
    drawn = []
    for number, (x, y) in enumerate(lines):
        xs, ys = np.asarray(x, np.float64), np.asarray(y, np.float64)
        if xs.shape != ys.shape or xs.ndim != 1:
            raise ValueError(f"lines[{number}]: expected two sequences of one length, found shapes {xs.shape} and {ys.shape}")
        finite = np.isfinite(xs) & np.isfinite(ys)
        if finite.any():
            drawn.append((xs[finite], ys[finite], dark is None or number == dark))
    if not drawn:
        return f'<p class="note">{html.escape(title)}: no finite value.</p>'
    across, up = np.concatenate([xs for xs, _, _ in drawn]), np.concatenate([ys for _, ys, _ in drawn])
    frame = _Frame(_range(across.min(), across.max(), 0.0), _range(up.min(), up.max(), 0.06), counted=True)
    curves = [_polyline(frame, *_thin(xs, ys), _LINE if strong else _FAINT, 2 if strong else 1.2) for xs, ys, strong in drawn]
    return _svg(title, frame.axes(x_label) + "".join(curves))


def bar_chart(values: Sequence[float], title: str, x_label: str = "") -> str:
    """Bars from 0 for values >= 0, at 1, 2, ... in the order given, as an <svg> element; not finite ones stay empty."""
    heights = np.nan_to_num(np.asarray(values, np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    if heights.size == 0:
        return f'<p class="note">{html.escape(title)}: nothing to draw.</p>'
    frame = _Frame((0.5, len(heights) + 0.5), (0.0, max(float(heights.max()) * 1.06, 1e-9)), counted=True)
    gap = 0.15 if len(heights) <= 100 else 0.0  # thinner bars would vanish between the gaps
    floor = frame.y(0)
    bars = "".join(
        f"M{frame.x(i - 0.5 + gap):.1f},{floor:.1f}V{frame.y(h):.1f}H{frame.x(i + 0.5 - gap):.1f}V{floor:.1f}Z"
        for i, h in enumerate(heights, 1)
        if h > 0
    )
    return _svg(title, frame.axes(x_label) + f'<path d="{bars}" fill="{_LINE}"/>')


def running_mean(values: Sequence[float]) -> np.ndarray:
    """Mean over a window of about a sixth of the values, centred, cut at the ends; same length, float64."""
    v = np.asarray(values, np.float64)
    half = max(1, len(v) // 12)
    sums = np.concatenate([[0.0], np.cumsum(v)])
    low, high = np.maximum(np.arange(len(v)) - half, 0), np.minimum(np.arange(len(v)) + half + 1, len(v))
    return (sums[high] - sums[low]) / (high - low)


class _Frame:
    """Maps values to units of the drawing."""

    def __init__(self, across: tuple[float, float], up: tuple[float, float], counted: bool = False):
        self.across, self.up, self.counted = across, up, counted

    def x(self, value: float) -> float:
        return _LEFT + (value - self.across[0]) / (self.across[1] - self.across[0]) * (WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        return HEIGHT - _BOTTOM - (value - self.up[0]) / (self.up[1] - self.up[0]) * (HEIGHT - _TOP - _BOTTOM)

    def axes(self, x_label: str) -> str:
        parts = []
        for value in ticks(*self.up):
            at = self.y(value)
            parts.append(f'<line x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{at:.1f}" y2="{at:.1f}" stroke="#e6e6e6"/>')
            parts.append(f'<text x="{_LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{value:.6g}</text>')
        for value in ticks(*self.across):
            if self.counted and not float(value).is_integer():
                continue
            at = self.x(value)
            parts.append(f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{HEIGHT - _BOTTOM}" y2="{HEIGHT - _BOTTOM + 4}" stroke="#888"/>')
            parts.append(f'<text x="{at:.1f}" y="{HEIGHT - _BOTTOM + 15}" text-anchor="middle">{value:.6g}</text>')
        parts.append(f'<path d="M{_LEFT},{_TOP}V{HEIGHT - _BOTTOM}H{WIDTH - _RIGHT}" fill="none" stroke="#888"/>')
        if x_label:
            parts.append(f'<text x="{(_LEFT + WIDTH - _RIGHT) / 2}" y="{HEIGHT - 3}" text-anchor="middle" fill="#666">{html.escape(x_label)}</text>')
        return "".join(parts)


def _range(low: float, high: float, margin: float) -> tuple[float, float]:
    """(low, high) with some room, never empty."""
    span = high - low
    if span <= 1e-9 * max(abs(low), abs(high), 1e-30):
        span = max(abs(high), 1.0)
        return float(low - span / 2), float(high + span / 2)
    return float(low - margin * span), float(high + margin * span)


def _thin(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """At most 2 * _COLUMNS points: the lowest and the highest of each stretch, so that no spike gets lost."""
    if len(x) <= 2 * _COLUMNS:
        return x, y
    edges = np.linspace(0, len(x), _COLUMNS + 1).astype(int)
    keep = np.array([a + f(y[a:b]) for a, b in zip(edges[:-1], edges[1:]) for f in (np.argmin, np.argmax)])
    keep = np.unique(keep)
    return x[keep], y[keep]


def _polyline(frame: _Frame, x: np.ndarray, y: np.ndarray, stroke: str, width: float) -> str:
    if len(x) == 1:  # a line of one point is invisible
        return f'<circle cx="{frame.x(x[0]):.1f}" cy="{frame.y(y[0]):.1f}" r="3" fill="{stroke}"/>'
    points = " ".join(f"{frame.x(a):.1f},{frame.y(b):.1f}" for a, b in zip(x, y))
    return f'<polyline points="{points}" fill="none" stroke="{stroke}" stroke-width="{width}" stroke-linejoin="round"/>'


def _svg(title: str, body: str) -> str:
    name = html.escape(title)
    head = f'<text x="{WIDTH / 2}" y="16" text-anchor="middle" font-size="12" font-weight="600">{name}</text>'
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{name}" font-size="10" font-family="sans-serif" fill="#333">{head}{body}</svg>'
    )
