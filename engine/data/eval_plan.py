"""Evaluation crops as records of engine.ops.resize_crops: sizes and offsets of the published transforms (spec/pass.md, sections 5, 6 and 8)."""

from __future__ import annotations

import numpy as np

from ..ops.crop_table import CUT
from .crops import center_crop_box, resize_shorter


def center_cuts(widths, heights, resize: int, crop: int, square: bool = False) -> np.ndarray:
    """The central crop x crop pixels of images with their shorter side at `resize` pixels (section 5).

    Args:
        widths, heights: (b,) size of each image in pixels, at least 1.
        square: images are squashed to resize x resize first, as the published Jittor code does (section 12.2, J3).

    Returns: (b,) CUT, record i for image i.
    Raises: ValueError: a size below 1, or crop > resize.
    """
    plan = whole_cuts(widths, heights, resize, square)
    for record in plan:
        record["left"], record["top"], _, _ = center_crop_box(int(record["width"]), int(record["height"]), crop)
    return plan


def whole_cuts(widths, heights, shorter: int, square: bool = False) -> np.ndarray:
    """Whole images with their shorter side at `shorter` pixels, the other int(shorter * long / short) (section 6).

    The cut has the size of its record; one call of the op takes records of one size.

    Args, Returns, Raises: as center_cuts.
    """
    widths, heights = np.asarray(widths, np.int64), np.asarray(heights, np.int64)
    if shorter < 1 or (len(widths) and min(widths.min(), heights.min()) < 1):
        least = f", widths and heights from {widths.min()} and {heights.min()}" if len(widths) else ""
        raise ValueError(f"widths, heights, shorter: found shorter={shorter}{least} on, expected at least 1")
    plan = np.zeros(len(widths), CUT)
    plan["image"] = np.arange(len(widths))
    for record, width, height in zip(plan, widths.tolist(), heights.tolist()):
        record["width"], record["height"] = (shorter, shorter) if square else resize_shorter(width, height, shorter)
    return plan
