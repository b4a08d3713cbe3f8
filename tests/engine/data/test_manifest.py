"""The manifest file: round trip, sharing, damage."""

import os
import pickle
import shutil
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.data.folder import ImageItem, list_images
from engine.data.manifest import FACTS, Manifest, Names, load_manifest, save_manifest
from engine.data.manifest_build import build_manifest
from engine.runtime.errors import LussError
from engine.storage.arrays import load_arrays, save_arrays
from tests.engine.data.samples import image_tree


@pytest.fixture
def made(tmp_path):
    root = image_tree(tmp_path / "set")
    return SimpleNamespace(root=root, path=tmp_path / "train.manifest", manifest=build_manifest(str(root), "train", tmp_path / "train.manifest"))


def test_it_stands_wherever_an_image_folder_does(made):
    folder, manifest = list_images(str(made.root), "train"), made.manifest
    assert (manifest.root, manifest.classes, tuple(manifest.items)) == (folder.root, folder.classes, folder.items)
    assert len(manifest) == len(manifest.items) == 6
    assert manifest.items[2] == folder.items[2] and manifest.items[-1] == folder.items[-1] and manifest.items[1:4] == folder.items[1:4]
    assert folder.items[3] in manifest.items and list(manifest.items.keys()) == [item.key for item in folder.items]
    for wrong in (6, -7):
        with pytest.raises(IndexError):
            manifest.items[wrong]


def test_sizes(made):
    assert made.manifest.width.tolist() == [60, 67, 74] * 2 and made.manifest.height.tolist() == [48] * 3 + [53] * 3
    assert made.manifest.bytes.tolist() == [os.path.getsize(item.path) for item in made.manifest.items]
    assert made.manifest.readable.all() and made.manifest.unreadable() == []


def test_a_pickle_is_a_path_and_another_process_maps_the_same_file(made):
    text = pickle.dumps(made.manifest)
    assert len(text) < 400
    copy = pickle.loads(text)
    assert tuple(copy.items) == tuple(made.manifest.items) and copy.fingerprint() == made.manifest.fingerprint()
    assert not copy.width.flags.writeable and not copy.width.flags.owndata
    code = "import pickle, sys; print(pickle.load(sys.stdin.buffer).items[4].key)"
    shown = subprocess.run([sys.executable, "-c", code], input=text, capture_output=True, check=True).stdout
    assert shown.decode().strip() == made.manifest.items[4].key


def test_a_manifest_replaced_while_a_pickle_travels_is_refused(made):
    text = pickle.dumps(made.manifest)
    os.remove(made.manifest.items[0].path)
    build_manifest(str(made.root), "train", made.path)
    with pytest.raises(LussError, match="train.manifest: it was replaced by another file"):
        pickle.loads(text)


def test_fingerprint_is_of_the_contents(made, tmp_path):
    shutil.copytree(made.root, tmp_path / "copy")  # another place, other times
    for path in (tmp_path / "copy").rglob("*.JPEG"):
        os.utime(path, ns=(1, 1))
    copy = build_manifest(str(tmp_path / "copy"), "train", tmp_path / "copy.manifest")
    assert copy.fingerprint() == made.manifest.fingerprint() and len(copy.fingerprint()) == 32
    first, second = (item.path for item in copy.items[:2])
    os.replace(first, tmp_path / "swap")
    os.replace(second, first)
    os.replace(tmp_path / "swap", second)
    assert build_manifest(str(tmp_path / "copy"), "train", tmp_path / "copy.manifest").fingerprint() != copy.fingerprint()


def test_a_set_that_moved(made, tmp_path):
    os.rename(made.root, tmp_path / "moved")
    moved = load_manifest(made.path, str(tmp_path / "moved"))
    assert os.path.exists(moved.items[0].path) and pickle.loads(pickle.dumps(moved)).root == str(tmp_path / "moved")


