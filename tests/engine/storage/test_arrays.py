from __future__ import annotations

import json
import os
import zipfile

import numpy as np
import pytest

from engine.runtime.errors import LussError
from engine.storage.arrays import is_arrays_file, load_arrays, map_arrays, save_arrays
from tests.engine.storage.faults import failures, kills


def example() -> dict[str, np.ndarray]:
    r = np.random.default_rng(0)
    return {
        "model/layer1.0.conv1.weight": r.normal(size=(4, 3, 2, 2)).astype("f4"),
        "model/bn.running_mean": np.zeros(0, "f4"),
        "queue": r.normal(size=(2, 5)).astype("f2").T,
        "step": np.array(7),
        "flags": np.array([[True, False]]),
        "ü/c16": np.array([1 + 2j]),
        "none": np.zeros((3, 0, 2), "u1"),
    }


def same(a: dict, b: dict) -> bool:
    return list(a) == list(b) and all(a[k].dtype == b[k].dtype and a[k].shape == b[k].shape and a[k].tobytes() == b[k].tobytes() for k in a)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "a.npz"
    save_arrays(path, example(), {"epoch": 3, "sizes": (224, 96), "loss": np.float32(0.5)})
    return path


def test_round_trip(path):
    arrays, meta = load_arrays(path)
    assert same(arrays, example())
    assert meta == {"epoch": 3, "sizes": [224, 96], "loss": 0.5}
    assert all(array.flags.writeable and array.flags.c_contiguous and array.flags.owndata for array in arrays.values())


def test_numpy_and_unzip_open_it(path):
    with np.load(path, allow_pickle=False) as file:
        assert same({name: file[name] for name in example()}, example())
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None


def test_only_a_prefix(path):
    assert list(load_arrays(path, prefix="model/")[0]) == ["model/layer1.0.conv1.weight", "model/bn.running_mean"]


def test_no_arrays_at_all(tmp_path):
    save_arrays(tmp_path / "a", {}, {})
    assert load_arrays(tmp_path / "a") == ({}, {})


def test_big_endian_becomes_little(tmp_path):
    save_arrays(tmp_path / "a", {"x": np.arange(3, dtype=">i4")}, {})
    x = load_arrays(tmp_path / "a")[0]["x"]
    assert x.dtype == np.dtype("<i4") and x.tolist() == [0, 1, 2]


def test_the_same_content_gives_the_same_bytes(tmp_path):
    for name in "ab":
        save_arrays(tmp_path / name, example(), {"x": 1})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_every_flipped_byte_is_noticed(tmp_path):
    path = tmp_path / "a.npz"
    save_arrays(path, {"model/w": np.arange(6.0).reshape(2, 3), "queue": np.arange(3)}, {"step": 12})
    content = path.read_bytes()
    for position in range(len(content)):
        for change in (0x01, 0x80, 0xFF):
            damaged = bytearray(content)
            damaged[position] ^= change
            path.write_bytes(damaged)
            with pytest.raises(LussError, match=r"a\.npz: .*(damaged|cut off)"):
                load_arrays(path)


def test_a_flip_in_an_array_names_it_and_the_remedy(path):
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        meta = json.loads(archive.read("meta.json"))
    record = next(r for r in meta["arrays"] if r["name"] == "queue")
    content[record["offset"] + 3] ^= 4
    path.write_bytes(content)
    with pytest.raises(LussError, match=r"a\.npz: array queue is damaged .*: throw it away"):
        load_arrays(path, remedy="throw it away")
    assert list(load_arrays(path, prefix="step")[0]) == ["step"]  # what is not asked for is not read


def test_every_truncation_is_noticed(path):
    content = path.read_bytes()
    for length in [*range(0, len(content), 7), *range(len(content) - 130, len(content))]:
        path.write_bytes(content[:length])
        with pytest.raises(LussError, match=r"a\.npz: (cut off|the file is empty)"):
            load_arrays(path)


def test_bytes_added_behind_or_before_are_noticed(path):
    content = path.read_bytes()
    for damaged in (content + b"x", b"x" + content, content[:50] + content[51:]):
        path.write_bytes(damaged)
        with pytest.raises(LussError, match="damaged|cut off"):
            load_arrays(path)


def forged(path, change) -> None:
    """Rewrite the meta record through `change(meta)`, padded to its old length, as an enemy would; the digest does not matter."""
    content = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        old = archive.read("meta.json")
    meta = json.loads(old)
    change(meta)
    new = json.dumps(meta, separators=(",", ":")).encode()
    assert len(new) <= len(old)
    path.write_bytes(content.replace(old, new + b" " * (len(old) - len(new))))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("shape", [1 << 60]),
        ("shape", [1 << 40, 0]),
        ("shape", [-1]),
        ("shape", [2.5]),
        ("shape", [1] * 40),
        ("shape", "ab"),
        ("offset", -5),
        ("offset", 1 << 70),
        ("offset", "0"),
        ("dtype", "|O"),
        ("dtype", "<V9"),
        ("dtype", None),
        ("dtype", ["<f4"]),
        ("name", 3),
        ("name", None),
    ],
)
def test_a_forged_record_is_refused_before_anything_is_allocated(path, key, value):
    forged(path, lambda meta: meta["arrays"][0].update({key: value}))
    with pytest.raises(LussError, match="meta record is damaged"):
        load_arrays(path)


