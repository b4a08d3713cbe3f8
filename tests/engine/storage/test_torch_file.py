from __future__ import annotations

import contextlib
import hashlib
import os
import pickle
import struct
import time
import tracemalloc
from collections import OrderedDict

import numpy as np
import pytest

from engine.runtime.errors import LussError
from engine.storage.pickle_reader import Global
from engine.storage.torch_file import read_torch
from tests.engine.storage.torch_files import ORDERED, legacy_bytes, mapping, number, sequence, storage, tensor, text, whole, zip_file

BASE = np.arange(48, dtype="f4").reshape(6, 8) * 0.5
VIEWS = {  # name: (offset, size, stride, what NumPy says)
    "all": (0, (6, 8), (8, 1), BASE),
    "rows": (16, (2, 8), (8, 1), BASE[2:4]),
    "transposed": (0, (8, 6), (1, 8), BASE.T),
    "steps": (1, (6, 2), (8, 2), BASE[:, 1:5:2]),
    "tail": (5, (43,), (1,), BASE.ravel()[5:]),
    "expanded": (3, (4, 2), (0, 1), np.tile(BASE.ravel()[3:5], (4, 1))),
    "scalar": (9, (), (), BASE.ravel()[9]),
    "empty": (48, (0, 7), (7, 1), np.zeros((0, 7), "f4")),
    "again": (0, (6, 8), (8, 1), BASE),
}


@pytest.fixture(params=["zip", "legacy"])
def make(request, tmp_path):
    """make(tree(view), {key: array}) -> path of a file in the format; tree gets what follows the length in a persistent id."""

    def build(tree, arrays):
        path = tmp_path / "checkpoint.pth.tar"
        if request.param == "zip":
            return zip_file(path, tree(None), {key: array.tobytes() for key, array in arrays.items()})
        path.write_bytes(legacy_bytes(tree(b"N"), {key: (array.size, array.tobytes()) for key, array in arrays.items()}))
        return path

    build.format = request.param
    return build


def test_views_of_one_storage(make):
    def tree(view):
        return mapping({name: tensor(storage("f4", "0", 48, view), *spec[:3]) for name, spec in VIEWS.items()}, ORDERED)

    read = read_torch(make(tree, {"0": BASE}))
    assert isinstance(read, OrderedDict) and list(read) == list(VIEWS)
    for name, (_, _, _, expected) in VIEWS.items():
        assert read[name].dtype == np.float32 and read[name].shape == expected.shape, name
        assert (read[name] == expected).all() and read[name].flags.writeable and read[name].flags.c_contiguous, name
    read["all"][:] = -1  # arrays are independent of each other
    assert (read["again"] == BASE).all() and (read["rows"] == BASE[2:4]).all()


@pytest.mark.parametrize("dtype", ["f4", "f8", "f2", "i8", "i4", "i2", "i1", "u1", "b1"])
def test_types(make, dtype):
    array = np.array([[0, 1, 1], [1, 0, 1]]).astype(dtype)
    read = read_torch(make(lambda view: whole(array, "17", view), {"17": array}))
    assert read.dtype == array.dtype and (read == array).all() and read.shape == (2, 3)


def test_bfloat16_becomes_float32(make):
    values = np.array([1.0, -2.5, 3.140625, np.inf, 2.0**-130], "f4")  # each has at most eight significant bits
    halves = (values.view("u4") >> 16).astype("u2")
    read = read_torch(make(lambda view: tensor(storage("bf16", "0", 5, view), 1, (4,), (1,)), {"0": halves}))
    assert read.dtype == np.float32 and (read == values[1:]).all()


def test_a_machine_of_the_other_byte_order(make, tmp_path):
    swapped = BASE.astype(">f4")
    if make.format == "zip":
        path = zip_file(tmp_path / "b.pth", whole(BASE, "0"), {"0": swapped.tobytes()}, order=b"big")
    else:
        path = tmp_path / "b.pth"
        path.write_bytes(legacy_bytes(whole(BASE, "0", b"N"), {"0": (48, swapped.tobytes())}, little=False))
    assert (read_torch(path) == BASE).all() and read_torch(path).dtype == np.dtype("f4")


