from __future__ import annotations

import threading

import numpy as np
import pytest

from engine.features import DamagedShard, FeatureCache
from engine.features import stream as streaming
from tests.engine.features.samples import ROW, flip, vectors, write


@pytest.fixture(params=[1, 3])
def cache(request, tmp_path):
    """One process: rows lie in their order; three: they do not."""
    write(tmp_path, vectors(100), request.param)
    found = FeatureCache(tmp_path)
    assert (found.order is None) == (request.param == 1)
    return found


@pytest.mark.parametrize("rows", [1, 6, 7, 8, 14, 21, 22, 99, 100, 101])
def test_every_size_of_blocks(cache, rows):
    x = vectors(100)
    for first, block in cache.blocks(rows):
        np.testing.assert_array_equal(block, x[first : first + rows])


def test_a_block_is_read_from_the_file_once(cache, monkeypatch):
    if cache.order is not None:
        pytest.skip("rows are taken from maps")
    shard, calls = type(cache.shards[0]), []
    real = shard.read_block
    monkeypatch.setattr(shard, "read_block", lambda self, block, *rest: (calls.append((self.name, block)), real(self, block, *rest)))
    assert sum(len(block) for _, block in cache.blocks(5)) == 100
    assert sorted(calls) == [(s.name, block) for s in cache.shards for block in range(len(s.sums))]


def test_the_blocks_before_a_damaged_one_are_yielded_and_then_no_more(tmp_path):
    x = write(tmp_path, vectors(100))
    flip(tmp_path / "r000-s00002.npy", 4096 + 8 * ROW)  # rows 49 to 55
    got = []
    with pytest.raises(DamagedShard, match=r"r000-s00002.*rows 7 to 13"):
        for first, block in FeatureCache(tmp_path).blocks(7):
            got.append(first)
            np.testing.assert_array_equal(block, x[first : first + 7])
    assert got == list(range(0, 49, 7))


def test_its_threads_end(cache):
    before = threading.active_count()
    for _ in cache.blocks(9):
        break
    cache.load()
    list(cache.blocks(9))
    assert threading.active_count() == before


def test_large_caches_are_filled_in_several_steps(tmp_path, monkeypatch):
    monkeypatch.setattr(streaming, "_PIECE", 10 * ROW)
    for processes in (1, 2):
        x = write(tmp_path / str(processes), vectors(1000), processes)
        np.testing.assert_array_equal(FeatureCache(tmp_path / str(processes)).load(), x)
