"""The parts of a cache whose processes do not come back: a run that goes on with fewer of them ends these parts in their place."""

from __future__ import annotations

from pathlib import Path

from ..storage.atomic import PathLike
from .check import Damage
from .layout import Header, list_ranks
from .writer import FeatureWriter


def close_absent(folder: PathLike, processes: int, *, remedy: str = "make it again") -> list[Damage]:
    """Mark the parts of all ranks from `processes` on as finished; else readers would wait for their writers for ever.

    What of these parts is damaged, unlisted or half written is removed, as by a writer that goes on; its images are then not done, and
    the writers that are there make them. Parts that are finished are left as they are. No process may write to the cache meanwhile.
    Returns what was damaged.

    Raises:
        LussError: there is no cache, its cache.json is damaged, or a part cannot be written.
    """
    folder, found = Path(folder), []
    header = Header.read(folder, remedy)
    same = {"fingerprint": header.fingerprint, "vectors": header.vectors, "block_bytes": header.block_bytes}
    for rank in list_ranks(folder):
        if rank >= processes:
            with FeatureWriter(folder, header.dim, header.dtype, rank=rank, **same) as writer:
                found += writer.dropped
    return found