def test_a_legacy_storage_that_is_part_of_another(tmp_path):
    view = sequence(text("v"), number(10), number(6))
    path = tmp_path / "a.pth"
    path.write_bytes(legacy_bytes(tensor(storage("f4", "0", 48, view), 1, (2, 2), (2, 1)), {"0": (48, BASE.tobytes())}))
    assert read_torch(path).tolist() == BASE.ravel()[11:15].reshape(2, 2).tolist()


def test_storages_in_the_order_the_file_lists(tmp_path):
    a, b = np.arange(3, dtype="f4"), np.arange(4, dtype="i8")
    tree = mapping({"b": whole(b, "2", b"N"), "a": whole(a, "10", b"N")})
    path = tmp_path / "a.pth"
    path.write_bytes(legacy_bytes(tree, {"10": (3, a.tobytes()), "2": (4, b.tobytes())}))
    read = read_torch(path)
    assert read["a"].tolist() == [0, 1, 2] and read["b"].tolist() == [0, 1, 2, 3]


def test_everything_else_a_checkpoint_holds(make):
    namespace = b"cargparse\nNamespace\n)\x81" + mapping({"lr": b"G" + struct.pack(">d", 0.1), "type": b"ctorch\nfloat32\n"}) + b"b"

    def tree(view):
        return mapping(
            {
                "epoch": number(200),
                "args": namespace,
                "parameter": b"ctorch._utils\n_rebuild_parameter\n" + sequence(whole(BASE, "0", view), b"\x88", ORDERED) + b"R",
                "size": b"ctorch\nSize\n" + sequence(sequence(number(2), number(3))) + b"R",
                "device": b"ctorch\ndevice\n" + sequence(text("cuda"), number(1)) + b"R",
                "old": tensor(storage("f4", "0", 48, view), 0, (6, 8), (8, 1), "_rebuild_tensor_v2"),
                "metadata": ORDERED + b"}" + text("_metadata") + b"}sb",
                "list": b"]" + b"(" + b"N" + b"\x88" + number(1 << 70) + number(-5) + b"e",
                "path": b"cpathlib\nPosixPath\n" + sequence(text("runs"), text("a")) + b"R",
            }
        )

    read = read_torch(make(tree, {"0": BASE}))
    assert read["epoch"] == 200 and read["args"] == {"lr": 0.1, "type": Global("torch", "float32")} and str(read["args"]["type"]) == "torch.float32"
    assert (read["parameter"] == BASE).all() and (read["old"] == BASE).all() and read["size"] == (2, 3) and read["device"] == "cuda:1"
    assert read["metadata"] == OrderedDict() and read["list"] == [None, True, 1 << 70, -5] and read["path"] == "runs/a"


def test_types_without_a_storage_class_and_tensors_with_attributes(make):
    """torch saves uint16 as untyped bytes with a dtype beside them, and a tensor with attributes as a call of its rebuild function."""
    numbers = np.array([1, 2, 60000], "u2")

    def tree(view):
        untyped = storage("u1", "0", 6, view).replace(b"ByteStorage", b"UntypedStorage").replace(b"ctorch\n", b"ctorch.storage\n")
        parts = [untyped, number(1), sequence(number(2)), sequence(number(1)), b"\x89", ORDERED, b"ctorch\nuint16\n"]
        with_attributes = sequence(b"ctorch._utils\n_rebuild_tensor_v2\n", b"ctorch\nTensor\n", tensor_arguments(view), mapping({"extra": number(1)}))
        return mapping(
            {
                "u2": b"ctorch._utils\n_rebuild_tensor_v3\n" + sequence(*parts) + b"R",
                "extra": b"ctorch._tensor\n_rebuild_from_type_v2\n" + with_attributes + b"R",
                "factory": b"ccollections\ndefaultdict\n" + sequence(b"cbuiltins\ndict\n") + b"R" + b"(K\x01K\x02u",
                "pairs": b"ccollections\nOrderedDict\n" + sequence(b"](](K\x01K\x02ee") + b"R",
                "list": b"cbuiltins\nlist\n" + sequence(sequence(number(1))) + b"R",
                "tuple": b"cbuiltins\ntuple\n" + sequence(b"]K\x01a") + b"R",
                "none": b"ctorch._utils\n_rebuild_parameter\n" + sequence(b"N", b"\x88", ORDERED) + b"R",
                "simple": b"ccopy_reg\n_reconstructor\n"
                + sequence(b"cargparse\nNamespace\n", b"c__builtin__\nobject\n", b"N")
                + b"R}"
                + text("a")
                + b"Nsb",
            }
        )

    def tensor_arguments(view):
        return sequence(storage("f4", "1", 48, view), number(0), sequence(number(6), number(8)), sequence(number(8), number(1)), b"\x89", ORDERED)

    read = read_torch(make(tree, {"0": numbers.view("u1"), "1": BASE}))
    assert read["u2"].dtype == np.uint16 and read["u2"].tolist() == [2, 60000] and (read["extra"] == BASE).all()
    assert read["factory"] == {1: 2} and read["pairs"] == OrderedDict([(1, 2)]) and read["list"] == [1] and read["tuple"] == (1,)
    assert read["none"] is None and read["simple"] == {"a": None}


