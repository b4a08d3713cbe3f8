"""All random choices of a batch's crops, made before any pixel is decoded (spec/pass.md, section 3.2).

A choice depends on (seed, epoch, image, crop) alone: not on the number of loading processes or ranks, nor on what was loaded before. So
a run can be continued in the middle of an epoch, and the distributions can be tested without an image.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..ops.crop_table import CROP
from .counter_random import uniforms

JITTER_PROBABILITY = 0.8
BLUR_RADIUS = (0.1, 2.0)  # standard deviation in pixels of the crop
TRIES = 10
_STREAM = 1  # of the seed's numbers, for crops
# Which of a crop's numbers decides what: 2 TRIES for area and aspect ratio of each try, then
_TOP, _LEFT, _FLIP, _JITTER, _BRIGHTNESS, _CONTRAST, _SATURATION, _HUE, _ORDER, _GREY, _BLUR, _RADIUS = range(2 * TRIES, 2 * TRIES + 12)
_DRAWS = _RADIUS + 1


@dataclass(frozen=True)
class CropGroup:
    """How the crops of one resolution are drawn.

    Args:
        count: crops of each image. size: side in pixels.
        scale: smallest and largest share of the image's area; ratio: of width / height, log-uniform between them.
        jitter: strength, applied with probability 0.8: brightness, contrast, saturation in 1 +- jitter (not below 0), hue in
            +- jitter / 4 of the circle; 0 = none.
        grey, blur: probability of losing all colour, and of a Gaussian blur with standard deviation in 0.1..2 pixels.
    """

    count: int
    size: int
    scale: tuple[float, float]
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    jitter: float = 0.8
    grey: float = 0.2
    blur: float = 0.5

    def __post_init__(self):
        low, high = self.scale
        if self.count < 1 or self.size < 1 or not 0 < low <= high <= 1 or not 0 < self.ratio[0] <= self.ratio[1]:
            raise ValueError(f"{self}: expected count and size >= 1, 0 < scale <= 1 and 0 < ratio, each smallest first")
        if not (0 <= self.jitter <= 2 and 0 <= self.grey <= 1 and 0 <= self.blur <= 1):
            raise ValueError(f"{self}: expected jitter in 0..2, grey and blur in 0..1")


def plan_crops(groups: tuple[CropGroup, ...], seed: int, epoch: int, indices, widths, heights) -> np.ndarray:
    """Plans of all crops of some images; crops are numbered through the groups.

    Args:
        indices, widths, heights: (b,) number of each image in its data set, and its size in pixels.

    Returns:
        (b, total crops) CROP; `image` is the row, boxes are whole numbers in pixels of the image at full size.
    """
    indices, widths, heights = (np.asarray(values, np.int64) for values in (indices, widths, heights))
    if len(indices) and min(widths.min(), heights.min()) < 1:
        raise ValueError(f"widths, heights: found {widths.min()} and {heights.min()}, expected at least 1")
    total = sum(group.count for group in groups)
    draws = uniforms(seed, _STREAM, epoch, indices[:, None], np.arange(total)[None], _DRAWS)
    plan = np.zeros((len(indices), total), CROP)
    plan["image"] = np.arange(len(indices))[:, None]
    first = 0
    for group in groups:
        part = slice(first, first + group.count)
        _place(plan[:, part], draws[:, part], group, widths[:, None], heights[:, None])
        _colour(plan[:, part], draws[:, part], group)
        first += group.count
    return plan


def _place(plan: np.ndarray, draws: np.ndarray, group: CropGroup, width: np.ndarray, height: np.ndarray) -> None:
    """Box and flip: the first of ten tries that fits, else the centre box of the nearest allowed aspect ratio."""
    low, high = group.scale
    log_low, log_high = math.log(group.ratio[0]), math.log(group.ratio[1])
    area = (low + (high - low) * draws[..., 0 : 2 * TRIES : 2]) * (width * height)[..., None]
    aspect = np.exp(log_low + (log_high - log_low) * draws[..., 1 : 2 * TRIES : 2])
    w, h = np.rint(np.sqrt(area * aspect)), np.rint(np.sqrt(area / aspect))
    fits = (w > 0) & (w <= width[..., None]) & (h > 0) & (h <= height[..., None])
    chosen = fits.argmax(-1)[..., None]
    w, h = np.take_along_axis(w, chosen, -1)[..., 0], np.take_along_axis(h, chosen, -1)[..., 0]
    top = np.floor(draws[..., _TOP] * (height - h + 1))
    left = np.floor(draws[..., _LEFT] * (width - w + 1))
    for row, column in np.argwhere(~fits.any(-1)):
        left[row, column], top[row, column], w[row, column], h[row, column] = _centre_box(int(width[row, 0]), int(height[row, 0]), group.ratio)
    plan["left"], plan["top"], plan["width"], plan["height"] = left, top, w, h
    plan["flip"] = draws[..., _FLIP] < 0.5


def _centre_box(width: int, height: int, ratio: tuple[float, float]) -> tuple[int, int, int, int]:
    w, h = width, height
    if width / height < ratio[0]:
        h = max(1, round(w / ratio[0]))
    elif width / height > ratio[1]:
        w = max(1, round(h * ratio[1]))
    return (width - w) // 2, (height - h) // 2, w, h


def _colour(plan: np.ndarray, draws: np.ndarray, group: CropGroup) -> None:
    jittered = draws[..., _JITTER] < JITTER_PROBABILITY if group.jitter > 0 else np.zeros(plan.shape, bool)
    plan["order"] = np.where(jittered, np.floor(draws[..., _ORDER] * 24), -1)
    low, high = max(0.0, 1 - group.jitter), 1 + group.jitter
    for name, number in (("brightness", _BRIGHTNESS), ("contrast", _CONTRAST), ("saturation", _SATURATION)):
        plan[name] = np.where(jittered, low + (high - low) * draws[..., number], 1)
    plan["hue"] = np.where(jittered, (2 * draws[..., _HUE] - 1) * group.jitter / 4, 0)
    plan["grey"] = draws[..., _GREY] < group.grey
    radius = BLUR_RADIUS[0] + (BLUR_RADIUS[1] - BLUR_RADIUS[0]) * draws[..., _RADIUS]
    plan["blur"] = np.where(draws[..., _BLUR] < group.blur, radius, 0)
