"""A process killed anywhere in its work, and the rest made by one process alone."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from engine.features import FeatureCache, check_cache, close_absent, drop_damaged
from engine.features.manifest import read_manifest
from engine.runtime.errors import LussError
from tests.engine.features.samples import contents, feed, flip, vectors, write
from tests.engine.features.test_writer import opened
from tests.engine.storage.faults import kills


def write_part(folder, rows, rank: int, processes: int) -> None:
    with opened(folder, rank=rank) as writer:
        feed(writer, rows, processes)


def test_killed_at_any_call_the_other_process_completes_the_cache(tmp_path):
    x, folder, seen = vectors(90), tmp_path / "c", set()
    write_part(folder, x, 0, 2)
    for n in kills(lambda: write_part(folder, x, 1, 2), limit=300):
        alone = tmp_path / f"alone{n}"
        shutil.copytree(folder, alone)
        seen.add(sum("shard" in line for line in read_manifest(alone / "manifest.r001.jsonl").lines))
        close_absent(alone, 1)
        write_part(alone, x, 0, 1)
        assert check_cache(alone) == []
        np.testing.assert_array_equal(FeatureCache(alone, verify="full").load(), x)
        assert not list(alone.glob("*.tmp-*"))
        shutil.rmtree(alone)
    assert seen == {0, 1, 2, 3}


def test_a_kill_while_closing_is_closed_by_the_next(tmp_path):
    x, folder = vectors(60), tmp_path / "c"
    for rank in (1, 2):
        with pytest.raises(KeyError), opened(folder, rank=rank) as writer:
            writer.append(range(rank * 30 - 30, rank * 30 - 7), x[rank * 30 - 30 : rank * 30 - 7])
            raise KeyError
    for _ in kills(lambda: close_absent(folder, 1)):
        assert len(FeatureCache(folder, partial=True)) == 42  # a shard of each
    write_part(folder, x, 0, 1)
    np.testing.assert_array_equal(FeatureCache(folder, verify="full").load(), x)


def test_parts_that_are_finished_and_ranks_that_write_are_left_alone(tmp_path):
    write(tmp_path, vectors(60), 3)
    with pytest.raises(KeyError), opened(tmp_path, rank=1) as writer:
        writer.append(range(100, 130), vectors(30))
        raise KeyError
    before = contents(tmp_path)
    assert close_absent(tmp_path, 2) == [] and contents(tmp_path) == before
    assert close_absent(tmp_path, 1) == []
    assert {name for name in contents(tmp_path).items() - before.items()} == {("manifest.r001.jsonl", contents(tmp_path)["manifest.r001.jsonl"])}


def test_a_flipped_bit_of_an_absent_process_is_mended_by_another(tmp_path):
    x = write(tmp_path, vectors(100), 2)
    flip(tmp_path / "r001-s00000.npy", 4096 + 9)
    assert [damage.shard for damage in drop_damaged(tmp_path)] == ["r001-s00000"]
    with pytest.raises(LussError, match="not finished by process 1"):
        FeatureCache(tmp_path)
    assert close_absent(tmp_path, 1) == []
    write_part(tmp_path, x, 0, 1)
    np.testing.assert_array_equal(FeatureCache(tmp_path, verify="full").load(), x)


def test_the_last_shard_of_an_absent_process_is_read(tmp_path):
    """A power cut may have caught it, and no writer of its own comes to look."""
    x = write(tmp_path, vectors(100), 2)
    flip(tmp_path / "r001-s00002.npy", 4096 + 9)
    found = close_absent(tmp_path, 1)
    assert [damage.shard for damage in found] == ["r001-s00002"] and "fails its checksum" in found[0].text
    write_part(tmp_path, x, 0, 1)
    np.testing.assert_array_equal(FeatureCache(tmp_path, verify="full").load(), x)


def test_no_cache(tmp_path):
    with pytest.raises(LussError, match=r"no feature cache \(it has no cache\.json\): run y"):
        close_absent(tmp_path, 1, remedy="run y")