def test_python_pickles_of_every_protocol(tmp_path):
    """Jittor's format holds what Python's own pickler emits: memos, frames, NumPy arrays and scalars."""
    shared = np.arange(6.0).reshape(2, 3)
    tree = {
        "a": shared,
        "b": shared,
        "f": np.asfortranarray(shared),
        "h": np.arange(3, dtype="f2"),
        "big": np.arange(3, dtype=">i4"),
        "bool": np.array([True, False]),
        "zero": np.array(5),
        "scalar": np.float32(2.5),
        "int": np.int64(-3),
        "text": "é\n'",
        "bytes": b"\x00\xff",
        "nested": [1, (2, 3.5, None), {"x": [True, -(1 << 40)], 5: "five"}],
        "ordered": OrderedDict(k=1),
        "set": {1, 2},
        "frozen": frozenset("a"),
        "complex": 1 + 2j,
    }
    for protocol in range(2, 6):
        content = pickle.dumps(tree, protocol)
        marked = tmp_path / f"{protocol}.pth.tar"
        marked.write_bytes(content + hashlib.sha1(content).digest() + b"HCAJSLHD")
        bare = tmp_path / f"{protocol}.pkl"
        bare.write_bytes(content)
        for path in (marked, bare):
            read = read_torch(path)
            assert list(read) == list(tree)
            for key, value in tree.items():
                if isinstance(value, (np.ndarray, np.generic)):
                    assert read[key].shape == value.shape and read[key].dtype == value.dtype.newbyteorder("="), (protocol, key)
                    assert (read[key] == value).all(), (protocol, key)
                else:
                    assert read[key] == value and type(read[key]) is type(value), (protocol, key)
            assert read["f"].flags.c_contiguous and read["a"].flags.writeable


def test_a_jittor_checkpoint_with_variables(tmp_path):
    """A Var reduces to (jittor.Var, (array,)), under the name jittor_core.Var in 1.3.11."""
    array = b"cnumpy.core.multiarray\n_reconstruct\n" + sequence(b"cnumpy\nndarray\n", sequence(number(0)), b"C\x01b") + b"R"
    dtype = b"cnumpy\ndtype\n" + sequence(text("f4"), b"\x89", b"\x88") + b"R" + sequence(number(3), text("<"), b"NNN", number(0)) + b"b"
    array += sequence(number(1), sequence(number(2)), dtype, b"\x89", b"C\x08" + np.array([1, 2], "f4").tobytes()) + b"b"
    content = b"\x80\x04" + mapping({"w": text("jittor") + text("jittor_core.Var") + b"\x93" + array + b"\x85R"}) + b"."
    path = tmp_path / "a.pth.tar"
    path.write_bytes(content + hashlib.sha1(content).digest() + b"HCAJSLHD")
    assert read_torch(path)["w"].tolist() == [1, 2]


# -- damaged files


def damaged(path):
    with pytest.raises(LussError) as caught:
        read_torch(path)
    assert os.fspath(path) in str(caught.value)
    return str(caught.value)


def test_every_truncation_of_every_format(make, tmp_path):
    good = make(lambda view: mapping({"w": whole(BASE, "0", view)}), {"0": BASE}).read_bytes()
    path = tmp_path / "cut.pth.tar"
    for length in range(0, len(good), 5):
        path.write_bytes(good[:length])
        damaged(path)
    assert "cut off" in damaged(path)


