"""Comparisons of a check: they raise with what differs, and give facts where nothing does."""

from __future__ import annotations

import numpy as np


class Disagreement(AssertionError):
    pass


def same_bits(found: np.ndarray, expected: np.ndarray) -> dict:
    if found.shape != expected.shape or found.dtype != expected.dtype:
        raise Disagreement(f"expected {expected.shape} {expected.dtype}, found {found.shape} {found.dtype}")
    different = np.frombuffer(found.tobytes(), np.uint8) != np.frombuffer(expected.tobytes(), np.uint8)
    if different.any():
        place = np.unravel_index(int(np.argmax(different)) // found.itemsize, found.shape)
        wrong = int(np.unique(np.flatnonzero(different) // found.itemsize).size)
        first = f"first at {tuple(map(int, place))}: expected {expected[place]!r}, found {found[place]!r}"
        raise Disagreement(f"{wrong} of {found.size} values differ; {first}")
    return {"values": int(found.size)}


def close(found: np.ndarray, expected: np.ndarray, bound, why: str) -> dict:
    """|found - expected| <= bound everywhere, NaN only where NaN is expected; `bound` broadcasts."""
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    if found.shape != expected.shape:
        raise Disagreement(f"expected shape {expected.shape}, found {found.shape}")
    with np.errstate(invalid="ignore"):
        equal = (found == expected) | (np.isnan(found) & np.isnan(expected))
        share = np.where(equal, 0.0, np.abs(found - expected) / np.broadcast_to(np.maximum(bound, 1e-300), found.shape))
    share = np.where(np.isnan(share), np.inf, share)
    worst = float(share.max()) if share.size else 0.0
    if worst > 1:
        place = np.unravel_index(int(np.argmax(share)), found.shape)
        raise Disagreement(f"{tuple(map(int, place))}: expected {expected[place]!r}, found {found[place]!r}, {worst:.3g} times the bound ({why})")
    return {"values": int(found.size), "worst_share_of_bound": worst}


def same_labels(found: np.ndarray, expected: np.ndarray, margin: np.ndarray, slack, why: str) -> dict:
    """Equal wherever the winner leads by more than `slack`; counts how many lie closer and differ."""
    if found.shape != expected.shape:
        raise Disagreement(f"expected shape {expected.shape}, found {found.shape}")
    different, clear = found != expected, margin > slack
    if (different & clear).any():
        place = tuple(map(int, np.argwhere(different & clear)[0]))
        first = f"first at {place}: expected {expected[place]}, found {found[place]}, margin {margin[place]:.3g}"
        raise Disagreement(f"{int((different & clear).sum())} labels differ beyond {why}; {first}")
    return {"labels": int(found.size), "within_rounding": int((~clear).sum()), "differing_there": int(different.sum())}
