"""Where the objects of one picture stand: size, pose, overlap, and the label map that follows from it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from . import shapes
from .categories import Category

IGNORE = 1000
MAIN_AREA = (0.28, 0.62)  # visible share of the picture
_MAIN_TARGET = (0.36, 0.60)
_OTHER_TARGET = ((0.03, 0.10), (0.02, 0.07))  # together smaller than any main object, also where both are of one other category
_MARGIN = 1.12  # how far an object may reach over the frame
_CLEAR = 0.3  # an object of which less than this share is visible is ambiguous
_MAX_BAND = 0.055  # of the picture's pixels; above it only the inner border pixels are ignored


@dataclass
class Body:
    """One object in the picture."""

    category: Category | None  # None: it is there to cover others and belongs to "other"
    cover: np.ndarray  # (height, width) float32 in [0, 1]: of the whole picture
    centre: tuple[float, float]  # x, y in pixels
    scale: float  # pixels a unit of the outline
    matrix: np.ndarray  # (2, 2): the linear part of its pose
    ambiguous: bool = False

    @property
    def inside(self) -> np.ndarray:
        return self.cover > 0.5


@dataclass
class Arrangement:
    """Bodies from back to front; `main` is the position of the main one."""

    bodies: list[Body]
    main: int

    def owner(self) -> np.ndarray:
        """(height, width) int16: position of the front-most body, -1 where there is none."""
        owner = np.full(self.bodies[0].cover.shape, -1, np.int16)
        for position, body in enumerate(self.bodies):
            owner[body.inside] = position
        return owner


def arrange(rng: np.random.Generator, height: int, width: int, main: Category, known: tuple[Category, ...]) -> Arrangement:
    """Place one to three objects, sometimes a leaf or pole before them, sometimes a distant one too small to tell."""
    first = _place_main(rng, height, width, main)
    behind: list[Body] = []
    before: list[Body] = []
    for target in _OTHER_TARGET[: rng.choice(3, p=(0.6, 0.3, 0.1))]:
        category = main if rng.random() < 0.75 else known[rng.integers(len(known))]
        taken = np.maximum.reduce([body.cover for body in (first, *behind, *before)])
        body = _place_beside(rng, taken, category, rng.uniform(*target))
        in_front = rng.random() < 0.45 and _visible(first, [*before, body]) >= MAIN_AREA[0]
        (before if in_front else behind).append(body)
    if rng.random() < 0.2:
        pole = _pole(rng, height, width, first.centre)
        if _visible(first, [*before, pole]) >= MAIN_AREA[0]:
            before.append(pole)
    if rng.random() < 0.06:
        taken = np.maximum.reduce([body.cover for body in (first, *behind, *before)])
        speck = _place_beside(rng, taken, known[rng.integers(len(known))], rng.uniform(0.004, 0.01))
        speck.ambiguous = True
        behind.insert(0, speck)
    return Arrangement([*behind, first, *before], len(behind))


def label_map(rng: np.random.Generator, arrangement: Arrangement) -> np.ndarray:
    """(height, width) int32 of category ids; borders and what cannot be told are IGNORE."""
    owner = arrangement.owner()
    table = np.zeros(len(arrangement.bodies) + 1, np.int32)  # the last entry serves -1
    for position, body in enumerate(arrangement.bodies):
        if body.category is not None:
            seen = np.count_nonzero(owner == position)
            hidden = seen < _CLEAR * np.count_nonzero(body.inside)
            table[position] = IGNORE if body.ambiguous or hidden else body.category.number
    labels = table[owner]
    beside = np.zeros(owner.shape, bool)
    edge = owner[1:] != owner[:-1]
    beside[1:] |= edge
    beside[:-1] |= edge
    edge = owner[:, 1:] != owner[:, :-1]
    beside[:, 1:] |= edge
    beside[:, :-1] |= edge
    real = (table != 0)[owner]  # the pole's own border against the background is no object's border
    grown = real.copy()
    grown[1:] |= real[:-1]
    grown[:-1] |= real[1:]
    grown[:, 1:] |= real[:, :-1]
    grown[:, :-1] |= real[:, 1:]
    if rng.random() < 0.5 or np.count_nonzero(beside & grown) > _MAX_BAND * owner.size:
        labels[beside & real] = IGNORE
    else:
        labels[beside & grown] = IGNORE
    return labels


def _place_main(rng: np.random.Generator, height: int, width: int, category: Category) -> Body:
    """The first of some attempts with a fitting visible area, or the nearest to it."""
    best, best_miss = None, np.inf
    for _ in range(12):
        parts, matrix = shapes.deform(shapes.outline(category.shape, rng), rng)
        scale = np.sqrt(rng.uniform(*_MAIN_TARGET) * height * width / shapes.area(parts))
        low, high = shapes.bounds(parts)
        frame = np.array([width, height])
        scale = min(scale, (_MARGIN * frame / (high - low)).min())
        slack = np.maximum(frame - (high - low) * scale, 0) / 2
        middle = frame / 2 + rng.uniform(-1, 1, 2) * (0.9 * slack + 0.03 * frame)
        body = _body(parts, matrix, category, scale, middle - scale * (low + high) / 2, height, width)
        share = np.count_nonzero(body.inside) / (height * width)
        miss = max(MAIN_AREA[0] + 0.01 - share, share - MAIN_AREA[1], 0.0)
        if miss < best_miss:
            best, best_miss = body, miss
        if miss == 0:
            break
    return best


def _place_beside(rng: np.random.Generator, taken: np.ndarray, category: Category, share: float) -> Body:
    """An object of this share of the picture where it overlaps `taken` no more than a random limit, if such a place is found."""
    height, width = taken.shape
    parts, matrix = shapes.deform(shapes.outline(category.shape, rng), rng)
    scale = np.sqrt(share * height * width / shapes.area(parts))
    low, high = (edge * scale for edge in shapes.bounds(parts))
    span_x, span_y = (int(side) + 2 for side in np.ceil(high - low))
    stamp = shapes.rasterise([(points * scale - low + 1, adds) for points, adds in parts], span_y, span_x)
    limit = rng.uniform(0.0, 0.6)
    best, least = (0, 0), np.inf
    for _ in range(10):
        left = int(rng.integers(-span_x // 6, max(width - span_x + span_x // 6, 1)))
        top = int(rng.integers(-span_y // 6, max(height - span_y + span_y // 6, 1)))
        there, part = _overlap(top, left, stamp.shape, taken.shape)
        overlap = float((taken[there] * stamp[part]).sum() / stamp.sum())
        if overlap < least:
            best, least = (top, left), overlap
        if overlap <= limit:
            break
    cover = np.zeros_like(taken)
    there, part = _overlap(*best, stamp.shape, taken.shape)
    cover[there] = stamp[part]
    return Body(category, cover, (best[1] - low[0] + 1, best[0] - low[1] + 1), scale, matrix)


def _overlap(top: int, left: int, stamp: tuple[int, int], picture: tuple[int, int]) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Index of a stamp at (top, left) in the picture, and of its part inside the picture in the stamp."""
    rows = slice(max(top, 0), min(top + stamp[0], picture[0]))
    columns = slice(max(left, 0), min(left + stamp[1], picture[1]))
    return (rows, columns), (slice(rows.start - top, rows.stop - top), slice(columns.start - left, columns.stop - left))


