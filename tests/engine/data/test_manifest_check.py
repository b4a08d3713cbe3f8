import os
import shutil

import pytest

from engine.data.manifest_build import build_manifest
from engine.data.manifest_check import ManifestCheck, check_manifest
from engine.runtime import interrupt
from engine.runtime.errors import LussError
from tests.engine.data.samples import image_tree, photo


@pytest.fixture
def manifest(tmp_path):
    return build_manifest(str(image_tree(tmp_path / "set", per_class=4)), "train", tmp_path / "m")


def test_current(manifest):
    found = check_manifest(manifest)
    assert found.current and str(found) == f"{manifest.path}: current, 8 images" and check_manifest(manifest, deep=True).current


def test_changed_vanished_and_new_are_counted_and_named(manifest):
    items = list(manifest.items)
    photo(9, 9).save(items[0].path)
    os.utime(items[1].path, ns=(5, 5))
    os.remove(items[6].path)
    shutil.copy(items[2].path, items[2].path + ".png")
    found = check_manifest(manifest)
    assert (found.changed, found.vanished, found.new) == ((items[0].key, items[1].key), (items[6].key,), (items[2].key + ".png",))
    for part in (
        "no longer true of its 8 images",
        "2 changed (n01/n01_0.JPEG, n01/n01_1.JPEG)",
        "1 vanished (n02/n02_2.JPEG)",
        "1 new",
        "luss data index",
    ):
        assert part in str(found)


def test_a_deep_look_sees_what_size_and_time_hide(manifest):
    path = manifest.items[2].path
    status = os.stat(path)
    with open(path, "r+b") as stream:
        stream.seek(-2, os.SEEK_END)
        stream.write(b"\0")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert check_manifest(manifest).current
    assert check_manifest(manifest, deep=True).changed == (manifest.items[2].key,)


def test_replaced_by_a_folder_a_pipe_an_empty_file(manifest):
    paths = [item.path for item in manifest.items[:3]]
    for path in paths:
        os.remove(path)
    os.mkdir(paths[0])
    os.mkfifo(paths[1])
    open(paths[2], "wb").close()
    found = check_manifest(manifest)
    assert found.vanished == (manifest.items[0].key,) and found.changed == (manifest.items[1].key, manifest.items[2].key)


def test_what_was_unreadable_is_read_again(tmp_path):
    root = image_tree(tmp_path / "set")
    path = root / "train" / "n01" / "n01_1.JPEG"
    status = os.stat(path)
    good = path.read_bytes()
    path.write_bytes(b"x" * len(good))
    os.utime(path, ns=(1, 1))
    manifest = build_manifest(str(root), "train", tmp_path / "m")
    assert check_manifest(manifest).current and len(manifest.unreadable()) == 1
    path.write_bytes(good)
    os.utime(path, ns=(1, 1))
    assert status.st_size == len(good) and check_manifest(manifest).changed == ("n01/n01_1.JPEG",)


def test_a_class_folder_that_comes_empty_changes_the_numbers_of_the_others(manifest):
    os.mkdir(os.path.join(manifest.root, "train", "a_new_one"))
    found = check_manifest(manifest)
    assert not found.current and "other class folders" in str(found)


def test_many_are_not_all_named():
    keys = tuple(f"k{i}" for i in range(1234))
    assert "1,234 changed (k0, k1, k2 and 1,231 more)" in str(ManifestCheck("m", 2000, keys, (), ()))


def test_gone_root_and_stop(manifest, monkeypatch):
    monkeypatch.setattr(interrupt, "_requested", True)
    monkeypatch.setattr("concurrent.futures.wait", lambda waiting, *_: (set(), waiting))
    with pytest.raises(interrupt.Interrupted, match="0 of 8 images were looked at"):
        check_manifest(manifest)
    shutil.rmtree(manifest.root)
    with pytest.raises(LussError, match="no such folder"):
        check_manifest(manifest)
