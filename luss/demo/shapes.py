"""Outlines of the shape families, and their way into an image: deformation, pose, rasterisation.

An outline is a list of parts; a part is an (n, 2) array of x, y in units of the shape's radius and whether it adds or cuts.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

Outline = list[tuple[np.ndarray, bool]]
_OVERSAMPLING = 3  # edges are drawn this much finer and averaged


def outline(shape: str, rng: np.random.Generator) -> Outline:
    """A random member of a shape family, upright, about the unit circle in size."""
    return _FAMILIES[shape](rng)


def deform(parts: Outline, rng: np.random.Generator, turn: float = 0.25) -> tuple[Outline, np.ndarray]:
    """Bend elastically, then stretch, foreshorten, mirror and rotate by up to `turn` radians.

    Returns:
        The outline, and the (2, 2) matrix of the linear part (its determinant is +-1), for the texture to follow.
    """
    waves = rng.normal(0, 1, (3, 2))  # wave vectors: about one bend over the whole shape
    phases = rng.uniform(0, 2 * np.pi, (3, 2))
    strength = rng.uniform(0.02, 0.07, (3, 2))
    angle = rng.uniform(-turn, turn)
    stretch = np.exp(rng.uniform(-0.14, 0.14))
    shear = rng.uniform(-0.2, 0.2)
    mirror = rng.choice((-1.0, 1.0))
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = rotation @ np.array([[mirror * stretch, shear], [0.0, 1 / stretch]])
    bent = []
    for points, adds in parts:
        moved = points + sum(strength[i] * np.sin(2 * points @ waves[i][:, None] + phases[i]) for i in range(3))
        bent.append((moved @ matrix.T, adds))
    return bent, matrix


def area(parts: Outline) -> float:
    """Area of the filled outline in units of radius^2, counted on a raster (parts may overlap)."""
    low, high = bounds(parts)
    scale = 64 / max(high - low)
    canvas = Image.new("L", tuple(int(side) + 2 for side in (high - low) * scale))
    _draw(canvas, [((points - low) * scale + 1, adds) for points, adds in parts])
    return float(np.count_nonzero(np.asarray(canvas))) / scale**2


def bounds(parts: Outline) -> tuple[np.ndarray, np.ndarray]:
    """Smallest and largest x, y of what the outline adds."""
    points = np.concatenate([points for points, adds in parts if adds])
    return points.min(0), points.max(0)


def rasterise(parts: Outline, height: int, width: int) -> np.ndarray:
    """Coverage in [0, 1], (height, width) float32, of an outline in pixel coordinates (0, 0 = corner of the first pixel)."""
    canvas = Image.new("L", (width * _OVERSAMPLING, height * _OVERSAMPLING))
    _draw(canvas, [(points * _OVERSAMPLING - 0.5, adds) for points, adds in parts])
    return np.asarray(canvas.reduce(_OVERSAMPLING), np.float32) / 255


def _draw(canvas: Image.Image, parts: Outline) -> None:
    pen = ImageDraw.Draw(canvas)
    for points, adds in parts:
        pen.polygon(points.ravel().tolist(), fill=255 if adds else 0)


def _circle(radius: float, squeeze: float = 1.0, at: tuple[float, float] = (0.0, 0.0), count: int = 72) -> np.ndarray:
    angle = np.linspace(0, 2 * np.pi, count, endpoint=False)
    return np.stack([at[0] + radius * np.cos(angle), at[1] + radius * squeeze * np.sin(angle)], 1)


def _refine(corners: np.ndarray, steps: int = 8) -> np.ndarray:
    """Points along the edges of a polygon, so that it can be bent."""
    share = np.linspace(0, 1, steps, endpoint=False)[:, None]
    following = np.roll(corners, -1, 0)
    return np.concatenate([a + share * (b - a) for a, b in zip(corners, following)])


def _ring(rng: np.random.Generator) -> Outline:
    squeeze = rng.uniform(0.75, 1.0)
    hole = rng.uniform(0.42, 0.55)
    at = tuple(rng.uniform(-0.06, 0.06, 2))
    return [(_circle(1.0, squeeze), True), (_circle(hole, squeeze, at), False)]


def _star(rng: np.random.Generator) -> Outline:
    points = int(rng.integers(5, 7))
    radius = np.where(np.arange(2 * points) % 2, rng.uniform(0.42, 0.52), 1.0) * rng.uniform(0.93, 1.07, 2 * points)
    angle = np.arange(2 * points) * np.pi / points - np.pi / 2
    return [(_refine(np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1)), True)]


def _fish(rng: np.random.Generator) -> Outline:
    depth = rng.uniform(0.46, 0.58)
    along = np.linspace(-1, 1, 40)
    belly = depth * (1 - along**2) ** rng.uniform(0.6, 0.85)
    body = np.concatenate([np.stack([along, -belly], 1), np.stack([along, belly], 1)[::-1]])
    reach, spread = rng.uniform(1.35, 1.5), rng.uniform(0.38, 0.55)
    tail = _refine(np.array([[0.72, 0.0], [reach, -spread], [reach - 0.15, 0.0], [reach, spread]]))
    return [(body - [0.2, 0], True), (tail - [0.2, 0], True)]


def _cross(rng: np.random.Generator) -> Outline:
    half = rng.uniform(0.27, 0.36)
    ends = rng.uniform(0.85, 1.1, 4)  # right, down, left, up
    right, down, left, up = ends
    corners = np.array(
        [[half, -half], [right, -half], [right, half], [half, half], [half, down], [-half, down]]
        + [[-half, half], [-left, half], [-left, -half], [-half, -half], [-half, -up], [half, -up]]
    )
    return [(_refine(corners, 5), True)]


def _crescent(rng: np.random.Generator) -> Outline:
    """A disc from which a smaller one is cut, as one closed line: over the outer arc and back along the inner."""
    inner, shift = rng.uniform(0.72, 0.82), rng.uniform(0.5, 0.62)
    x = (1 - inner**2 + shift**2) / (2 * shift)  # where the two circles meet
    opening, back = np.arccos(x), np.arctan2(np.sqrt(1 - x**2), x - shift)
    outer_angle = np.linspace(opening, 2 * np.pi - opening, 60)
    inner_angle = np.linspace(2 * np.pi - back, back, 40)
    outer_arc = np.stack([np.cos(outer_angle), np.sin(outer_angle)], 1)
    inner_arc = np.stack([shift + inner * np.cos(inner_angle), inner * np.sin(inner_angle)], 1)
    return [(np.concatenate([outer_arc, inner_arc]) + [0.25, 0], True)]


_FAMILIES = {"ring": _ring, "star": _star, "fish": _fish, "cross": _cross, "crescent": _crescent}
