from __future__ import annotations

import json

import numpy as np
import pytest

from engine.features.layout import Header, checksum
from engine.features.manifest import read_manifest
from engine.features.shard import DamagedShard, Shard
from tests.engine.features.samples import vectors, write


@pytest.fixture
def opened(tmp_path):
    x = write(tmp_path, vectors(20))
    header, line = Header.read(tmp_path, "run y"), read_manifest(tmp_path / "manifest.r000.jsonl").lines[0]
    return x, header, line, tmp_path


def test_rows_ids_and_blocks(opened):
    x, header, line, folder = opened
    shard = Shard(folder, header, line)
    assert (shard.name, shard.rows, shard.ids.tolist()) == ("r000-s00000", 20, list(range(20)))
    assert [shard.block_range(block) for block in range(3)] == [(0, 7), (7, 14), (14, 20)]
    out = np.empty((6, 6), np.float32)
    shard.read_block(2, out)
    np.testing.assert_array_equal(out, x[14:])
    assert shard.verified.tolist() == [False, False, True]


@pytest.mark.parametrize(
    "change",
    [{"blocks": ["0" * 16] * 2}, {"rows": 21}, {"shard": "r000-s00001"}, {"blocks": 3}, {"ids": None}],
)
def test_a_sidecar_that_describes_something_else(opened, change):
    """Its own checksum fits: made by a writer with a bug, or by hand."""
    _, header, line, folder = opened
    path = folder / "r000-s00000.json"
    text = json.dumps({**json.loads(path.read_text()), **change}).encode()
    path.write_bytes(text)
    with pytest.raises(DamagedShard, match=r"r000-s00000\.json: (describes another shard|holds no checksums)"):
        Shard(folder, header, {**line, "sidecar": checksum(text)})


@pytest.mark.parametrize("text", [b"", b"[]", b"{", b"\xff", b"[" * 2000])
def test_a_sidecar_that_is_none(opened, text):
    _, header, line, folder = opened
    (folder / "r000-s00000.json").write_bytes(text)
    with pytest.raises(DamagedShard, match="holds no checksums"):
        Shard(folder, header, {**line, "sidecar": checksum(text)})
