from __future__ import annotations

import gc
import os

import numpy as np
import pytest

from engine.features import DamagedShard, FeatureCache
from engine.features.row_map import RowMap
from tests.engine.features.samples import vectors, write


@pytest.mark.parametrize("dim", [1, 7, 512, 1500])
def test_each_shard_has_its_rows_on_the_common_grid(tmp_path, dim):
    x = write(tmp_path, vectors(100, dim), shard_bytes=30 * 4 * dim, block_bytes=10 * 4 * dim)
    cache = FeatureCache(tmp_path)
    grid = RowMap(cache.shards, cache.header)
    for number, start in enumerate(cache.starts[:-1]):
        np.testing.assert_array_equal(grid.of(number), x[start : start + 30])
        np.testing.assert_array_equal(grid.rows[grid.first[number]], x[start])
    with pytest.raises(ValueError, match="read-only"):
        grid.rows[0] = 0


def test_it_keeps_no_file_open_and_gives_its_addresses_back(tmp_path):
    write(tmp_path, vectors(100))
    cache = FeatureCache(tmp_path)

    def maps() -> int:
        with open("/proc/self/maps") as stream:
            return sum(str(tmp_path) in line for line in stream)

    before = len(os.listdir("/proc/self/fd"))
    grid = RowMap(cache.shards, cache.header)
    assert maps() == len(cache.shards) and len(os.listdir("/proc/self/fd")) == before
    part = grid.of(1)
    del grid
    gc.collect()
    assert part.sum() != 0 and maps() == len(cache.shards)  # whoever holds rows holds the map
    del part
    gc.collect()
    assert maps() == 0


def test_a_file_of_another_size_is_not_mapped(tmp_path):
    write(tmp_path, vectors(100))
    cache = FeatureCache(tmp_path)
    with open(tmp_path / "r000-s00002.npy", "ab") as stream:
        stream.write(b"x")
    with pytest.raises(DamagedShard, match=r"r000-s00002\.npy: has 4601 bytes, expected 4600"):
        RowMap(cache.shards, cache.header)


def test_no_shards():
    from engine.features.layout import Header

    assert RowMap([], Header("float32", 4)).rows.shape == (0, 4)
