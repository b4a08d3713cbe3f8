"""The reader: what it gives, and that damage is named and never given."""

import os
import pickle
import shutil
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.data.decode import decode_rgb
from engine.data.folder import ImageItem
from engine.data.manifest_build import build_manifest
from engine.data.pack import pack_images
from engine.data.pack_format import HEADER, PackSettings
from engine.data.packed import PackedImages
from engine.runtime import interrupt
from engine.runtime.errors import LussError
from engine.storage.arrays import load_arrays, save_arrays
from tests.engine.data.samples import image_tree, photo


@pytest.fixture
def manifest(tmp_path):
    return build_manifest(str(image_tree(tmp_path / "set", per_class=5)), "train", tmp_path / "m")


@pytest.fixture
def pack(manifest, tmp_path):
    return pack_images(manifest, tmp_path / "pack", PackSettings(length=40, shard_bytes=1500), workers=0)


def shards(pack) -> list[str]:
    return sorted(os.path.join(pack.path, name) for name in os.listdir(pack.path) if name.endswith(".pack"))


def flip(path, position, bit=0x04):
    with open(path, "r+b") as stream:
        stream.seek(position)
        byte = stream.read(1)[0]
        stream.seek(position)
        stream.write(bytes([byte ^ bit]))


def test_it_stands_wherever_an_image_folder_does(pack, manifest):
    assert (pack.root, pack.classes, tuple(pack.items), len(pack)) == (manifest.root, manifest.classes, tuple(manifest.items), 10)
    assert isinstance(pack.items[0], ImageItem) and pack.original_width.tolist() == manifest.width.tolist()
    assert len(shards(pack)) > 2 and pack.fingerprint() == PackedImages(pack.path).fingerprint()


@pytest.mark.parametrize("access", ["random", "sequential"])
def test_a_pickle_is_a_path(pack, access):
    opened = PackedImages(pack.path, access)
    text = pickle.dumps(opened)
    assert len(text) < 400
    code = "import pickle, sys; p = pickle.load(sys.stdin.buffer); print(p.items[7].key, int(p.image(7).sum()))"
    shown = subprocess.run([sys.executable, "-c", code], input=text, capture_output=True, check=True).stdout.decode()
    assert shown.split() == [pack.items[7].key, str(int(pack.image(7).sum()))]


@settings(max_examples=25, deadline=None)
@given(
    sizes=st.lists(st.tuples(st.integers(1, 70), st.integers(1, 70)), min_size=1, max_size=6),
    side=st.sampled_from(["longest", "shorter"]),
    length=st.integers(1, 80),
    shard_bytes=st.integers(1, 20_000),
    kind=st.sampled_from(["png", "jpg"]),
)
def test_round_trip_of_raw_pixels(tmp_path_factory, sizes, side, length, shard_bytes, kind):
    place = tmp_path_factory.mktemp("p")
    for i, size in enumerate(sizes):
        photo(*size, seed=i).save(place / f"{i}.{kind}")
    chosen = PackSettings(side, length, "raw", shard_bytes=shard_bytes)
    pack = pack_images(build_manifest(str(place), "train", place / "m"), place / "pack", chosen, workers=0)
    assert pack.verify() == [] and len(pack) == len(sizes)
    for i, size in enumerate(sizes):
        record = pack.record(i)
        assert record.original == size and (record.width, record.height) == chosen.stored_size(*size)
        if record.original == (record.width, record.height):
            assert (pack.image(i) == decode_rgb(str(place / f"{i}.{kind}"))).all()


def test_every_flipped_byte_of_a_shard_is_noticed(pack):
    path = shards(pack)[1]
    number = 1
    records = np.flatnonzero(pack._shard == number)
    for position in range(0, os.path.getsize(path), 7):
        flip(path, position)
        opened = PackedImages(pack.path)
        problems = opened.verify()
        assert len(problems) == 1 and os.path.basename(path) in problems[0], position
        hurt = records if position < HEADER else [r for r in records if 0 <= position - pack._offset[r] < pack._length[r]]
        assert len(hurt) >= 1
        for index in hurt:
            with pytest.raises(LussError, match=r"shard-00001.pack: (record \d+ \(n0.*is damaged|not shard 1 of this pack)"):
                opened.record(int(index))
        flip(path, position)
    assert PackedImages(pack.path).verify() == []


