"""The libraries that hold the caller's arrays: results and scratch come from their allocators, work goes to their current stream."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from .arrays import DeviceArray, required, view


class Framework(Protocol):
    """One library on one GPU."""

    def empty(self, shape: tuple[int, ...], dtype: str):
        """A new array on the GPU, not filled."""

    def upload(self, values: np.ndarray):
        """A copy on the GPU."""

    def join(self, arrays: list):
        """A new array of all elements, one array after another."""

    def extremes(self, array) -> tuple[int, int]:
        """Smallest and largest of whole numbers; waits for them."""

    def outside(self, array, lowest: int, highest: int, besides: int | None) -> int:
        """How many are not in lowest..highest, nor `besides`; waits for it."""

    def stream(self) -> int:
        """Handle of the current CUDA stream there; 0: the default stream."""


class Torch:
    def __init__(self, device: int | None):
        import torch

        self.torch = torch
        self.device = torch.device("cuda", torch.cuda.current_device() if device is None else device)

    def empty(self, shape, dtype):
        return self.torch.empty(shape, dtype=getattr(self.torch, dtype), device=self.device)

    def upload(self, values):
        return self.torch.from_numpy(np.ascontiguousarray(values)).to(self.device)

    def join(self, arrays):
        parts = [self.torch.as_tensor(array).reshape(-1) for array in arrays]
        return self.torch.cat([part.view(self.torch.uint8) for part in parts]).view(parts[0].dtype)  # PyTorch knows little of uint16 and uint32

    def extremes(self, array):
        array = self.torch.as_tensor(array)
        if array.dtype == self.torch.uint16:
            array = array.view(self.torch.int16).to(self.torch.int32) & 0xFFFF
        return int(array.min()), int(array.max())

    def outside(self, array, lowest, highest, besides):
        return int(_outside(self.torch.as_tensor(array), lowest, highest, besides).sum())

    def stream(self):
        return self.torch.cuda.current_stream(self.device).cuda_stream


class CuPy:
    def __init__(self, device: int | None):
        import cupy

        self.cupy = cupy
        self.device = cupy.cuda.Device(device)

    def empty(self, shape, dtype):
        with self.device:
            return self.cupy.empty(shape, dtype)

    def upload(self, values):
        with self.device:
            return self.cupy.asarray(np.ascontiguousarray(values))

    def join(self, arrays):
        with self.device:
            return self.cupy.concatenate([self.cupy.asarray(array).reshape(-1) for array in arrays])

    def extremes(self, array):
        with self.device:
            return int(self.cupy.asarray(array).min()), int(self.cupy.asarray(array).max())

    def outside(self, array, lowest, highest, besides):
        with self.device:
            return int(_outside(self.cupy.asarray(array), lowest, highest, besides).sum())

    def stream(self):
        with self.device:
            return self.cupy.cuda.get_current_stream().ptr


# By the package that an array's type comes from. Arrays of other packages are answered with arrays of CuPy, or else of PyTorch.
KNOWN: dict[str, Callable[[int | None], Framework]] = {"torch": Torch, "cupy": CuPy}


class Place:
    """Where a call runs: the framework, GPU and stream of its first array. Every array of the call goes through here."""

    def __init__(self, name: str, value):
        device = view(name, value).device
        self.framework = _framework_of(value)(device)
        self.stream = self.framework.stream()
        self._kept: list[object] = []  # until the work is queued

    def array(self, name: str, value, shape: tuple, *dtypes: str) -> DeviceArray:
        """The caller's array, checked."""
        found = required(name, view(name, value, self.stream), shape, *dtypes)
        self._kept.append(found.owner)
        return found

    def empty(self, shape: tuple[int, ...], dtype: str):
        """(the new array, its pointer)"""
        made = self.framework.empty(shape, dtype)
        return made, view("result", made).pointer

    def joined(self, arrays: list):
        """(one array of all elements, its pointer)"""
        made = self.framework.join(arrays)
        self._kept.append(made)
        return made, view("joined", made).pointer

    def scratch(self, size: int) -> int:
        """256-byte aligned pointer to `size` bytes for the time of the call; frameworks reuse freed memory in the order of the stream."""
        made, pointer = self.empty((size + 255,), "uint8")
        self._kept.append(made)
        return (pointer + 255) // 256 * 256

    def upload(self, values: np.ndarray) -> int:
        """Pointer to a copy of host values, records as bytes, for the time of the call."""
        values = np.ascontiguousarray(values)
        if values.size == 0:
            return 0
        made = self.framework.upload(values.view(np.uint8).reshape(-1))
        self._kept.append(made)
        return view("copy", made).pointer


def _outside(array, lowest: int, highest: int, besides: int | None):
    bad = (array < lowest) | (array > highest)
    return bad if besides is None else bad & (array != besides)


def _framework_of(value) -> Callable[[int | None], Framework]:
    known = KNOWN.get(type(value).__module__.partition(".")[0])
    if known is not None:
        return known
    for framework, package in ((CuPy, "cupy"), (Torch, "torch")):
        try:
            __import__(package)
        except ImportError:
            continue
        return framework
    raise ValueError(f"an array of {type(value).__module__}: results need CuPy or PyTorch, and neither is installed")
