"""Random-resized boxes one at a time, as the published code draws them: what the vectorised plan is held to."""

from __future__ import annotations

import math


class Replay:
    """The draws of one crop of a plan: area and aspect ratio of each try, then top and left of the one that fits."""

    def __init__(self, numbers, tries=10):
        self.tries, self.place = iter(numbers[: 2 * tries]), iter(numbers[2 * tries :])

    def uniform(self, low, high):
        return low + (high - low) * next(self.tries)

    def randint(self, low, high):
        return low + math.floor(next(self.place) * (high - low + 1))


def random_resized_crop(draws, width, height, scale, ratio=(3 / 4, 4 / 3)):
    """(left, top, width, height) by `draws.uniform(low, high)` and `draws.randint(low, high)`, as Python's `random` has them."""
    for _ in range(10):
        area = draws.uniform(*scale) * (width * height)
        aspect = math.exp(draws.uniform(math.log(ratio[0]), math.log(ratio[1])))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            top = draws.randint(0, height - h)
            left = draws.randint(0, width - w)
            return left, top, w, h
    w, h = width, height
    if width / height < ratio[0]:
        h = round(w / ratio[0])
    elif width / height > ratio[1]:
        w = round(h * ratio[1])
    return (width - w) // 2, (height - h) // 2, w, h