def test_overlapping_arrays_are_refused(path):
    forged(path, lambda meta: meta["arrays"][2].update(offset=meta["arrays"][0]["offset"]))
    with pytest.raises(LussError, match="values lie outside"):
        load_arrays(path)


@pytest.mark.parametrize("damage", [lambda m: m.pop("arrays"), lambda m: m.update(arrays=3), lambda m: m.update(arrays=[3]), lambda m: m.pop("meta")])
def test_a_forged_structure_is_refused(path, damage):
    forged(path, damage)
    with pytest.raises(LussError, match="meta record is damaged"):
        load_arrays(path)


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "b.npz"
    np.savez(path, a=np.arange(3))
    with pytest.raises(LussError, match=r"b\.npz: cut off or damaged"):
        load_arrays(path)
    with pytest.raises(LussError, match="absent: cannot be read"):
        load_arrays(tmp_path / "absent")
    assert not is_arrays_file(path)


def test_is_arrays_file(path, tmp_path):
    assert is_arrays_file(path)
    (tmp_path / "short").write_bytes(b"x")
    assert not is_arrays_file(tmp_path / "short")


@pytest.mark.parametrize("name", ["", "/x", "a/../b", "..", "a\0b", "a\\b", 3, "x" * 1001])
def test_impossible_names(tmp_path, name):
    with pytest.raises(ValueError, match="is no name for an array"):
        save_arrays(tmp_path / "a", {name: np.zeros(1)}, {})
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    ("value", "complaint"),
    [(np.array([None]), "dtype object"), (np.array(["a"]), "dtype <U1"), ([1, 2], "is a list"), (np.zeros(2, "f4,i4"), "dtype")],
)
def test_impossible_values(tmp_path, value, complaint):
    with pytest.raises(ValueError, match=rf"arrays\['x'\].*{complaint}"):
        save_arrays(tmp_path / "a", {"x": value}, {})


def test_impossible_meta(tmp_path):
    with pytest.raises(ValueError, match="meta has no JSON form"):
        save_arrays(tmp_path / "a", {}, {"x": object()})
    assert not (tmp_path / "a").exists()


def test_failures_and_kills_leave_the_old_or_the_new(tmp_path, monkeypatch):
    path = tmp_path / "a.npz"
    old, new = {"w": np.zeros(50)}, {"w": np.ones(60), "v": np.arange(3)}
    save_arrays(path, old, {"step": 1})

    def check() -> int:
        arrays, meta = load_arrays(path)
        assert same(arrays, {1: old, 2: new}[meta["step"]])
        return meta["step"]

    seen = [check() for _ in failures(lambda: save_arrays(path, new, {"step": 2}), lambda name, f: monkeypatch.setattr(os, name, f))]
    monkeypatch.undo()
    assert seen[0] == 1 and seen[-1] == 2 and os.listdir(tmp_path) == ["a.npz"]
    save_arrays(path, old, {"step": 1})
    seen = [check() for _ in kills(lambda: save_arrays(path, new, {"step": 2}))]
    assert seen[0] == 1 and seen[-1] == 2


def test_a_full_disk_in_the_middle_leaves_the_old(path, monkeypatch):
    real = zipfile._ZipWriteFile.write
    calls = [0]

    def write(self, data):
        calls[0] += 1
        if calls[0] > 4:
            raise OSError(28, "No space left on device")
        return real(self, data)

    monkeypatch.setattr(zipfile._ZipWriteFile, "write", write)
    with pytest.raises(LussError, match="no room"):
        save_arrays(path, {"x": np.ones(1000), "y": np.ones(1000)}, {})
    assert same(load_arrays(path)[0], example()) and os.listdir(path.parent) == ["a.npz"]


def test_mapped_arrays_are_the_loaded_ones_read_only(path):
    mapped = map_arrays(path)
    assert same(mapped.arrays, example()) and mapped.meta == load_arrays(path)[1]
    assert not any(array.flags.writeable for array in mapped.arrays.values() if array.size)
    assert map_arrays(path, identity=mapped.identity).identity == mapped.identity


def test_mapping_notices_every_flipped_byte(tmp_path):
    path = tmp_path / "a.npz"
    save_arrays(path, {"model/w": np.arange(6.0).reshape(2, 3), "queue": np.arange(3)}, {"step": 12})
    content = path.read_bytes()
    for position in range(len(content)):
        damaged = bytearray(content)
        damaged[position] ^= 0x40
        path.write_bytes(damaged)
        with pytest.raises(LussError, match="a.npz"):
            map_arrays(path)


def test_a_mapped_file_that_was_replaced_or_is_cut_off_is_named(path):
    identity = map_arrays(path).identity
    content = path.read_bytes()
    save_arrays(path, {**example(), "step": np.array(8)}, {})
    with pytest.raises(LussError, match=r"a.npz: it was replaced by another file while it was in use: start again"):
        map_arrays(path, identity=identity)
    for length in (0, 10, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(LussError, match=r"a.npz: (the file is empty|cut off or damaged).*burn it"):
            map_arrays(path, remedy="burn it")
    with pytest.raises(LussError, match="cannot be read"):
        map_arrays(path.with_name("none"))
