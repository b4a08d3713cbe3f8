"""Making a manifest: what it says of broken files, that it survives kills, and that it reads only what it has to."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import xxhash

from engine.data import manifest_build
from engine.data.manifest_build import build_manifest, open_manifest
from engine.runtime import interrupt
from engine.runtime.errors import LussError
from engine.storage.arrays import save_arrays
from tests.engine.data.samples import bomb, image_tree, photo

SLOW = """
import sys, time
from engine.data import manifest_build
from engine.runtime import interrupt
interrupt.install()
real = manifest_build.read_facts
def slow(path):
    time.sleep(0.1)
    return real(path)
manifest_build.read_facts = slow
manifest_build.PIECE = 5
manifest_build.build_manifest(sys.argv[1], "train", sys.argv[2], workers=2)
"""


@pytest.fixture
def root(tmp_path):
    return image_tree(tmp_path / "set", per_class=20, size=(20, 16))


def counting(monkeypatch) -> list[str]:
    """The paths that are read from now on."""
    seen: list[str] = []
    real = manifest_build.read_facts
    monkeypatch.setattr(manifest_build, "read_facts", lambda path: seen.append(path) or real(path))
    return seen


def test_content_does_not_depend_on_workers(root, tmp_path, monkeypatch):
    monkeypatch.setattr(manifest_build, "PIECE", 3)
    files = []
    for workers in (1, 2, 7):
        build_manifest(str(root), "train", tmp_path / f"{workers}", workers=workers)
        files.append((tmp_path / f"{workers}").read_bytes())
    assert files[0] == files[1] == files[2]
    assert sorted(os.listdir(tmp_path)) == ["1", "2", "7", "set"]


def test_checksums_and_plain_folders(tmp_path):
    for i in range(3):
        photo(20, 10 + i).save(tmp_path / f"p {i} ü.png")
    manifest = build_manifest(str(tmp_path), "train", tmp_path / "m")
    assert manifest.classes == () and manifest.class_index.tolist() == [-1] * 3
    for item, checksum in zip(manifest.items, manifest.checksum.tolist()):
        with open(item.path, "rb") as stream:
            assert xxhash.xxh3_64_intdigest(stream.read()) == checksum


def test_odd_names(tmp_path):
    folder = os.fsencode(tmp_path) + b"/train/c \xff"
    os.makedirs(folder)
    for name in (b"\xe9 a.jpg", "ü\n.JPEG".encode(), b"-.jpg"):
        photo(20, 10).save(tmp_path / "x.jpg")
        os.rename(tmp_path / "x.jpg", folder + b"/" + name)
    manifest = build_manifest(str(tmp_path), "train", tmp_path / "m")
    assert manifest.readable.all() and all(os.path.exists(item.path) for item in manifest.items)
    assert open_manifest(str(tmp_path), "train", tmp_path / "m").fingerprint() == manifest.fingerprint()


def test_broken_files_are_entries_with_a_reason(root, tmp_path, monkeypatch):
    names = [str(root / "train" / "n01" / f"n01_{i}.JPEG") for i in range(6)]
    open(names[0], "wb").close()
    with open(names[1], "wb") as stream:
        stream.write(bomb(40_000, 40_000))
    os.remove(names[2])
    os.mkfifo(names[2])
    os.remove(names[3])
    os.symlink(root / "gone", names[3])
    real = manifest_build.list_images

    def listed_before(*arguments):
        found = real(*arguments)
        os.remove(names[4])
        os.remove(names[5])
        os.mkdir(names[5])
        return found

    monkeypatch.setattr(manifest_build, "list_images", listed_before)
    manifest = build_manifest(str(root), "train", tmp_path / "m")
    reasons = ["empty file", "40000 x 40000 pixels, more than", "a named pipe", "no such file", "no such file", "Is a directory"]
    found = manifest.unreadable()
    assert [key for key, _ in found] == [f"n01/n01_{i}.JPEG" for i in range(6)]
    assert all(reason.startswith(start) for (_, reason), start in zip(found, reasons)), found
    assert len(manifest) == 40 and manifest.readable.sum() == 34
    assert manifest.width[manifest.readable].min() >= 20


def test_an_update_reads_only_what_changed(root, tmp_path, monkeypatch):
    first = open_manifest(str(root), "train", tmp_path / "m")
    seen = counting(monkeypatch)
    assert open_manifest(str(root), "train", tmp_path / "m").fingerprint() == first.fingerprint() and seen == []
    changed, gone = first.items[3].path, first.items[7].path
    photo(33, 22, seed=5).save(changed)
    os.remove(gone)
    new = str(root / "train" / "n01" / "new.JPEG")
    shutil.copy(first.items[0].path, new)
    second = open_manifest(str(root), "train", tmp_path / "m")
    assert sorted(seen) == sorted([changed, new])
    assert len(second) == 40 and second.width[3] == 33
    fresh = build_manifest(str(root), "train", tmp_path / "fresh")
    assert (tmp_path / "fresh").read_bytes() == (tmp_path / "m").read_bytes() and fresh.fingerprint() == second.fingerprint()


def test_a_change_that_size_and_time_do_not_show_is_found_by_a_deep_look(root, tmp_path, monkeypatch):
    first = open_manifest(str(root), "train", tmp_path / "m")
    path, status = first.items[5].path, os.stat(first.items[5].path)
    with open(path, "r+b") as stream:
        stream.seek(-2, os.SEEK_END)
        stream.write(b"\0")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert open_manifest(str(root), "train", tmp_path / "m").fingerprint() == first.fingerprint()
    seen = counting(monkeypatch)
    assert open_manifest(str(root), "train", tmp_path / "m", deep=True).fingerprint() != first.fingerprint()
    assert seen == [path]


def test_killed_at_several_moments_it_goes_on_and_ends_the_same(root, tmp_path, monkeypatch):
    monkeypatch.setattr(manifest_build, "PIECE", 5)
    parts = tmp_path / "m.parts"
    for pieces in (1, 3, 5):
        child = subprocess.Popen([sys.executable, "-c", SLOW, str(root), str(tmp_path / "m")])
        while child.poll() is None and (not parts.exists() or sum("tmp" not in name for name in os.listdir(parts)) < pieces):
            time.sleep(0.005)
        child.send_signal(signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL and not (tmp_path / "m").exists()
    kept = sum("tmp" not in name for name in os.listdir(parts))
    seen = counting(monkeypatch)
    build_manifest(str(root), "train", tmp_path / "m")
    assert len(seen) == 40 - 5 * kept and not parts.exists()
    build_manifest(str(root), "train", tmp_path / "undisturbed")
    assert (tmp_path / "m").read_bytes() == (tmp_path / "undisturbed").read_bytes()


def test_stopped_on_request_it_says_so_and_keeps_what_it_has(root, tmp_path, monkeypatch):
    monkeypatch.setattr(manifest_build, "PIECE", 5)
    parts, asked = tmp_path / "m.parts", threading.Event()
    seen = counting(monkeypatch)
    counted = manifest_build.read_facts

    def held_back(path):  # the third piece does not end before the request came
        if len(seen) > 10:
            asked.wait(60)
        return counted(path)

    def request() -> bool:
        if any(parts.iterdir()):
            asked.set()
        return asked.is_set()

    monkeypatch.setattr(manifest_build, "read_facts", held_back)
    monkeypatch.setattr(interrupt, "stop_requested", request)
    with pytest.raises(interrupt.Interrupted, match=r"\d+ of 40 images are indexed, and kept"):
        build_manifest(str(root), "train", tmp_path / "m", workers=1)
    kept = len(os.listdir(parts))
    assert 1 <= kept <= 3 and not (tmp_path / "m").exists()
    monkeypatch.undo()
    monkeypatch.setattr(manifest_build, "PIECE", 5)
    seen = counting(monkeypatch)
    assert len(build_manifest(str(root), "train", tmp_path / "m")) == 40
    assert len(seen) == 40 - 5 * kept


def test_ctrl_c_ends_it_soon(root, tmp_path):
    child = subprocess.Popen([sys.executable, "-c", SLOW, str(root), str(tmp_path / "m")], stderr=subprocess.PIPE, text=True)
    while child.poll() is None and not (tmp_path / "m.parts" / "piece-000000").exists():
        time.sleep(0.005)
    child.send_signal(signal.SIGINT)
    text = child.communicate(timeout=60)[1]
    assert "Interrupted: " in text and "images are indexed, and kept" in text and not (tmp_path / "m").exists()


def test_files_that_change_between_attempts_are_read_again(root, tmp_path, monkeypatch):
    monkeypatch.setattr(manifest_build, "PIECE", 5)
    monkeypatch.setattr(manifest_build, "save_manifest", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        build_manifest(str(root), "train", tmp_path / "m")
    monkeypatch.undo()
    monkeypatch.setattr(manifest_build, "PIECE", 5)
    changed = root / "train" / "n01" / "n01_0.JPEG"
    photo(50, 40).save(changed)
    piece = tmp_path / "m.parts" / "piece-000003"
    piece.write_bytes(piece.read_bytes()[:-5])  # as a power cut may leave it
    seen = counting(monkeypatch)
    manifest = build_manifest(str(root), "train", tmp_path / "m")
    assert manifest.width[0] == 50 and len(seen) == 1 + 5


@pytest.mark.parametrize("make", [build_manifest, open_manifest])
def test_foreign_or_damaged_file_in_its_place_is_not_overwritten(root, tmp_path, make):
    path = tmp_path / "m"
    save_arrays(path, {"weights": np.arange(3)}, {"format": "checkpoint"})
    for content, complaint in (
        (b"my notes", "cut off or damaged"),
        (b"", "the file is empty"),
        (path.read_bytes(), "not a manifest .it holds checkpoint"),
    ):
        path.write_bytes(content)
        with pytest.raises(LussError, match=f"m: {complaint}"):
            make(str(root), "train", path)
        assert path.read_bytes() == content
    with pytest.raises(LussError, match="set: cannot be read .Is a directory"):
        make(str(root), "train", root)


def test_another_split_and_an_unwritable_place(root, tmp_path):
    build_manifest(str(root), "train", tmp_path / "m")
    with pytest.raises(LussError, match="m: a manifest of train; expected one of validation"):
        open_manifest(str(root), "validation", tmp_path / "m")
    with pytest.raises(LussError, match=r"none.m.parts|m: cannot be written|cannot be used"):
        build_manifest(str(root), "train", tmp_path / "m" / "none")
