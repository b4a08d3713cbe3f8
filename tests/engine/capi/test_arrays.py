"""Views of other libraries' arrays: pointer, shape, type, strides, and what is refused."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

from engine.capi.arrays import required, view
from engine.capi.frameworks import KNOWN, Place
from tests.engine.capi.emulated import Claimed, Claiming


class Exchanged:
    """A NumPy array that gives a DLPack capsule and claims to be on GPU 3."""

    def __init__(self, values, kind=2):
        self.values, self.kind, self.asked = values, kind, None

    def __dlpack_device__(self):
        return self.kind, 3

    def __dlpack__(self, stream=None):
        self.asked = stream
        return self.values.__dlpack__()


class FakeTensor:
    """As much of a PyTorch tensor as is looked at."""

    def __init__(self, dtype="float32", is_cuda=True):
        self.shape, self.dtype, self.is_cuda = (2, 3), f"torch.{dtype}", is_cuda
        self.device = type("Device", (), {"index": 1, "__str__": lambda self: "cuda:1" if is_cuda else "cpu"})()

    def stride(self):
        return (1, 2)

    def data_ptr(self):
        return 4096


FakeTensor.__module__ = "torch"


@pytest.mark.parametrize("dtype", ["float32", "float16", "uint8", "int64", "uint16", "bool", "float64"])
def test_array_interface_and_dlpack_give_the_same(dtype):
    values = np.ones((4, 6, 5), dtype)[:, ::2]
    for found in (view("x", Claimed(values)), view("x", Exchanged(values))):
        assert (found.pointer, found.shape, found.dtype, found.strides) == (values.ctypes.data, (4, 3, 5), values.dtype, (30, 10, 1))
        assert not found.contiguous
    assert view("x", Exchanged(values)).device == 3


def test_the_owner_of_a_capsule_is_told_the_stream():
    exchanged = Exchanged(np.zeros(3, np.float32))
    view("x", exchanged, stream=77)
    assert exchanged.asked == 77
    view("x", exchanged)
    assert exchanged.asked == 1  # DLPack's number of the default stream


def test_a_capsule_is_not_consumed():
    """Its producer still frees what it holds: the reference count of the array goes back."""
    values = np.zeros((100,), np.float32)
    found = view("x", Exchanged(values))
    name = ctypes.pythonapi.PyCapsule_GetName
    name.restype, name.argtypes = ctypes.c_char_p, [ctypes.py_object]
    assert name(found.owner) == b"dltensor"


def test_contiguous_means_without_gaps():
    assert view("x", Claimed(np.zeros((3, 4)))).contiguous and view("x", Claimed(np.zeros((1, 4))[:, :4])).contiguous
    assert not view("x", Claimed(np.zeros((3, 4))[:, :2])).contiguous
    assert view("x", Claimed(np.zeros((0, 4)))).contiguous


def test_tensors():
    found = view("x", FakeTensor("float16"))
    assert (found.pointer, found.shape, found.dtype, found.strides, found.device) == (4096, (2, 3), np.float16, (1, 2), 1)
    with pytest.raises(ValueError, match=r"x: expected an array on a GPU, found torch.FakeTensor of shape \(2, 3\) on cpu; move it with .cuda"):
        view("x", FakeTensor(is_cuda=False))
    with pytest.raises(ValueError, match="x: expected a type that NumPy has, found torch.bfloat16"):
        view("x", FakeTensor("bfloat16"))


@pytest.mark.parametrize("value", [np.zeros(3), [1, 2], None, Exchanged(np.zeros(3), kind=1)])
def test_what_is_not_on_a_gpu_is_refused(value):
    with pytest.raises(ValueError, match="features: expected an array on a GPU"):
        view("features", value)


def test_shape_type_and_gaps_are_checked():
    values = np.zeros((3, 4), np.float32)
    assert required("x", view("x", Claimed(values)), ("n", 4), "float32").shape == (3, 4)
    with pytest.raises(ValueError, match=r"x: expected \(n, 5\) float32, found \(3, 4\) float32"):
        required("x", view("x", Claimed(values)), ("n", 5), "float32")
    with pytest.raises(ValueError, match=r"x: expected \(n,\) int32, found \(3, 4\) float32"):
        required("x", view("x", Claimed(values)), ("n",), "int32")
    with pytest.raises(ValueError, match="x: expected .* float16 or int8"):
        required("x", view("x", Claimed(values)), ("n", 4), "float16", "int8")
    with pytest.raises(ValueError, match=r"x: expected rows without gaps, found strides \(4, 2\) of shape \(3, 2\); make it contiguous"):
        required("x", view("x", Claimed(values[:, ::2])), ("n", 2), "float32")


def test_a_place_keeps_what_the_queued_work_reads(monkeypatch):
    monkeypatch.setitem(KNOWN, Claimed.__module__.partition(".")[0], Claiming)
    place = Place("x", Claimed(np.zeros(4, np.uint8)))
    values = np.arange(5, dtype=np.int32)
    pointer = place.upload(values)
    assert np.array_equal(np.ctypeslib.as_array((ctypes.c_int32 * 5).from_address(pointer)), values)
    assert place.upload(np.zeros(0, np.int32)) == 0
    assert place.scratch(100) % 16 == 0


def test_an_unknown_library_needs_a_known_one_for_results(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "cupy", None)
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    with pytest.raises(ValueError, match="an array of .*: results need CuPy or PyTorch, and neither is installed"):
        Place("x", Claimed(np.zeros(4)))
