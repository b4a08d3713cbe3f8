"""What of a cache is whole, process by process; and removal of what is not, so that a writer can make it again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..storage.atomic import PathLike, flush_folder
from .layout import Header, Listing, data_path, ids_path, list_ranks, manifest_path, shard_name, shard_number, sidecar_path
from .manifest import read_manifest, rewrite
from .shard import DamagedShard, Shard

Progress = Callable[[int, int], None]  # bytes checked, bytes in all


@dataclass(frozen=True)
class Damage:
    """`shard`: its name, or "" where a manifest itself is damaged; `text`: file, what was found, what was expected."""

    shard: str
    text: str


@dataclass
class RankState:
    """One process's part of a cache: whole shards in the order of their numbers, what is not whole, what a kill may leave behind."""

    rank: int
    shards: list[Shard] = field(default_factory=list)
    lines: list[dict] = field(default_factory=list)  # of `shards`, as in the manifest, with closing lines
    damage: list[Damage] = field(default_factory=list)
    orphans: list[str] = field(default_factory=list)  # shards with files and no line
    temporaries: list[str] = field(default_factory=list)
    torn: bool = False
    closed: bool = False


def read_rank(folder: Path, header: Header, rank: int, listing: Listing | None = None) -> RankState:
    """Open all shards that a process has listed; nothing is changed."""
    listing = listing or list_ranks(folder).get(rank) or Listing((), (), False)
    state = RankState(rank, temporaries=list(listing.temporaries))
    path = manifest_path(folder, rank)
    manifest = read_manifest(path)
    state.torn = manifest.torn
    state.damage += [Damage("", f"{path}: line {number} fails its checksum") for number in manifest.damaged]
    listed: set[str] = set()
    for line in manifest.lines:
        name = line.get("shard", "")
        if line.get("cache") != header.digest:
            own = name if _is_name(name, rank) else ""
            state.damage.append(Damage(own, f"{path}: the line of {name or 'its end'} belongs to another cache"))
        elif "closed" in line:
            state.lines.append(line)
        elif not _is_shard_line(line, rank) or name in listed:
            state.damage.append(Damage("", f"{path}: holds a line that no writer makes: {line}"))
        else:
            listed.add(name)
            try:
                state.shards.append(Shard(folder, header, line))
                state.lines.append(line)
            except DamagedShard as error:
                state.damage.append(Damage(name, str(error)))
    state.shards.sort(key=lambda shard: shard_number(shard.name))
    state.orphans = [name for name in listing.shards if name not in listed]
    last = manifest.lines[-1] if manifest.lines and not manifest.torn else {}
    if "closed" in last and not state.damage:
        found = [len(state.shards), sum(shard.rows for shard in state.shards)]
        state.closed = last["closed"] == found
        if not state.closed:
            text = f"{path}: lists {found[0]} shards of {found[1]} rows, its last line says {last['closed']}: lines were lost"
            state.damage.append(Damage("", text))
    return state


def _is_shard_line(line: dict, rank: int) -> bool:
    rows = line.get("rows")
    return _is_name(line.get("shard"), rank) and isinstance(rows, int) and 0 < rows < 1 << 48 and isinstance(line.get("sidecar"), str)


def _is_name(name: object, rank: int) -> bool:
    return isinstance(name, str) and shard_number(name) >= 0 and name == shard_name(rank, shard_number(name))


def read_ranks(folder: Path, header: Header) -> list[RankState]:
    return [read_rank(folder, header, rank, listing) for rank, listing in list_ranks(folder).items()]


def verify_shard(shard: Shard, count: Callable[[int], None] = lambda more: None) -> Damage | None:
    """Read all blocks of a shard and compare their checksums; the first that fails is named, and ends it.

    Args:
        count: called with the bytes of each block.
    """
    header = shard.header
    scratch = np.empty((min(header.block_rows, shard.rows), header.dim), header.value_type)
    try:
        for block in range(len(shard.sums)):
            first, last = shard.block_range(block)
            shard.read_block(block, scratch[: last - first])
            count((last - first) * header.row_bytes)
    except DamagedShard as error:
        return Damage(shard.name, str(error))
    return None


def verify_states(states: list[RankState], progress: Progress | None = None) -> list[Damage]:
    """Damage found at opening and by reading every block, in the order of ranks and shards."""
    total = sum(shard.rows * shard.header.row_bytes for state in states for shard in state.shards)
    done, found = 0, []

    def count(more: int) -> None:
        nonlocal done
        done += more
        if progress is not None:
            progress(done, total)

    for state in states:
        found += state.damage
        for shard in state.shards:
            before = done
            damage = verify_shard(shard, count)
            count(before + shard.rows * shard.header.row_bytes - done)  # what follows a bad block is not read
            found += [damage] if damage else []
    return found


def check_cache(folder: PathLike, *, progress: Progress | None = None, remedy: str = "make it again") -> list[Damage]:
    """Everything that is wrong with a cache, all rows read; an empty list where it is whole and finished.

    Raises:
        LussError: there is no cache, or its cache.json is damaged.
    """
    folder = Path(folder)
    states = read_ranks(folder, Header.read(folder, remedy))
    found = verify_states(states, progress)
    for state in states:
        found += [Damage(name, f"{data_path(folder, name)}: not listed in {manifest_path(folder, state.rank).name}") for name in state.orphans]
        if not state.closed and not state.damage:
            found.append(Damage("", f"{manifest_path(folder, state.rank)}: not finished by its writer"))
    if not states:
        found.append(Damage("", f"{folder}: no process has begun to write it"))
    return found


def drop_damaged(folder: PathLike, *, thorough: bool = True, progress: Progress | None = None, remedy: str = "make it again") -> list[Damage]:
    """Remove damaged shards, lines and left-overs of all processes; writers then find these images not done, and make them again.

    No process may write to the cache meanwhile. Returns what was damaged.

    Args:
        thorough: read all rows; else what opening looks at (sizes, headers, ids, manifests).
    """
    folder = Path(folder)
    header = Header.read(folder, remedy)
    states = read_ranks(folder, header)
    found = verify_states(states, progress) if thorough else [damage for state in states for damage in state.damage]
    for state in states:
        clean(folder, state, {damage.shard for damage in found})
    return found


def clean(folder: Path, state: RankState, doomed: set[str]) -> None:
    """Take `doomed` shards and all that is not listed out of a process's part; the manifest goes first, so that a kill leaves orphans at worst."""
    kept = [shard.name for shard in state.shards if shard.name not in doomed]
    changed = len(kept) < len(state.shards) or bool(state.damage)
    if changed or state.torn:
        lines = [line for line in state.lines if (line.get("shard") in kept if "shard" in line else not changed)]
        rewrite(manifest_path(folder, state.rank), lines)
        state.lines, state.closed = lines, state.closed and not changed
    state.shards = [shard for shard in state.shards if shard.name in kept]
    removed = False
    for name in {*(damage.shard for damage in state.damage), *doomed, *state.orphans} - set(kept):
        for path in (data_path(folder, name), ids_path(folder, name), sidecar_path(folder, name)):
            if _is_name(name, state.rank) and path.exists():
                path.unlink()
                removed = True
    for name in state.temporaries:
        (folder / name).unlink(missing_ok=True)
    if removed:
        flush_folder(folder)
