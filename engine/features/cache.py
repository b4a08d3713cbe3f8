"""Read a feature cache: all rows in the order of their images, whoever wrote them; streamed, mapped, or loaded."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import xxhash

from ..runtime.errors import LussError
from ..storage.atomic import PathLike
from .check import Progress, RankState, read_ranks, verify_states
from .layout import Header, data_path
from .order import global_order
from .row_map import RowMap
from .shard import DamagedShard, Shard
from .stream import fill, read_ahead


class FeatureCache:
    """Rows 0 to n-1 of a finished cache, rising by image; rows of one image in the order in which they were appended.

    Of an image that was stored twice, the rows of the lowest process, and of its lowest shard, count.

    Args:
        folder: of the cache.
        verify: when rows are held against their checksums: "lazy" (a block when it is first read), "full" (all of them now), "none".
        fingerprint: the one that the cache must have; None takes any.
        partial: also read what is there of a cache that its writers have not finished.
        remedy: how to make damaged shards again, for the errors ("run ...").

    Raises:
        DamagedShard: something of it is torn, cut off, altered or foreign; all such shards are named.
        LussError: no cache, not finished, or of another fingerprint.
    """

    def __init__(
        self,
        folder: PathLike,
        *,
        verify: str = "lazy",
        fingerprint: str | None = None,
        partial: bool = False,
        remedy: str = "delete it and make it again",
    ):
        if verify not in ("lazy", "full", "none"):
            raise ValueError(f"verify={verify!r}: expected 'lazy', 'full' or 'none'")
        self.folder, self.remedy = Path(folder), remedy
        self.header = Header.read(self.folder, remedy)
        if fingerprint is not None and fingerprint != self.header.fingerprint:
            found = self.header.fingerprint
            raise LussError(f"{folder}: made from something else (fingerprint {found!r}, expected {fingerprint!r}): delete it, then {remedy}")
        self.checked = verify != "none"
        self._states = read_ranks(self.folder, self.header)
        self._refuse_damage(self._states, partial)
        self.shards: list[Shard] = [shard for state in self._states for shard in state.shards]
        self.starts = np.cumsum([0] + [shard.rows for shard in self.shards])  # number of each shard's first row as stored
        self.ids, self.order = global_order([shard.ids for shard in self.shards], self.header.vectors == "many")
        for shard in self.shards:  # held once, in self.ids
            del shard.ids
        if verify == "full":
            self.verify()

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def dim(self) -> int:
        return self.header.dim

    @property
    def dtype(self) -> np.dtype:
        return self.header.value_type

    @property
    def shape(self) -> tuple[int, int]:
        return len(self), self.dim

    def verify(self, progress: Progress | None = None) -> None:
        """Read every block and compare its checksum.

        Args:
            progress: called with the bytes read so far and those in all.

        Raises:
            DamagedShard: names all damaged shards, and of each the first bad block.
        """
        with _naming(self.remedy):
            damage = verify_states(self._states, progress)
            if damage:
                raise DamagedShard("; ".join(d.text for d in damage), [d.shard for d in damage])

    def blocks(
        self, rows: int | None = None, *, to: Callable | None = None, ahead: int = 2, first: int = 0, last: int | None = None
    ) -> Iterator[tuple[int, object]]:
        """Yield (number of the first row, (m, dim) rows) over the cache, m = `rows` but at the end.

        The array is a buffer that is filled anew once the next one is asked for: copy what is to stay, or have `to` do so.

        Args:
            rows: default: two blocks of checksums, 32 MB.
            to: called with each array, e.g. to copy it to the device; what it returns is yielded instead.
            ahead: buffers that are filled while the caller works.
            first, last: only rows first to last - 1; default: all of them.

        Raises (while iterating):
            DamagedShard: before a damaged row is yielded.
        """
        rows = 2 * self.header.block_rows if rows is None else rows
        if rows < 1 or ahead < 1:
            raise ValueError(f"rows={rows}, ahead={ahead}: expected at least 1")
        last = len(self) if last is None else last
        if not 0 <= first <= last <= len(self):
            raise ValueError(f"first={first}, last={last}: expected 0 <= first <= last <= {len(self)}, the number of rows")
        with _naming(self.remedy):
            for start, block in read_ahead(self, rows, ahead, first, last):
                yield start, block if to is None else to(block)

    def load(self, out: np.ndarray | None = None) -> np.ndarray:
        """All rows as one (n, dim) array; `out` of that shape and of the cache's dtype is filled where given.

        Raises:
            DamagedShard: `out` must not be used then.
        """
        if out is None:
            out = np.empty(self.shape, self.dtype)
        if out.shape != self.shape or out.dtype != self.dtype or not out.flags.c_contiguous:
            raise ValueError(f"out: expected C-ordered {self.shape} {self.dtype}, found {out.shape} {out.dtype}")
        with _naming(self.remedy):
            fill(self, out)
        return out

    def gather(self, indices: Sequence[int] | np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """Rows of these numbers, in any order and repeated at will: (m, dim) of the cache's dtype.

        Raises:
            IndexError: a number outside 0..n-1.
            DamagedShard: a block that is read for the first time fails its checksum.
        """
        indices = np.asarray(indices, np.int64)
        if indices.ndim != 1:
            raise ValueError(f"indices: expected (m,), found {indices.shape}")
        if len(indices) and (indices.min() < 0 or indices.max() >= len(self)):
            raise IndexError(f"indices: from {indices.min()} to {indices.max()}, the cache has rows 0 to {len(self) - 1}")
        if out is None:
            out = np.empty((len(indices), self.dim), self.dtype)
        if out.shape != (len(indices), self.dim) or out.dtype != self.dtype:
            raise ValueError(f"out: expected ({len(indices)}, {self.dim}) {self.dtype}, found {out.shape} {out.dtype}")
        with _naming(self.remedy):
            self.take_stored(indices if self.order is None else self.order[indices], out)
        return out

    def rows_of(self, ids: Sequence[int] | np.ndarray, *, absent: str = "refuse") -> np.ndarray:
        """Numbers of all rows of a subset of images, rising: for `gather`.

        Args:
            ids: images, in any order; repeated ones count once.
            absent: "refuse" or "skip" images that have no rows.

        Raises:
            LussError: an image has no rows; the first one is named.
        """
        if absent not in ("refuse", "skip"):
            raise ValueError(f"absent={absent!r}: expected 'refuse' or 'skip'")
        wanted = np.unique(np.asarray(ids, np.int64))
        first, last = np.searchsorted(self.ids, wanted, "left"), np.searchsorted(self.ids, wanted, "right")
        missing = np.flatnonzero(first == last)
        if len(missing) and absent == "refuse":
            raise LussError(f"{self.folder}: no features of image {wanted[missing[0]]} ({len(missing)} of {len(wanted)} images have none)")
        lengths = last - first
        return np.repeat(first - np.cumsum(lengths) + lengths, lengths) + np.arange(lengths.sum())

    def digest(self) -> str:
        """32 hexadecimal digits of ids and rows in order: the same whatever processes and shards they came from."""
        total = xxhash.xxh3_128(f"{self.header.dtype} {self.header.dim} {len(self)} ".encode())
        total.update(self.ids.astype("<u4"))
        for _, block in self.blocks():
            total.update(block)
        return total.hexdigest()

    def take_stored(self, stored: np.ndarray, out: np.ndarray) -> None:
        """Copy rows by their numbers as stored, which are in range; blocks that are read for the first time are verified."""
        if len(stored) == 0:
            return
        grid = self._map
        if len(self.shards) == 1:
            self._verify_touched(0, stored)
        else:
            owner = np.searchsorted(self.starts, stored, "right") - 1
            for number in np.flatnonzero(np.bincount(owner)):
                self._verify_touched(number, stored, owner)
            stored = stored + (grid.first - self.starts[:-1])[owner]
        np.take(grid.rows, stored, axis=0, out=out, mode="clip")  # "raise" would copy twice

    @functools.cached_property
    def _map(self) -> RowMap:
        return RowMap(self.shards, self.header)

    def _verify_touched(self, number: int, stored: np.ndarray, owner: np.ndarray | None = None) -> None:
        shard = self.shards[number]
        shard.check_size()  # touching a map beyond the file's end would kill the process
        if self.checked and not shard.verified.all():
            rows = stored if owner is None else stored[owner == number] - self.starts[number]
            for block in np.flatnonzero(np.bincount(rows // self.header.block_rows)):
                shard.verify_block(block, self._map.of(number))

    def _refuse_damage(self, states: list[RankState], partial: bool) -> None:
        damage = [(d.shard, d.text) for state in states for d in state.damage]
        unlisted = [(name, f"{data_path(self.folder, name)}: in no manifest") for state in states for name in state.orphans]
        if damage or (unlisted and not partial and all(state.closed for state in states)):
            damage += unlisted
            raise DamagedShard(f"{'; '.join(text for _, text in damage)}: {self.remedy}", [name for name, _ in damage if name])
        unfinished = [f"process {state.rank}" for state in states if not state.closed]
        if not partial and (unfinished or not states):
            who = ", ".join(unfinished) or "no process has begun, and every one"
            raise LussError(f"{self.folder}: not finished by {who}: it still runs, or was stopped; {self.remedy}")


@contextlib.contextmanager
def _naming(remedy: str) -> Iterator[None]:
    """Adds to the error of a damaged shard how to make it again."""
    try:
        yield
    except DamagedShard as error:
        raise DamagedShard(f"{error}: {remedy}", error.shards) from error