def test_truncations_of_a_jittor_file(tmp_path):
    content = pickle.dumps({"w": BASE}, 4)
    content += hashlib.sha1(content).digest() + b"HCAJSLHD"
    path = tmp_path / "cut.pth.tar"
    for missing in range(1, len(content)):
        path.write_bytes(content[:-missing])
        if missing == 28:  # only the checksum is gone, the pickle is whole, as in files without one
            assert (read_torch(path)["w"] == BASE).all()
        else:
            damaged(path)


def test_every_flip_in_a_jittor_file(tmp_path):
    content = pickle.dumps({"w": BASE[:2]}, 4)
    content += hashlib.sha1(content).digest() + b"HCAJSLHD"
    path = tmp_path / "flip.pth.tar"
    for position in range(len(content)):
        path.write_bytes(content[:position] + bytes([content[position] ^ 0x10]) + content[position + 1 :])
        damaged(path)


def test_a_flip_in_a_zip_storage_fails_its_crc(tmp_path):
    path = zip_file(tmp_path / "a.pth", whole(BASE, "0"), {"0": BASE.tobytes()})
    content = bytearray(path.read_bytes())
    content[content.index(BASE.tobytes()) + 40] ^= 1
    path.write_bytes(content)
    assert "CRC" in damaged(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"<!DOCTYPE html><html>Quota exceeded", "web page"),
        (b"\n  <HTML><head>", "web page"),
        (b"\xef\xbb\xbf<html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "git lfs pull"),
        (b"\x1f\x8b\x08\x00rest", "gzip"),
        (b"x" * 257 + b"ustar\x0000", "tar archive"),
        (b'{"error": "not found"}', "JSON"),
        (struct.pack("<Q", 40) + b'{"w":{}}', "safetensors"),
        (b"\x89HDF\r\n", "not a known checkpoint format"),
        (b"\x80", "cut off"),
        (b"\x80\x04", "cut off"),
        (b"\x80\x04N.rest", "bytes behind its pickle"),
        (b"PK\x03\x04 and nothing more", "cut off or damaged"),
    ],
)
def test_what_else_the_file_may_be(tmp_path, content, words):
    path = tmp_path / "checkpoint.pth.tar"
    path.write_bytes(content)
    assert words in damaged(path)


def test_absent_files_and_folders(tmp_path):
    assert "cannot be read" in damaged(tmp_path / "absent.pth")
    assert "cannot be read" in damaged(tmp_path)


def test_other_zip_archives(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, x=BASE)
    assert "without one data.pkl" in damaged(path) and "x.npy" in damaged(path)
    path = zip_file(tmp_path / "b.pth", whole(BASE, "0"), {"0": BASE.tobytes()}, compress=True)
    assert "compressed" in damaged(path)


@pytest.mark.parametrize(
    ("tree", "words"),
    [
        (tensor(storage("f4", "0", 48), 0, (7, 8), (8, 1)), "outside its storage"),
        (tensor(storage("f4", "0", 48), 47, (2,), (1,)), "outside its storage"),
        (tensor(storage("f4", "0", 48), 0, (1 << 60,), (0,)), "eight times"),
        (tensor(storage("f4", "0", 48), 0, (1 << 40, 1 << 40), (0, 0)), "eight times"),
        (tensor(storage("f4", "0", 48), 0, (-1,), (1,)), "size"),
        (tensor(storage("f4", "0", 48), -1, (2,), (1,)), "size"),
        (tensor(storage("f4", "0", 48), 0, (2, 2), (-1, 1)), "stride"),
        (tensor(storage("f4", "0", 48), 0, (2, 2), (1,)), "stride"),
        (tensor(storage("f4", "0", 48), 0, (1,) * 40, (1,) * 40), "size"),
        (tensor(storage("f4", "0", 47), 0, (2,), (1,)), "bytes"),
        (tensor(storage("f4", "0", 1 << 60), 0, (2,), (1,)), "more bytes than the file"),
        (tensor(storage("f4", "absent", 4), 0, (2,), (1,)), "no entry"),
        (tensor(number(3), 0, (2,), (1,)), "not allowed"),
        (sequence(whole(BASE, "0"), tensor(storage("f8", "0", 24), 0, (2,), (1,))), "two types"),
        (sequence(text("module"), text("x")) + b"Q", "no storage"),
    ],
)
def test_impossible_tensors(tmp_path, tree, words):
    assert words in damaged(zip_file(tmp_path / "a.pth", tree, {"0": BASE.tobytes()}))