def test_every_flipped_byte_is_noticed(made):
    content = made.path.read_bytes()
    for position in range(0, len(content), 3):
        damaged = bytearray(content)
        damaged[position] ^= 0x10
        made.path.write_bytes(damaged)
        with pytest.raises(LussError, match=r"train.manifest: .*make it again with luss data index"):
            load_manifest(made.path)


def test_cut_off_empty_absent_and_a_folder(made, tmp_path):
    content = made.path.read_bytes()
    for length in (0, 1, 100, len(content) // 2, len(content) - 1):
        made.path.write_bytes(content[:length])
        with pytest.raises(LussError, match=r"train.manifest: (the file is empty|cut off or damaged)"):
            load_manifest(made.path)
    for place in (tmp_path / "none", tmp_path):
        with pytest.raises(LussError, match="cannot be read"):
            load_manifest(place)


def test_foreign_and_later_files(made, tmp_path):
    save_arrays(tmp_path / "a", {"x": np.arange(3)}, {"format": "weights"})
    with pytest.raises(LussError, match=r"a: not a manifest \(it holds weights\)"):
        load_manifest(tmp_path / "a")
    arrays, meta = load_arrays(made.path)
    save_arrays(tmp_path / "b", arrays, {**meta, "version": 9})
    with pytest.raises(LussError, match=r"b: a manifest of version 9; this program reads version 1"):
        load_manifest(tmp_path / "b")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"width": np.zeros(5, np.uint32)}, r"do not fit together \(lengths \[5, 6\]\)"),
        ({"width": np.zeros(6, np.int64)}, r"do not fit together \(width\)"),
        ({"class_index": np.full(6, 2, np.int32)}, "a class or reason in it does not exist"),
        ({"reason": np.ones(6, np.uint32)}, "a class or reason in it does not exist"),
        ({"name_ends": np.arange(6)[::-1].copy()}, "its names do not fit their lengths"),
    ],
)
def test_a_file_whose_checksums_hold_and_that_makes_no_sense(made, change, complaint):
    arrays, meta = load_arrays(made.path)
    save_arrays(made.path, {**arrays, **change}, meta)
    with pytest.raises(LussError, match=complaint):
        load_manifest(made.path)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=12).filter(lambda name: not {0, ord("/")} & set(name))))
def test_any_file_name_makes_the_round_trip(tmp_path_factory, encoded):
    """Names are bytes to the system; any of them must come back, also those that are no UTF-8."""
    path = tmp_path_factory.mktemp("m") / "m"
    names = [os.fsdecode(name) for name in encoded]
    assert list(Names(*Names.pack(names))) == names
    items = [ImageItem("", f"k\udcff ü/{name}", 0) for name in names]
    facts = {name: np.arange(len(items)).astype(dtype) for name, dtype in FACTS.items() if name != "reason"}
    save_manifest(path, "/r", "train", "train", ["k\udcff ü"], items, {**facts, "reason": np.zeros(len(items), np.uint32)}, [""])
    found = Manifest(path)
    assert [item.key for item in found.items] == [item.key for item in items]
    assert [found.items[i].path for i in range(len(items))] == [f"/r/train/{item.key}" for item in items]
    assert all((getattr(found, name) == values).all() for name, values in facts.items())


def test_iteration_across_runs_agrees_with_indexing(tmp_path):
    count = 9000  # more than two of the runs in which names are taken out
    items = [ImageItem("", f"{'ab'[i % 2]}/{'x' * (i % 7)}{i}.JPEG", i % 2) for i in range(count)]
    facts = {name: np.zeros(count, dtype) for name, dtype in FACTS.items()}
    save_manifest(tmp_path / "m", "/r", "train", "train", "ab", items, facts, [""])
    found = load_manifest(tmp_path / "m").items
    assert [item.key for item in found] == [item.key for item in items] == [found[i].key for i in range(count)]
    assert [item.class_index for item in found] == [item.class_index for item in items]
