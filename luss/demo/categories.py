"""The invented categories: each is a pair of a shape and a texture, so that neither alone tells it.

The k-th category has shape k mod 5 and texture k mod 7, so that the first 35 are different pairs. Of 8 categories the best
guess from the shape alone is right in 5 of 8 cases, from the texture alone in 7 of 8.
"""

from __future__ import annotations

from dataclasses import dataclass

SHAPES = ("ring", "star", "fish", "cross", "crescent")
TEXTURES = ("stripes", "dots", "cells", "checker", "zigzag", "patches", "net")
MAX_CATEGORIES = len(SHAPES) * len(TEXTURES)
_ADJECTIVES = {
    "stripes": "striped",
    "dots": "dotted",
    "cells": "cellular",
    "checker": "checkered",
    "zigzag": "zigzag",
    "patches": "patchy",
    "net": "netted",
}


@dataclass(frozen=True)
class Category:
    """One category; `number` is its id in label maps, 1 to K."""

    number: int
    shape: str
    texture: str

    @property
    def wnid(self) -> str:
        """Folder name; sorted folder names are in the order of the ids."""
        return f"n{90000000 + self.number:08d}"

    @property
    def name(self) -> str:
        return f"{_ADJECTIVES[self.texture]} {self.shape}"


def categories(count: int) -> tuple[Category, ...]:
    """The first `count` categories (2 to 35), ids 1 to `count`."""
    if not 2 <= count <= MAX_CATEGORIES:
        raise ValueError(f"classes={count}: expected 2 to {MAX_CATEGORIES}")
    return tuple(Category(k + 1, SHAPES[k % len(SHAPES)], TEXTURES[k % len(TEXTURES)]) for k in range(count))