def test_impossible_legacy_files(tmp_path):
    path = tmp_path / "a.pth"
    tree, content = whole(BASE, "0", b"N"), BASE.tobytes()
    path.write_bytes(legacy_bytes(tree, {"0": (47, content)}))
    assert "another length" in damaged(path)
    path.write_bytes(legacy_bytes(tree, {"0": (48, content)}, keys=["1"]))
    assert "list of storages" in damaged(path)
    path.write_bytes(legacy_bytes(tree, {"0": (48, content)}, keys=[["0"]]))
    assert "list of storages" in damaged(path)
    path.write_bytes(legacy_bytes(tree, {"0": (48, content)}, protocol=1002))
    assert "unknown protocol" in damaged(path)
    path.write_bytes(legacy_bytes(whole(np.zeros(1 << 20, "f4"), "0", b"N"), {"0": (1 << 20, content)}))
    assert "cut off" in damaged(path)
    for view in (sequence(text("v"), number(40), number(9)), sequence(text("v"), number(-1), number(9))):
        path.write_bytes(legacy_bytes(tensor(storage("f4", "0", 48, view), 0, (2,), (1,)), {"0": (48, content)}))
        assert "outside its storage" in damaged(path)


# -- hostile files


class Payload:
    def __init__(self, function, *arguments):
        self.recipe = (function, arguments)

    def __reduce__(self):
        return self.recipe


@pytest.mark.parametrize("form", ["zip", "legacy", "jittor", "bare"])
def test_a_payload_does_not_run_and_is_named(tmp_path, form):
    victim, path = tmp_path / "victim", tmp_path / "a.pth"
    attack = pickle.dumps({"state_dict": {"w": Payload(os.mkdir, str(victim))}}, 2)
    pickle.loads(attack)  # it does run in Python's own reader
    assert victim.exists()
    victim.rmdir()
    if form == "zip":
        zip_file(path, attack[2:-1], {})
    elif form == "legacy":
        path.write_bytes(legacy_bytes(attack[2:-1], {}))
    else:
        path.write_bytes(attack + (hashlib.sha1(attack).digest() + b"HCAJSLHD" if form == "jittor" else b""))
    assert "forbidden global posix.mkdir" in damaged(path)
    assert not victim.exists()


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("os", "system"),
        ("builtins", "eval"),
        ("builtins", "getattr"),
        ("__builtin__", "exec"),
        ("torch", "load"),
        ("torch.storage", "_load_from_bytes"),
        ("torch.nn.modules.conv", "Conv2d"),
        ("numpy", "load"),
        ("numpy.core.multiarray", "fromfile"),
        ("collections", "OrderedDict.update"),
        ("jittor", "compile_extern"),
        ("", ""),
    ],
)
def test_forbidden_globals_in_both_spellings(tmp_path, module, name):
    for opcodes in (f"c{module}\n{name}\n".encode(), text(module) + text(name) + b"\x93"):
        message = damaged(zip_file(tmp_path / "a.pth", opcodes, {}))
        assert f"forbidden global {module}.{name}" in message and "nothing was executed" in message


def float_array(shape: bytes, content: bytes) -> bytes:
    return b"cnumpy.core.numeric\n_frombuffer\n" + sequence(content, b"cnumpy\ndtype\n" + sequence(text("f4")) + b"R", shape, text("C")) + b"R"


