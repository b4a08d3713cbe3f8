from __future__ import annotations

import json

import numpy as np
import pytest

from engine.features.layout import (
    DATA_OFFSET,
    HEADER_FILE,
    Header,
    is_headless,
    list_ranks,
    manifest_path,
    npy_header,
    shard_name,
    shard_number,
)
from engine.runtime.errors import LussError
from tests.engine.features.samples import flip


@pytest.mark.parametrize(("dtype", "shape"), [("<f2", (3, 5)), ("<f4", (0, 1)), ("<u4", (7,)), ("<f4", (123456789012, 16777216))])
def test_a_header_is_a_page_and_numpy_reads_it(tmp_path, dtype, shape):
    header = npy_header(np.dtype(dtype), shape)
    assert len(header) == DATA_OFFSET
    path = tmp_path / "a.npy"
    path.write_bytes(header)
    with open(path, "rb") as stream:
        assert np.lib.format.read_magic(stream) == (1, 0)
        assert np.lib.format.read_array_header_1_0(stream) == (shape, False, np.dtype(dtype))
        assert stream.tell() == DATA_OFFSET


def test_blocks_are_whole_rows():
    assert Header("float16", 512).block_rows == 16384
    assert Header("float32", 512, block_bytes=2047).block_rows == 1  # a row that is larger than a block is one
    assert Header("float32", 3, block_bytes=100).block_rows == 8


@pytest.mark.parametrize("fields", [("int8", 4), ("float32", 0), ("float32", 4, "several"), ("float32", 4, "one", "", 0)])
def test_impossible_headers(fields):
    with pytest.raises(ValueError, match="expected"):
        Header(*fields)


def test_a_header_comes_back(tmp_path):
    header = Header("float16", 5, "many", "ünïcode", 1000)
    header.write(tmp_path)
    assert Header.read(tmp_path, "run x") == header and Header.read(tmp_path, "run x").digest == header.digest
    assert header.difference(Header("float32", 5, "many", "ünïcode", 1000)) == "dtype is 'float16', expected 'float32'"
    assert header.difference(header) == ""


def test_no_changed_byte_of_the_header_file_is_believed(tmp_path):
    header = Header("float32", 64, "one", "abc")
    header.write(tmp_path)
    path = tmp_path / HEADER_FILE
    content = path.read_bytes()
    for position in range(len(content)):
        flip(path, position)
        try:
            assert Header.read(tmp_path, "run x") == header  # white space
        except LussError as error:
            assert HEADER_FILE in str(error) and "delete" in str(error) and "run x" in str(error)
        path.write_bytes(content)
    for length in range(len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(LussError, match=r"cache\.json: .*run x"):
            Header.read(tmp_path, "run x")


def test_other_formats_and_nothing_are_told_apart(tmp_path):
    with pytest.raises(LussError, match=r"no feature cache .*: run x"):
        Header.read(tmp_path, "run x")
    for text in (json.dumps({"format": "luss-features 2"}), "[]", "null"):
        (tmp_path / HEADER_FILE).write_text(text)
        with pytest.raises(LussError, match="found format .*, expected 'luss-features 1'"):
            Header.read(tmp_path, "run x")


def test_names():
    assert shard_name(1, 23) == "r001-s00023" and shard_number("r001-s00023") == 23 and shard_number(shard_name(1234, 123456)) == 123456
    assert shard_number("../r001-s00023") == shard_number("r001-s0002") == shard_number("") == -1


def test_listing_ignores_what_is_not_the_caches(tmp_path):
    for name in ("r000-s00001.npy", "r000-s00000.json", "r002-s00000.ids.npy.tmp-12", "manifest.r003.jsonl", "cache.json", "notes.txt", "r1-s2.npy"):
        (tmp_path / name).write_text("")
    found = list_ranks(tmp_path)
    assert list(found) == [0, 2, 3]
    assert found[0].shards == ("r000-s00000", "r000-s00001") and not found[0].manifest
    assert found[2].temporaries == ("r002-s00000.ids.npy.tmp-12",) and found[2].shards == ()
    assert found[3].manifest


def test_headless_is_a_cache_that_lost_its_header_alone(tmp_path):
    assert not is_headless(tmp_path / "absent") and not is_headless(tmp_path)
    (tmp_path / "cache.json.tmp-5").write_bytes(b"{")
    assert not is_headless(tmp_path)
    manifest_path(tmp_path, 0).write_bytes(b"")
    assert is_headless(tmp_path)
    Header("float32", 3).write(tmp_path)
    assert not is_headless(tmp_path)
