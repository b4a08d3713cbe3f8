"""Every way to be wrong: named when the cache is opened or checked, and made again by the writer."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest

from engine.features import DamagedShard, FeatureCache, check_cache, drop_damaged
from engine.features.manifest import encode_line, read_manifest
from engine.runtime.errors import LussError
from tests.engine.data.samples import without_privileges
from tests.engine.features.samples import contents, flip, vectors, write
from tests.engine.storage.faults import kills

SHARD = "r000-s00001"


def cut(path, count):
    with open(path, "r+b") as stream:
        stream.truncate(path.stat().st_size - count)


def foreign(folder, *suffixes):
    """Files of the same name and size out of a cache of other images."""
    other = folder.parent / "other"
    write(other, vectors(100, seed=1), 2, fingerprint="other images")
    for suffix in suffixes:
        shutil.copy(other / f"{SHARD}{suffix}", folder / f"{SHARD}{suffix}")


def foreign_with_manifest(folder):
    foreign(folder, ".npy", ".ids.npy", ".json")
    shutil.copy(folder.parent / "other" / "manifest.r000.jsonl", folder / "manifest.r000.jsonl")


def another_dimension(folder):
    write(folder.parent / "wide", vectors(100, 12), 2)
    shutil.copy(folder.parent / "wide" / f"{SHARD}.npy", folder / f"{SHARD}.npy")


def without_line(folder, number):
    path = folder / "manifest.r000.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:number] + lines[number + 1 :]))


def doubled_line(folder):
    path = folder / "manifest.r000.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:1], *lines]))


def line_of_a_path(folder):
    path = folder / "manifest.r000.jsonl"
    line = dict(read_manifest(path).lines[0], shard="../../etc/r000-s00009")
    path.write_bytes(encode_line(line) + path.read_bytes())


DAMAGE = {  # what is done to a cache of two processes; what opening it must say; the shard that must be named
    "data: a bit": (lambda f: flip(f / f"{SHARD}.npy", 4096 + 77), None, SHARD),
    "data: cut off": (lambda f: cut(f / f"{SHARD}.npy", 1), r"r000-s00001\.npy: has \d+ bytes, expected \d+: cut off", SHARD),
    "data: empty": (lambda f: (f / f"{SHARD}.npy").write_bytes(b""), r"has 0 bytes, expected \d+: cut off", SHARD),
    "data: longer": (lambda f: (f / f"{SHARD}.npy").open("ab").write(b"x"), "not what was written", SHARD),
    "data: gone": (lambda f: (f / f"{SHARD}.npy").unlink(), r"r000-s00001\.npy: cannot be read \(No such file", SHARD),
    "header: magic": (lambda f: flip(f / f"{SHARD}.npy", 0), "its header is not the one", SHARD),
    "header: padding": (lambda f: flip(f / f"{SHARD}.npy", 4000), "its header is not the one", SHARD),
    "ids: a bit": (lambda f: flip(f / f"{SHARD}.ids.npy", 4096 + 5), r"r000-s00001\.ids\.npy: the ids of its rows fail", SHARD),
    "ids: header": (lambda f: flip(f / f"{SHARD}.ids.npy", 20), "its header is not the one", SHARD),
    "ids: cut off": (lambda f: cut(f / f"{SHARD}.ids.npy", 4), "cut off", SHARD),
    "ids: gone": (lambda f: (f / f"{SHARD}.ids.npy").unlink(), "cannot be read", SHARD),
    "sidecar: a bit": (lambda f: flip(f / f"{SHARD}.json", 30), r"r000-s00001\.json: does not match its checksum", SHARD),
    "sidecar: gone": (lambda f: (f / f"{SHARD}.json").unlink(), r"r000-s00001\.json: cannot be read", SHARD),
    "sidecar: a folder": (lambda f: ((f / f"{SHARD}.json").unlink(), (f / f"{SHARD}.json").mkdir()), "cannot be read", None),
    "foreign: data": (lambda f: foreign(f, ".npy"), None, SHARD),
    "foreign: ids": (lambda f: foreign(f, ".npy", ".json"), "does not match", SHARD),
    "foreign: whole shard": (lambda f: foreign(f, ".npy", ".ids.npy", ".json"), "does not match its checksum in the manifest", SHARD),
    "foreign: with manifest": (foreign_with_manifest, "the line of r000-s00001 belongs to another cache", SHARD),
    "foreign: dimension": (another_dimension, "not what was written", SHARD),
    "foreign: new name": (lambda f: shutil.copy(f / f"{SHARD}.npy", f / "r000-s00077.npy"), r"r000-s00077\.npy: in no manifest", "r000-s00077"),
    "manifest: a bit": (lambda f: flip(f / "manifest.r000.jsonl", 130), r"manifest\.r000\.jsonl: line 2 fails its checksum", ""),
    "manifest: a line gone": (lambda f: without_line(f, 1), "lines were lost", ""),
    "manifest: doubled line": (doubled_line, "a line that no writer makes", ""),
    "manifest: a path": (line_of_a_path, "a line that no writer makes", ""),
    "manifest: gone": (lambda f: (f / "manifest.r000.jsonl").unlink(), "not finished by process 0", ""),
    "manifest: torn": (lambda f: cut(f / "manifest.r000.jsonl", 3), "not finished by process 0", ""),
    "manifest: empty": (lambda f: (f / "manifest.r000.jsonl").write_bytes(b""), "not finished by process 0", ""),
}


@pytest.fixture
def folder(tmp_path):
    write(tmp_path / "c", vectors(100), 2)
    return tmp_path / "c"


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_named_and_never_read(folder, name):
    inflict, text, shard = DAMAGE[name]
    inflict(folder)
    with pytest.raises(LussError, match=rf"{text or 'fails its checksum'}.*run y") as caught:
        FeatureCache(folder, remedy="run y").load()
    if shard and isinstance(caught.value, DamagedShard):
        assert shard in caught.value.shards
    found = check_cache(folder)
    assert found and all(damage.text for damage in found)
    if shard is not None:
        assert shard in {damage.shard for damage in found}


@pytest.mark.parametrize("name", [name for name in DAMAGE if name != "sidecar: a folder"])
def test_what_is_damaged_is_made_again(folder, tmp_path, name):
    x = vectors(100)
    before = contents(folder)
    DAMAGE[name][0](folder)
    drop_damaged(folder)
    write(folder, x, 2)
    assert check_cache(folder) == []
    np.testing.assert_array_equal(FeatureCache(folder).load(), x)
    after = contents(folder)
    assert after.keys() == before.keys()
    assert {n for n in after if after[n] != before[n]} <= {"manifest.r000.jsonl"}  # the order of its lines; the shards are the same bytes


@pytest.mark.parametrize("name", [name for name in DAMAGE if DAMAGE[name][1] and name != "sidecar: a folder"])
def test_a_writer_alone_makes_again_what_opening_shows(folder, name):
    x = vectors(100)
    DAMAGE[name][0](folder)
    write(folder, x, 2)
    assert check_cache(folder) == []
    np.testing.assert_array_equal(FeatureCache(folder).load(), x)


def test_a_whole_cache_loses_nothing(folder):
    before = contents(folder)
    assert check_cache(folder) == [] and drop_damaged(folder) == [] and drop_damaged(folder, thorough=False) == []
    assert contents(folder) == before


def test_checking_changes_nothing(folder):
    for name in ("data: a bit", "foreign: new name", "manifest: torn"):
        DAMAGE[name][0](folder)
    before = contents(folder)
    assert len(check_cache(folder)) == 3
    assert contents(folder) == before


def test_a_quick_look_leaves_the_rows_unread(folder):
    DAMAGE["data: a bit"][0](folder)
    assert drop_damaged(folder, thorough=False) == []
    DAMAGE["header: magic"][0](folder)
    assert [damage.shard for damage in drop_damaged(folder, thorough=False)] == [SHARD]


def test_every_flipped_byte_of_every_file_of_a_shard_is_noticed(tmp_path):
    folder = tmp_path / "c"
    write(folder, vectors(5, 2), shard_bytes=100, block_bytes=16)
    whole = contents(folder)
    for path in sorted(folder.iterdir()):
        if path.name == "cache.json":
            continue
        size = path.stat().st_size
        positions = {*range(0, min(size, 200), 1), *range(200, min(size, 4096), 61), *range(4096, size)}
        for position in positions:
            flip(path, position)
            with pytest.raises(LussError, match=r"r000|process 0"):
                FeatureCache(folder).load()
            flip(path, position)
    assert contents(folder) == whole


def test_progress_counts_all_bytes(folder):
    seen = []
    check_cache(folder, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (100 * 24, 100 * 24) and [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_a_kill_while_dropping_leaves_what_dropping_again_mends(folder):
    x = vectors(100)
    for name in ("data: a bit", "manifest: torn"):
        DAMAGE[name][0](folder)
    flip(folder / "r001-s00000.npy", 4500)
    for _ in kills(lambda: drop_damaged(folder)):
        left = FeatureCache(folder, partial=True, verify="none")
        assert len(left) >= 100 - 2 * 21 and check_cache(folder)
    write(folder, x, 2)
    np.testing.assert_array_equal(FeatureCache(folder, verify="full").load(), x)
    assert not list(folder.glob("*.tmp-*"))


def test_a_shard_without_permission(folder):
    with tempfile.TemporaryDirectory() as open_folder:  # pytest's own folders are closed to others as a whole
        copy = shutil.copytree(folder, Path(open_folder) / "cache")
        os.chmod(open_folder, 0o755)
        (copy / f"{SHARD}.npy").chmod(0)
        with without_privileges(), pytest.raises(DamagedShard, match=r"cannot be read \(Permission denied\)"):
            FeatureCache(copy)


def test_no_cache_at_all(tmp_path):
    with pytest.raises(LussError, match="no feature cache"):
        check_cache(tmp_path)
