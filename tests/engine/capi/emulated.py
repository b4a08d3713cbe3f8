"""A GPU that is none: host memory that claims to lie on a GPU, and the library compiled for the CPU (tests/cuda_on_cpu/capi.cc).

So the whole way from engine.capi through the C interface and the launchers to the kernels runs, and its results can be looked at.
"""

from __future__ import annotations

import numpy as np
import pytest

from engine.capi import frameworks, library
from tests.cuda_on_cpu.harness import ORDERS, driver


class Claimed:
    """A NumPy array with the interface of a GPU's."""

    def __init__(self, values):
        self.values = np.asarray(values)
        self.shape, self.dtype = self.values.shape, self.values.dtype

    def __getitem__(self, place):
        return Claimed(self.values[place])

    def reshape(self, *shape):
        return Claimed(self.values.reshape(*shape))

    @property
    def __cuda_array_interface__(self):
        strides = None if self.values.flags.c_contiguous else self.values.strides
        place = (self.values.ctypes.data, False)
        return {"shape": self.shape, "typestr": self.dtype.str, "data": place, "strides": strides, "version": 3}


class Claiming:
    """The framework of such arrays. Fresh memory holds 0xA5, so that what a kernel leaves out shows; scratch begins at 16 bytes."""

    STREAM = 0

    def __init__(self, device):
        self.device = device

    def empty(self, shape, dtype):
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        room = np.full(size + 16, 0xA5, np.uint8)
        begin = -room.ctypes.data % 16
        return Claimed(room[begin : begin + size].view(dtype).reshape(shape))

    def upload(self, values):
        made = self.empty(values.shape, values.dtype)
        made.values[...] = values
        return made

    def join(self, arrays):
        return self.upload(np.concatenate([array.values.reshape(-1) for array in arrays]))

    def extremes(self, array):
        return int(array.values.min()), int(array.values.max())

    def outside(self, array, lowest, highest, besides):
        return int(frameworks._outside(array.values, lowest, highest, besides).sum())

    def stream(self):
        return self.STREAM


def emulated_library():
    return library.bind(driver("capi"))


def use_emulation(patch: pytest.MonkeyPatch) -> None:
    loaded = emulated_library()
    patch.setattr(library, "library", lambda: loaded)
    patch.setitem(frameworks.KNOWN, Claimed.__module__.partition(".")[0], Claiming)


def set_order(order: str) -> None:
    emulated_library().luss_emulated_order(ORDERS[order])


def on_gpu(values) -> Claimed:
    return Claiming(None).upload(np.asarray(values))
