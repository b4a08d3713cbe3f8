"""One photograph-like picture with its label map, from (seed, split, number) alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from .backgrounds import background
from .categories import Category
from .fields import noise, smooth
from .layout import Arrangement, Body, arrange, label_map
from .textures import texture
from .tones import colour, tones

_SHORTER_SIDE = (120, 200)
_LOG_ASPECT = 0.36  # width to height from 0.70 to 1.43


@dataclass(frozen=True)
class Scene:
    image: np.ndarray  # (height, width, 3) uint8 RGB
    labels: np.ndarray  # (height, width) int32: 0 other, 1..K, 1000 ignore
    main: Category  # of the largest object
    quality: int  # for the JPEG


def draw_scene(seed: int, split: int, number: int, known: tuple[Category, ...]) -> Scene:
    """Picture `number` of a split. Main categories take turns.

    Args:
        seed: not negative.
        split: position of the split, so that splits share no picture.
        known: all categories.
    """
    rng = np.random.default_rng([seed, split, number])
    main = known[number % len(known)]
    shorter, aspect = rng.integers(*_SHORTER_SIDE, endpoint=True), np.exp(rng.uniform(-_LOG_ASPECT, _LOG_ASPECT))
    height, width = (shorter, round(shorter * aspect)) if aspect >= 1 else (round(shorter / aspect), shorter)
    arrangement = arrange(rng, int(height), int(width), main, known)
    image = _compose(rng, arrangement)
    labels = label_map(rng, arrangement)
    return Scene(_expose(rng, image), labels, main, int(rng.integers(80, 96)))


def _compose(rng: np.random.Generator, arrangement: Arrangement) -> np.ndarray:
    """Background, then from back to front the shadow and the surface of each body; (height, width, 3) float32."""
    height, width = arrangement.bodies[0].cover.shape
    image = background(rng, height, width)
    bearing = rng.uniform(0, 2 * np.pi)
    sun = np.array([np.cos(bearing), np.sin(bearing)])  # towards the light, in the picture's plane
    shadow = rng.uniform(0.0, 0.45)
    for body in arrangement.bodies:
        box = _box(body.cover, margin=1)
        if box is None:
            continue
        if body.category is None:
            _paint_pole(rng, image, body)
            continue
        size = body.scale * 0.5
        if shadow > 0.05:
            _cast_shadow(image, body.cover, -sun * size * rng.uniform(0.1, 0.25), 0.1 * size + 1, shadow)
        surface = _surface(rng, body, box, sun)
        cover = body.cover[box][..., None]
        image[box] += cover * (surface - image[box])
    return image


def _surface(rng: np.random.Generator, body: Body, box: tuple[slice, slice], sun: np.ndarray) -> np.ndarray:
    """Textured and shaded colours of a body in its box, (h, w, 3) float32."""
    y, x = np.mgrid[box].astype(np.float32)
    h, w = y.shape
    turn = rng.uniform(-0.1, 0.1)
    inverse = np.linalg.inv(body.matrix)
    to_texture = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) @ inverse
    # A little finer in small pictures, and nearer or farther.
    zoom = 1 / (np.sqrt(min(body.cover.shape) / 160) * rng.uniform(0.9, 1.1))
    (a, b), (c, d) = (zoom * to_texture).astype(np.float32)
    x, y = x - np.float32(body.centre[0]), y - np.float32(body.centre[1])
    wobble = rng.uniform(0.5, 2.0)
    u = a * x + b * y + wobble * noise(rng, h, w, 28)
    v = c * x + d * y + wobble * noise(rng, h, w, 28)
    value, third = texture(body.category.texture, rng, u, v)
    palette = tones(rng)
    surface = palette[0] + value[..., None] * (palette[1] - palette[0])
    surface += third[..., None] * (palette[2] - surface)
    roundness = smooth(body.cover[box], max(body.scale * 0.22, 2.0))  # falls off towards the rim, like a rounded body's height
    slope_y, slope_x = np.gradient(roundness)
    lit = -(slope_x * sun[0] + slope_y * sun[1]) * body.scale
    grain = 1 + 0.05 * noise(rng, h, w, 4)
    surface *= (np.clip(1 + rng.uniform(0.15, 0.5) * lit, 0.55, 1.35) * grain)[..., None]
    return surface


def _cast_shadow(image: np.ndarray, cover: np.ndarray, shift: np.ndarray, blur: float, strength: float) -> None:
    """Darken `image` in place by the blurred and shifted cover."""
    height, width = cover.shape
    dx, dy = (int(round(part)) for part in shift)
    moved = np.zeros_like(cover)
    moved[max(dy, 0) : height + min(dy, 0), max(dx, 0) : width + min(dx, 0)] = cover[
        max(-dy, 0) : height + min(-dy, 0), max(-dx, 0) : width + min(-dx, 0)
    ]
    image *= (1 - strength * np.clip(smooth(moved, blur), 0, 1))[..., None]


def _paint_pole(rng: np.random.Generator, image: np.ndarray, body: Body) -> None:
    """Something plain and out of focus before the objects."""
    cover = np.clip(smooth(body.cover, 1.2), 0, 1)[..., None]
    height, width = body.cover.shape
    plain = colour(rng, rng.uniform(0.1, 0.9)) * (1 + 0.08 * noise(rng, height, width, 14))[..., None]
    image += cover * (plain - image)


def _expose(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Light falling off over the picture, colour cast, lens and sensor; uint8."""
    height, width = image.shape[:2]
    y, x = np.linspace(-1, 1, height, dtype=np.float32)[:, None], np.linspace(-1, 1, width, dtype=np.float32)
    bearing = rng.uniform(0, 2 * np.pi)
    fall = rng.uniform(0, 0.3) * (np.float32(np.cos(bearing)) * x + np.float32(np.sin(bearing)) * y)
    vignette = rng.uniform(0, 0.2) * (x**2 + y**2) / 2
    cast = rng.uniform(0.97, 1.03, 3).astype(np.float32)
    image = image * (rng.uniform(0.8, 1.15) * (1 + fall - vignette))[..., None] * cast
    blur = rng.uniform(0.2, 0.75)
    if blur > 0.3:
        image = ndimage.gaussian_filter(image, (blur, blur, 0), truncate=3)
    grain = rng.standard_normal(image.shape, np.float32) + rng.standard_normal((height, width, 1), np.float32)
    image += rng.uniform(0.006, 0.022) * grain
    return (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)


def _box(cover: np.ndarray, margin: int) -> tuple[slice, slice] | None:
    """Bounding box of what is covered, or None."""
    rows, columns = np.flatnonzero(cover.any(1)), np.flatnonzero(cover.any(0))
    if not len(rows):
        return None
    return (
        slice(max(rows[0] - margin, 0), min(rows[-1] + 1 + margin, cover.shape[0])),
        slice(max(columns[0] - margin, 0), min(columns[-1] + 1 + margin, cover.shape[1])),
    )
