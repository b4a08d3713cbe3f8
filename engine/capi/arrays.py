"""Arrays on a GPU, of whatever library, as the pointer, shape, type and strides that a C function wants."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

import numpy as np

_CUDA, _CUDA_MANAGED = 2, 13  # kDLCUDA and kDLCUDAManaged of dlpack.h
_KINDS = {0: "i", 1: "u", 2: "f", 6: "b"}  # DLDataTypeCode -> NumPy's letter


@dataclass(frozen=True)
class DeviceArray:
    """A view; `owner` keeps the memory alive."""

    owner: object
    pointer: int
    shape: tuple[int, ...]
    dtype: np.dtype
    strides: tuple[int, ...]  # in elements
    device: int | None  # number of the GPU, where the owner says it

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def contiguous(self) -> bool:
        expected = 1
        for length, stride in zip(reversed(self.shape), reversed(self.strides)):
            if length > 1 and stride != expected:
                return False
            expected *= length
        return True


def view(name: str, value, stream: int = 0) -> DeviceArray:
    """What `value` says about itself: PyTorch tensor, __cuda_array_interface__ (CuPy, Numba, ...) or __dlpack__.

    Args:
        name: of the argument, for messages.
        stream: handle of the CUDA stream that is going to use it; an owner that computes on another one makes it wait, where it can.

    Raises:
        ValueError: not an array on a GPU, or of a type that NumPy does not have.
    """
    if type(value).__module__.partition(".")[0] == "torch":
        return _torch_view(name, value)
    interface = getattr(value, "__cuda_array_interface__", None)
    if interface is not None:
        dtype, shape, strides = np.dtype(interface["typestr"]), tuple(interface["shape"]), interface.get("strides")
        strides = _row_major(shape) if strides is None else tuple(_whole_elements(name, step, dtype) for step in strides)
        device = getattr(getattr(value, "device", None), "id", None)  # the interface itself does not say; CuPy does
        return DeviceArray(value, interface["data"][0] or 0, shape, dtype, strides, device)
    if hasattr(value, "__dlpack__") and hasattr(value, "__dlpack_device__"):
        kind, device = value.__dlpack_device__()
        if int(kind) in (_CUDA, _CUDA_MANAGED):
            return _dlpack_view(name, value.__dlpack__(stream=stream or 1), int(device))  # 1: the default stream
    raise ValueError(f"{name}: expected an array on a GPU (CuPy, PyTorch, or with __cuda_array_interface__ or __dlpack__), found {_found(value)}")


def is_on_gpu(value) -> bool:
    """Whether `view` would take it."""
    if type(value).__module__.partition(".")[0] == "torch":
        return bool(value.is_cuda)
    if hasattr(value, "__cuda_array_interface__"):
        return True
    return hasattr(value, "__dlpack_device__") and int(value.__dlpack_device__()[0]) in (_CUDA, _CUDA_MANAGED)


def required(name: str, array: DeviceArray, shape: tuple, *dtypes: str) -> DeviceArray:
    """`array`, if it has one of the types, the shape (a text in it stands for any length) and no gaps; else ValueError."""
    fits = len(array.shape) == len(shape) and all(isinstance(want, str) or want == length for want, length in zip(shape, array.shape))
    if not fits or array.dtype.name not in dtypes:
        wanted = "(" + ", ".join(map(str, shape)) + ("," if len(shape) == 1 else "") + ")"
        raise ValueError(f"{name}: expected {wanted} {' or '.join(dtypes)}, found {array.shape} {array.dtype}")
    if not array.contiguous:
        raise ValueError(f"{name}: expected rows without gaps, found strides {array.strides} of shape {array.shape}; make it contiguous")
    return array


def _torch_view(name: str, value) -> DeviceArray:
    if not hasattr(value, "data_ptr") or not value.is_cuda:
        raise ValueError(f"{name}: expected an array on a GPU, found {_found(value)}; move it with .cuda()")
    text = str(value.dtype).partition(".")[2]
    if text not in ("float16", "float32", "float64", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "bool"):
        raise ValueError(f"{name}: expected a type that NumPy has, found {value.dtype}")
    return DeviceArray(value, value.data_ptr(), tuple(value.shape), np.dtype(text), tuple(value.stride()), value.device.index)


class _Tensor(ctypes.Structure):  # DLTensor of dlpack.h; a DLManagedTensor begins with it
    _fields_ = [
        ("data", ctypes.c_void_p), ("device_type", ctypes.c_int), ("device_id", ctypes.c_int), ("ndim", ctypes.c_int),
        ("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)), ("strides", ctypes.POINTER(ctypes.c_int64)), ("byte_offset", ctypes.c_uint64),
    ]  # fmt: skip


def _dlpack_view(name: str, capsule, device: int) -> DeviceArray:
    """The capsule is looked into, never consumed: when it goes, the array's owner frees what it holds."""
    pointer_of = ctypes.pythonapi.PyCapsule_GetPointer
    pointer_of.restype, pointer_of.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    tensor = _Tensor.from_address(pointer_of(capsule, b"dltensor"))
    if tensor.code not in _KINDS or tensor.lanes != 1:
        raise ValueError(f"{name}: expected a type that NumPy has, found DLPack type code {tensor.code} of {tensor.bits} bits, {tensor.lanes} lanes")
    dtype = np.dtype("bool" if _KINDS[tensor.code] == "b" else f"{_KINDS[tensor.code]}{tensor.bits // 8}")
    shape = tuple(tensor.shape[i] for i in range(tensor.ndim))
    strides = tuple(tensor.strides[i] for i in range(tensor.ndim)) if tensor.strides else _row_major(shape)
    return DeviceArray(capsule, (tensor.data or 0) + tensor.byte_offset, shape, dtype, strides, device)


def _row_major(shape: tuple[int, ...]) -> tuple[int, ...]:
    strides, step = [], 1
    for length in reversed(shape):
        strides.append(step)
        step *= length
    return tuple(reversed(strides))


def _whole_elements(name: str, step: int, dtype: np.dtype) -> int:
    if step % dtype.itemsize:
        raise ValueError(f"{name}: expected strides of whole elements, found {step} bytes between elements of {dtype.itemsize}")
    return step // dtype.itemsize


def _found(value) -> str:
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    place = getattr(value, "device", None)
    shape = getattr(value, "shape", None)
    return kind + (f" of shape {tuple(shape)}" if shape is not None else "") + (f" on {place}" if place is not None else "")
