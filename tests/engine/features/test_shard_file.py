from __future__ import annotations

import errno

import numpy as np
import pytest

from engine.features import shard_file
from engine.features.layout import Header
from engine.features.shard_file import ShardFile
from engine.runtime.errors import LussError
from tests.engine.features.samples import vectors

HEADER = Header("float32", 6, block_bytes=24 * 5)


def test_nothing_but_a_temporary_is_there_before_the_commit(tmp_path):
    file = ShardFile(tmp_path, HEADER, 0, "r000-s00000")
    file.write(vectors(5))
    file.write(vectors(2))
    assert [".npy.tmp-" in path.name for path in tmp_path.iterdir()] == [True]
    file.commit(np.arange(7, dtype=np.uint32))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["manifest.r000.jsonl", "r000-s00000.ids.npy", "r000-s00000.json", "r000-s00000.npy"]


def test_aborting_leaves_nothing(tmp_path):
    file = ShardFile(tmp_path, HEADER, 0, "r000-s00000")
    file.write(vectors(5))
    file.abort()
    file.abort()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("failing, named", [(1, r"s00000\.npy"), (2, r"s00000\.ids\.npy"), (3, r"s00000\.json")])
def test_a_full_disk_names_the_file_and_takes_all_three_away(tmp_path, monkeypatch, failing, named):
    calls = []

    def sync(stream):
        calls.append(stream)
        if len(calls) == failing:
            raise OSError(errno.ENOSPC, "No space left on device")

    file = ShardFile(tmp_path, HEADER, 0, "r000-s00000")
    file.write(vectors(5))
    monkeypatch.setattr(shard_file, "_sync", sync)
    with pytest.raises(LussError, match=rf"{named}: no room to write it: needed .* free "):
        file.commit(np.arange(5, dtype=np.uint32))
    assert list(tmp_path.iterdir()) == []
    file.abort()


def test_a_folder_that_is_gone(tmp_path):
    with pytest.raises(LussError, match="cannot be written .*expected an existing, writable folder"):
        ShardFile(tmp_path / "none", HEADER, 0, "r000-s00000")
