"""What k-means is asked for, and what it says about its way and its result."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..runtime.errors import LussError
from .whitening import Whitening

STARTS = ("random", "k-means++", "k-means||")


@dataclass(frozen=True)
class KMeansSettings:
    """What a clustering depends on, besides its rows.

    Attributes:
        clusters: K, 1 to 65536.
        iterations: of Lloyd's algorithm; a restart that has reached a fixed point ends before.
        restarts: R, advanced together; the one with the best objective is kept.
        seed: of the starts, 0 to 2^31 - 1; restart r is that of faiss with this seed.
        start: "random": K distinct rows, those that faiss takes; "k-means++" (K passes over the rows); "k-means||" (a few).
        spherical: centroids have unit length, and the largest product wins, as with faiss's `spherical` and an inner-product index.
        normalise: rows are brought to unit length first.
        whiten: PCA-whitening to that many dimensions before; 0: none.
        minibatch: rows of a step of mini-batch k-means, for quick looks: approximate, and every record says so; 0: all rows.

    Raises:
        LussError: a value outside its range.
    """

    clusters: int
    iterations: int = 20
    restarts: int = 30
    seed: int = 0
    start: str = "random"
    spherical: bool = False
    normalise: bool = True
    whiten: int = 0
    minibatch: int = 0

    def __post_init__(self):
        least = {"clusters": 1, "iterations": 1, "restarts": 1, "seed": 0, "whiten": 0, "minibatch": 0}
        for name, value in least.items():
            if getattr(self, name) < value:
                raise LussError(f"clustering: {name} = {getattr(self, name)}: expected at least {value}")
        if self.clusters > 65536 or self.seed >= 1 << 31:
            raise LussError(f"clustering: clusters = {self.clusters}, seed = {self.seed}: expected at most 65536, and below 2^31")
        if self.start not in STARTS:
            raise LussError(f"clustering: start = {self.start!r}: expected one of {', '.join(STARTS)}")
        if self.minibatch and self.spherical:
            raise LussError("clustering: minibatch and spherical do not go together: mini-batches know squared distances alone")


@dataclass(frozen=True)
class IterationRecord:
    """One iteration of one restart.

    Attributes:
        restart, iteration: numbers from 0.
        objective: of the labels against the centroids that they were found with (before the update), as faiss reports it: sum of squared
            distances; in the spherical case sum of products (larger is better).
        seconds: its share of the pass, which serves all restarts.
        moved: rows whose cluster changed; None where the labels of before are unknown (the first iteration, and the first after resuming).
        splits: empty clusters that took half of another one.
        imbalance: K * sum of squared sizes / n^2, 1 for equal sizes.
        approximate: from a mini-batch.
    """

    restart: int
    iteration: int
    objective: float
    seconds: float
    moved: int | None
    splits: int
    imbalance: float
    approximate: bool = False


@dataclass(frozen=True)
class Clustering:
    """The best restart.

    Attributes:
        centroids: (K, d) float32, after the last update, as faiss returns them.
        objective: of its last iteration; after mini-batches, of `centroids` over all rows.
        restart: its number.
        records: of all restarts, by iteration, then restart.
        whitening: what the rows went through before; None: nothing.
    """

    centroids: np.ndarray
    objective: float
    restart: int
    records: list[IterationRecord]
    whitening: Whitening | None = None
