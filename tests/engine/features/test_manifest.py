from __future__ import annotations

import errno
import os

import pytest

from engine.features.manifest import Manifest, append_line, encode_line, read_manifest, rewrite
from engine.runtime.errors import LussError
from tests.engine.storage.faults import kills

LINES = ({"shard": "r000-s00000", "rows": 3}, {"shard": "r000-s00001", "rows": 1}, {"closed": [2, 4]})


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "manifest.r000.jsonl"
    for line in LINES:
        append_line(path, line)
    return path


def test_lines_come_back_in_order(path):
    assert read_manifest(path) == Manifest(LINES)
    assert read_manifest(path.with_name("absent")) == Manifest(())


def test_a_line_cut_off_anywhere_is_no_line(path):
    content = path.read_bytes()
    lengths = [len(encode_line(line)) for line in LINES]
    edges = [0, lengths[0], sum(lengths[:2]), sum(lengths)]
    for length in range(len(content) + 1):
        path.write_bytes(content[:length])
        whole = sum(edge <= length for edge in edges) - 1
        assert read_manifest(path) == Manifest(LINES[:whole], (), length not in edges)


def test_a_flipped_bit_anywhere_takes_its_line(path):
    content = path.read_bytes()
    for position in range(len(content)):
        for bit in range(8):
            damaged = bytearray(content)
            damaged[position] ^= 1 << bit
            path.write_bytes(damaged)
            found = read_manifest(path)
            assert found.damaged or found.torn
            assert len(found.lines) < 3 and all(line in LINES for line in found.lines)


@pytest.mark.parametrize("body", [b"[]", b"{", b"\xff", b"[" * 5000])
def test_a_checksum_alone_makes_no_line(path, body):
    from engine.features.layout import checksum

    path.write_bytes(checksum(body).encode() + b" " + body + b"\n")
    assert read_manifest(path) == Manifest((), (1,))


def test_a_kill_while_appending_leaves_the_line_or_none(path):
    new = {"shard": "r000-s00002", "rows": 9}
    seen, before = set(), path.read_bytes()
    for _ in kills(lambda: append_line(path, new)):
        seen.add(len(read_manifest(path).lines))
        path.write_bytes(before)
    assert seen == {3, 4}


def test_a_full_disk_leaves_no_part_of_a_line(path, monkeypatch):
    before = path.read_bytes()
    real = os.write

    def write(handle, data):
        if len(data) < 20:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(handle, bytes(data)[:-10])

    monkeypatch.setattr(os, "write", write)
    with pytest.raises(LussError, match=r"manifest\.r000\.jsonl: a line could not be added \(No space left.*needed \d+ bytes, free .*make room"):
        append_line(path, {"shard": "r000-s00002", "rows": 9})
    assert path.read_bytes() == before


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(LussError, match=r"manifest: cannot be written .*expected a writable"):
        append_line(tmp_path / "none" / "manifest", {})


def test_rewriting_replaces_all(path):
    rewrite(path, [LINES[1]])
    assert read_manifest(path) == Manifest(LINES[1:2])