def test_a_shard_that_is_cut_off_missing_or_a_foreign_one(pack, tmp_path):
    path = shards(pack)[0]
    content = open(path, "rb").read()
    for length in (0, 10, len(content) - 1):
        with open(path, "wb") as stream:
            stream.write(content[:length])
        with pytest.raises(LussError, match=rf"shard-00000.pack: {length:,} bytes; expected {len(content):,}: cut off or replaced"):
            PackedImages(pack.path)
    os.remove(path)
    with pytest.raises(LussError, match=r"shard-00000.pack: missing; the pack needs \d+ shards: delete the pack"):
        PackedImages(pack.path)
    with open(path, "wb") as stream:  # of the right size, from another pack
        stream.write(content.replace(content[:30], b"luss-pack 1 0123456789abcdef00"))
    opened = PackedImages(pack.path)
    with pytest.raises(LussError, match=r"shard-00000.pack: not shard 0 of this pack"):
        opened.record(0)
    assert "shard-00000.pack: not shard 0" in opened.verify()[0] and len(opened.verify()) == 1


def test_shards_that_changed_places(manifest, tmp_path):
    pack = pack_images(manifest, tmp_path / "raw", PackSettings(encoding="raw", length=30, shard_bytes=1), workers=0)
    first, second = _equal_pair(pack)
    shutil.copy(first, tmp_path / "x")
    shutil.copy(second, first)
    shutil.copy(tmp_path / "x", second)
    assert len(PackedImages(pack.path).verify()) == 2


def _equal_pair(pack) -> tuple[str, str]:
    """Two shards of one size."""
    by_size: dict[int, list[str]] = {}
    for path in shards(pack):
        by_size.setdefault(os.path.getsize(path), []).append(path)
    return tuple(next(paths for paths in by_size.values() if len(paths) > 1)[:2])


def test_cut_off_while_it_is_open(pack):
    pack.image(0)
    os.truncate(shards(pack)[0], HEADER + 3)
    with pytest.raises(LussError, match=r"shard-00000.pack: 67 bytes; expected"):  # without the look at its size: SIGBUS
        pack.image(0)


def test_index_damaged_foreign_absent(pack, manifest):
    index = os.path.join(pack.path, "images.index")
    size = os.path.getsize(index)
    for position in range(0, size, 5):
        flip(index, position)
        with pytest.raises(LussError, match=r"images.index: .*make it again with luss data pack"):
            PackedImages(pack.path)
        flip(index, position)
    arrays, meta = load_arrays(index)
    for change, complaint in [
        ({"format": "weights"}, r"images.index: not the index of a pack \(it holds weights\)"),
        ({"version": 2}, "a pack of version 2; this program reads version 1"),
    ]:
        save_arrays(index, arrays, {**meta, **change})
        with pytest.raises(LussError, match=complaint):
            PackedImages(pack.path)
    for name, values, complaint in [
        ("offset", arrays["offset"] + 10**9, "a record in it lies outside its shard"),
        ("length", -arrays["length"], "a record in it lies outside its shard"),
        ("shard", arrays["shard"] + 99, "names a shard that does not exist"),
        ("width", arrays["width"][1:], "its arrays do not fit together"),
    ]:
        save_arrays(index, {**arrays, name: values}, meta)
        with pytest.raises(LussError, match=complaint):
            PackedImages(pack.path)
    os.remove(index)
    with pytest.raises(LussError, match=r"a pack that is not complete: give the same luss data pack again"):
        PackedImages(pack.path)
    with pytest.raises(LussError, match=r"no pack in it; expected what luss data pack has made"):
        PackedImages(manifest.root)


def test_verify_counts_and_stops(pack, monkeypatch):
    seen = []
    assert pack.verify(seen.append) == [] and sum(seen) == 10
    monkeypatch.setattr(interrupt, "_requested", True)
    with pytest.raises(interrupt.Interrupted, match="0 of 10 images were verified"):
        pack.verify()


def test_arguments(pack):
    for wrong in (-1, 10):
        with pytest.raises(IndexError, match=f"record {wrong} of 10"):
            pack.record(wrong)
    with pytest.raises(ValueError, match="access='backwards'"):
        PackedImages(pack.path, access="backwards")