@pytest.mark.parametrize(
    "opcodes",
    [
        b"cargparse\nNamespace\n)\x81" + sequence(b"N", mapping({"__class__": number(1)})) + b"b",  # slot state
        b"ctorch._utils\n_rebuild_tensor_v2\n" + mapping({"__code__": number(1)}) + b"b",  # attributes of a function
        b"cbuiltins\nlist\n(K\x01tR",
        b"cbuiltins\nset\n" + sequence(b"]" + b"]a") + b"R",
        b"cnumpy\ndtype\n" + sequence(text("O8")) + b"R",
        b"cnumpy\ndtype\n" + sequence(text("V99999999999")) + b"R",
        b"cnumpy\nndarray\n" + sequence(sequence(number(1 << 40))) + b"R",
        b"ccollections\nOrderedDict\n" + sequence(number(5)) + b"R",
        b"c_codecs\nencode\n" + sequence(text("x"), text("rot13")) + b"R",
        b"cjittor\nVar\n" + sequence(b"]") + b"R",
        b"ctorch\nFloatStorage\n" + sequence(number(1 << 40)) + b"R",
        b"K\x01" + sequence() + b"R",
        b"ctorch._tensor\n_rebuild_from_type_v2\n" + sequence(b"ctorch._tensor\n_rebuild_from_type_v2\n", b"N", b")", b"N") + b"R",
        b"ctorch._utils\n_rebuild_parameter\n" + sequence(number(3), b"\x88", ORDERED) + b"R",
        b"ctorch._utils\n_rebuild_tensor_v3\n" + sequence(storage("f4", "0", 0), number(0), b")", b")", b"\x89", ORDERED, b"ctorch\nSize\n") + b"R",
        b"cnumpy\ndtype\n" + sequence(text("f4")) + b"R" + sequence(number(3), text("!")) + b"b",
        b"cnumpy.core.multiarray\n_reconstruct\n)R" + sequence(number(1), sequence(number(2)), b"N", b"\x89", b"C\x00") + b"b",
        float_array(sequence(number(2)), b"C\x04abcd"),
        float_array(b"]", b"C\x04abcd"),
        float_array(sequence(text("x")), b"C\x04abcd"),
        b"\x8b" + struct.pack("<i", 2000) + b"x" * 2000,
        sequence(text("storage"), b"ctorch\nSize\n", text("0"), text("cpu"), number(0)) + b"Q",
        b"cargparse\nNamespace\n)" + mapping({"x": b"N"}) + b"\x92",
    ],
)
def test_calls_and_states_beyond_the_known_ones(tmp_path, opcodes):
    damaged(zip_file(tmp_path / "a.pth", opcodes, {}))


def test_a_small_file_cannot_make_us_allocate_much(tmp_path):
    memo = b"X" + struct.pack("<I", 1 << 20) + b"x" * (1 << 20)
    attacks = [
        mapping({str(i): tensor(storage("f4", "0", 1 << 18), 0, (1 << 18,), (1,)) for i in range(1000)}),  # the same megabyte, a thousand times
        memo + b"q\x00" + b"0](" + (b"c_codecs\nencode\n(h\x00" + text("latin1") + b"tR") * 2000 + b"e",
        b"N" + b"r\xff\xff\xff\xff",  # a memo index of 2^32
        b"\x8e" + struct.pack("<Q", 1 << 40),  # bytes that are not there
        b"\x96" + struct.pack("<Q", 1 << 62),
        b"\x8b" + struct.pack("<i", 1 << 30),
        b"\x8b" + struct.pack("<i", -1),
    ]
    for attack in attacks:
        path = zip_file(tmp_path / "a.pth", attack, {"0": bytes(1 << 20)})
        tracemalloc.start()
        with contextlib.suppress(LussError):
            read_torch(path)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 160 << 20, (peak, attack[:40])


def test_deep_and_self_containing_structures_do_not_crash(tmp_path):
    deep = b"]" * 200000 + b"a" * 199999
    value = read_torch(zip_file(tmp_path / "a.pth", deep, {}))
    assert isinstance(value, list) and len(value) == 1
    loop = read_torch(zip_file(tmp_path / "b.pth", b"]q\x00h\x00a", {}))
    assert loop[0] is loop
    tuples = b")" + b"\x85" * 200000
    assert "key of type tuple" in damaged(zip_file(tmp_path / "c.pth", b"}" + tuples + b"Ns", {}))


def test_random_damage_is_refused_quickly_or_harmless(make, tmp_path):
    """A thousand mutations of each format: nothing but LussError, never slow."""
    good = make(lambda view: mapping({"w": whole(BASE, "0", view), "e": number(3)}), {"0": BASE}).read_bytes()
    r = np.random.default_rng(int(os.environ.get("LUSS_TEST_SEED", "0")))
    path = tmp_path / "f.pth"
    slowest = 0.0
    for _ in range(1000):
        content = bytearray(good)
        for _ in range(r.integers(1, 4)):
            position = int(r.integers(len(content)))
            if r.random() < 0.7:
                content[position] = int(r.integers(256))
            else:
                del content[position : position + int(r.integers(1, 9))]
        path.write_bytes(content)
        begin = time.perf_counter()
        with contextlib.suppress(LussError):
            read_torch(path)
        slowest = max(slowest, time.perf_counter() - begin)
    assert slowest < 1
