"""Settings of stage cluster, which `luss cluster --cache` has as options too."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

ENGINES = ("luss", "faiss")
STARTS = ("random", "k-means++", "k-means||")  # those of engine.clustering, which takes a while to import

# names of the file of centroids: no one can take one kind for the other
CENTROIDS, WHITENED = "centroids.npy", "whitened_centroids.npy"


@dataclass(frozen=True)
class ClusterSettings:
    """k-means over the features, at unit length, of the training images."""

    clusters: int = 50
    iterations: int = 20  # at most; a restart whose labels no longer change ends before
    restarts: int = 30  # the one with the best objective is kept
    engine: str = "luss"  # luss: streamed from disk, over all processes, resumed; faiss: in memory, by the first process, begun anew
    start: str = "random"  # random (the rows that faiss takes) | k-means++ | k-means||
    spherical: bool = False  # centroids of unit length; the largest cosine wins instead of the smallest distance
    whiten: int = 0  # PCA-whitening to so many dimensions; 0 = none. Its centroids are no feature vectors: stages after cluster refuse it
    minibatch: int = 0  # rows a step, for quick looks: approximate; 0 = all rows
    block_rows: int = 0  # rows held at a time; 0 = 32 MB of them. Results do not depend on it


MOST_CLUSTERS = 65536  # of engine.clustering

# what centroids and labels depend on
RESULT_NAMES = tuple(field.name for field in dataclasses.fields(ClusterSettings) if field.name != "block_rows")


def cluster_trouble(c: ClusterSettings) -> str:
    """What is wrong with the settings of stage cluster; "" for nothing."""
    for name, least in (("clusters", 1), ("iterations", 1), ("restarts", 1), ("whiten", 0), ("minibatch", 0), ("block_rows", 0)):
        if getattr(c, name) < least:
            return f"cluster.{name} = {getattr(c, name)}: expected at least {least}"
    if c.clusters > MOST_CLUSTERS:
        return f"cluster.clusters = {c.clusters}: expected at most {MOST_CLUSTERS}"
    for name, known in (("engine", ENGINES), ("start", STARTS)):
        if getattr(c, name) not in known:
            return f"cluster.{name} = {getattr(c, name)}: expected {' or '.join(known)}"
    defaults = ClusterSettings()
    for name in ("start", "spherical", "whiten", "minibatch"):
        if c.engine == "faiss" and getattr(c, name) != getattr(defaults, name):
            return f"cluster.{name} = {getattr(c, name)}: cluster.engine = faiss cannot do that; take cluster.engine = luss"
    if c.minibatch and c.spherical:
        return f"cluster.minibatch = {c.minibatch}: mini-batches go by squared distance alone; take cluster.minibatch = 0 with cluster.spherical"
    return ""