def _pole(rng: np.random.Generator, height: int, width: int, centre: tuple[float, float]) -> Body:
    """A leaf blade or pole right through the picture, near the main object's centre."""
    angle = rng.normal(np.pi / 2, 0.5)
    half = rng.uniform(0.018, 0.04) * min(height, width)
    reach = height + width
    along = np.linspace(-1, 1, 12) * reach
    bend = rng.uniform(-0.48, 0.48) * along**2 / reach
    offset = rng.uniform(-0.18, 0.18) * min(height, width)
    blade = np.concatenate([np.stack([along, bend + offset - half], 1), np.stack([along, bend + offset + half * rng.uniform(0.3, 1)], 1)[::-1]])
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return _body([(blade @ rotation.T, True)], rotation, None, 1.0, np.array(centre), height, width)


def _body(parts: shapes.Outline, matrix: np.ndarray, category: Category | None, scale: float, centre: np.ndarray, height: int, width: int) -> Body:
    """A posed outline, enlarged by `scale` about its origin and put at `centre`."""
    cover = shapes.rasterise([(points * scale + centre, adds) for points, adds in parts], height, width)
    return Body(category, cover, (float(centre[0]), float(centre[1])), float(scale), matrix)


def _visible(body: Body, before: list[Body]) -> float:
    """Share of the picture where `body` shows behind `before`."""
    seen = body.inside
    for other in before:
        seen = seen & ~other.inside
    return np.count_nonzero(seen) / seen.size
