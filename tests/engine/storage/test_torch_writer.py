"""Torch files that we write: read back, laid out as torch lays them out, shared arrays, what is refused, failed writes."""

from __future__ import annotations

import os
import zipfile
from collections import OrderedDict

import numpy as np
import pytest

from engine.storage.torch_file import read_torch
from engine.storage.torch_writer import write_torch
from tests.engine.storage.faults import failures


def tree() -> dict:
    w = np.arange(12, dtype="f4").reshape(3, 4)
    return {
        "epoch": 200,
        "state_dict": OrderedDict([("module.w", w), ("module.t", w.T.astype("f2")), ("module.n", np.zeros((), "i8"))]),
        "optimizer": {"state": {0: {"momentum_buffer": w * 2}}, "param_groups": [{"lr": 0.1, "params": [0, 1], "nesterov": False, "x": None}]},
        "i4": np.arange(3, dtype="i4"),
        "flags": np.array([True, False]),
        "u1": np.arange(3, dtype="u1"),
        "empty": np.zeros((0, 3), "f4"),
        "tuple": (1, -2, 1 << 40, -(1 << 70), "é", ()),
    }


def test_what_is_written_is_read_back(tmp_path):
    path = tmp_path / "checkpoint.pth.tar"
    write_torch(path, tree())
    read = read_torch(path)
    assert list(read) == list(tree()) and isinstance(read["state_dict"], OrderedDict) and not isinstance(read["optimizer"], OrderedDict)
    for key in ("module.w", "module.t", "module.n"):
        expected = tree()["state_dict"][key]
        assert read["state_dict"][key].dtype == expected.dtype and read["state_dict"][key].shape == expected.shape
        assert (read["state_dict"][key] == expected).all()
    assert (read["optimizer"]["state"][0]["momentum_buffer"] == tree()["state_dict"]["module.w"] * 2).all()
    assert read["optimizer"]["param_groups"] == tree()["optimizer"]["param_groups"] and read["tuple"] == tree()["tuple"] and read["epoch"] == 200
    assert read["i4"].dtype == np.int32 and read["flags"].tolist() == [True, False] and read["u1"].dtype == np.uint8 and read["empty"].shape == (0, 3)


def test_the_zip_has_the_entries_torch_looks_for(tmp_path):
    write_torch(tmp_path / "a.pth", tree())
    with zipfile.ZipFile(tmp_path / "a.pth") as archive:
        assert archive.testzip() is None
        assert {"archive/data.pkl", "archive/byteorder", "archive/version", "archive/data/0"} <= set(archive.namelist())
        assert all(info.compress_type == zipfile.ZIP_STORED for info in archive.infolist())
        assert archive.read("archive/version") == b"3\n" and archive.read("archive/byteorder") == b"little"


def test_an_array_that_occurs_twice_is_stored_once(tmp_path):
    w = np.zeros((100, 100))
    write_torch(tmp_path / "a.pth", [w, w, np.float64(0.5)])
    assert (tmp_path / "a.pth").stat().st_size < 90000
    a, b, half = read_torch(tmp_path / "a.pth")
    a[:] = 1
    assert (b == 0).all() and half == 0.5 and type(half) is float


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({"a": [1, {2}]}, r"tree\['a'\]\[1\] is a set"),
        ({"a": np.array(["x"])}, r"tree\['a'\] has dtype <U1"),
        ({(1, 2): 3}, "key of type tuple"),
        ([1 << 3000], "integer of 376 bytes"),
    ],
)
def test_what_cannot_be_written_is_named(tmp_path, bad, words):
    with pytest.raises(ValueError, match=words):
        write_torch(tmp_path / "a.pth", bad)
    assert os.listdir(tmp_path) == []


def test_a_tree_that_contains_itself_is_refused(tmp_path):
    loop: list = []
    loop.append(loop)
    with pytest.raises(ValueError, match=r"contains itself, at tree\[0\]\[0\]"):
        write_torch(tmp_path / "a.pth", loop)


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.pth"
    write_torch(path, {"x": 1})
    seen = []
    for _ in failures(lambda: write_torch(path, {"x": 2}), lambda name, f: monkeypatch.setattr(os, name, f)):
        seen.append(read_torch(path)["x"])
        assert os.listdir(tmp_path) == ["a.pth"]
    assert seen[0] == 1 and seen[-1] == 2
