"""The globals that a pickle of plain weights may use, and what each becomes: NumPy arrays, dictionaries, text.

`Builder` gives `PickleReader` its `call` and `build` for tensors of torch, arrays of NumPy and Vars of Jittor.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np

from .pickle_reader import Global, Namespace, Pending, build_plain, refuse, set_pairs

# dtype of a storage class; "bf16" is two bytes that NumPy has no type for
STORAGES = {
    "FloatStorage": "f4",
    "DoubleStorage": "f8",
    "HalfStorage": "f2",
    "BFloat16Storage": "bf16",
    "LongStorage": "i8",
    "IntStorage": "i4",
    "ShortStorage": "i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
    "ComplexFloatStorage": "c8",
    "ComplexDoubleStorage": "c16",
    "UntypedStorage": "u1",
}
_TORCH_DTYPES = {
    "float32": "f4",
    "float64": "f8",
    "float16": "f2",
    "bfloat16": "bf16",
    "int64": "i8",
    "int32": "i4",
    "int16": "i2",
    "int8": "i1",
    "uint8": "u1",
    "uint16": "u2",
    "uint32": "u4",
    "uint64": "u8",
    "bool": "?",
    "complex64": "c8",
    "complex128": "c16",
}
_REBUILD = ("_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_tensor_v3", "_rebuild_parameter", "_rebuild_parameter_with_state")
_PLAIN_TYPES = ("set", "frozenset", "list", "dict", "tuple", "complex", "int", "float", "bool", "str", "object")
_PATHS = ("PosixPath", "PurePosixPath", "WindowsPath", "PureWindowsPath", "Path", "PurePath")
_ARRAY_MODULES = ("numpy.core.multiarray", "numpy._core.multiarray")
_BUFFER_MODULES = ("numpy.core.numeric", "numpy._core.numeric")
_VAR_MODULES = ("jittor", "jittor_core")
ALLOWED = {
    "collections": frozenset(("OrderedDict", "defaultdict")),
    "argparse": frozenset(("Namespace",)),
    "types": frozenset(("SimpleNamespace",)),
    "pathlib": frozenset(_PATHS),
    "pathlib._local": frozenset(_PATHS),
    "builtins": frozenset(_PLAIN_TYPES),
    "__builtin__": frozenset(_PLAIN_TYPES),
    "copyreg": frozenset(("_reconstructor",)),
    "copy_reg": frozenset(("_reconstructor",)),
    "_codecs": frozenset(("encode",)),
    "numpy": frozenset(("ndarray", "dtype")),
    **{module: frozenset(("_reconstruct", "scalar")) for module in _ARRAY_MODULES},
    **{module: frozenset(("_frombuffer",)) for module in _BUFFER_MODULES},
    "torch": frozenset((*STORAGES, *_TORCH_DTYPES, "Size", "device", "Tensor")),
    "torch.cuda": frozenset(STORAGES),
    "torch.storage": frozenset(STORAGES),
    "torch._utils": frozenset(_REBUILD),
    "torch._tensor": frozenset(("_rebuild_from_type_v2",)),
    "torch.nn.parameter": frozenset(("Parameter", "Buffer")),
    **{module: frozenset(("Var", "jittor_core.Var")) for module in _VAR_MODULES},
}
_DTYPE_CODE = re.compile(r"(\?|b1|[iu][1248]|f[248]|c8|c16)\Z")
_NAMESPACES = ("argparse.Namespace", "types.SimpleNamespace")
_NUMPY_LIMIT = 32  # dimensions


class Budget:
    """Caps the bytes a file may make us allocate: a small file may name the same content ten thousand times."""

    def __init__(self, file_bytes: int):
        self.left = 8 * file_bytes + (64 << 20)

    def spend(self, count: int) -> None:
        self.left -= count
        if self.left < 0:
            raise ValueError("its tensors would take more than eight times the file's size in memory")


@dataclass(eq=False)
class Storage:
    """The flat content that tensors are views of; `values` is None in a pass that only looks for the end of the pickle."""

    dtype: str
    length: int
    values: np.ndarray | None  # 1-D, native byte order, bf16 as uint16
    taken: bool = False  # whether an array already is this memory itself


def item_size(dtype: str) -> int:
    """Bytes of one element of a STORAGES dtype."""
    return 2 if dtype == "bf16" else np.dtype(dtype).itemsize


def storage_values(raw: np.ndarray, dtype: str, big_endian: bool) -> np.ndarray:
    """`raw` (uint8, whole elements) as numbers of `dtype` in native byte order; no copy where the order fits."""
    found = np.dtype("u2" if dtype == "bf16" else dtype).newbyteorder(">" if big_endian else "<")
    return raw.view(found).astype(found.newbyteorder("="), copy=False)


class Builder:
    """`call` and `build` for a PickleReader; arrays are fresh, contiguous, writable and independent of each other."""

    def __init__(self, budget: Budget):
        self._budget = budget

    def call(self, function: object, arguments: tuple) -> object:
        if not isinstance(function, Global):
            raise refuse(function)
        module, name = function.module, function.name
        self._charge(arguments)
        if module == "torch._utils" or module == "torch._tensor":
            return self._torch(function, arguments)
        if module in _ARRAY_MODULES or module in _BUFFER_MODULES or module == "numpy":
            return self._numpy(function, arguments)
        if str(function) in _NAMESPACES and not arguments:
            return Namespace()
        if name == "_reconstructor" and len(arguments) == 3 and isinstance(arguments[0], Global) and str(arguments[0]) in _NAMESPACES:
            return Namespace()
        if module in _VAR_MODULES:
            (value,) = arguments
            if not isinstance(value, (np.ndarray, np.generic)):
                raise refuse(function)
            return np.asarray(value)
        if module == "_codecs":
            text, encoding = arguments
            if encoding not in ("latin1", "latin-1") or not isinstance(text, str):
                raise refuse(function)
            return text.encode("latin1")
        return _container(function, arguments)

    def build(self, value: object, state: object) -> object:
        self._charge((state,))
        if not isinstance(value, Pending):
            return build_plain(value, state)
        if value.kind == "dtype":
            order = state[1]
            if order not in ("<", ">", "|", "="):
                raise ValueError(f"byte order {order!r}")
            return value.value.newbyteorder(order)
        _, shape, dtype, fortran, content = state
        return self._array(content, dtype, shape, "F" if fortran else "C")

    def _charge(self, arguments: tuple) -> None:
        """Pay for copying what the arguments hold: one long list can be the argument of a million calls."""
        for value in arguments:
            if isinstance(value, (list, tuple, dict, set, frozenset)):
                self._budget.spend(64 * len(value))
            elif isinstance(value, str):
                self._budget.spend(4 * len(value))

    # -- torch

    def _torch(self, function: Global, arguments: tuple) -> object:
        name = function.name
        if name == "_rebuild_from_type_v2":  # a tensor with attributes of its own, which are dropped
            inner, _, of_inner = arguments[:3]
            if not isinstance(inner, Global) or inner.module != "torch._utils" or not isinstance(of_inner, tuple):
                raise refuse(function)
            return self._torch(inner, of_inner)
        if name in ("_rebuild_parameter", "_rebuild_parameter_with_state"):
            if arguments[0] is not None and not isinstance(arguments[0], np.ndarray):
                raise refuse(function)
            return arguments[0]
        dtype = None
        if name == "_rebuild_tensor_v3":
            if not isinstance(arguments[6], Global) or arguments[6].name not in _TORCH_DTYPES:
                raise refuse(function)
            dtype = _TORCH_DTYPES[arguments[6].name]
        return self._tensor(*arguments[:4], dtype)

    def _tensor(self, storage: Storage, offset: int, size: tuple, stride: tuple, dtype: str | None) -> np.ndarray | None:
        """The view of `storage` that a torch tensor is; counted in elements, checked before NumPy sees it."""
        if not isinstance(storage, Storage) or not isinstance(size, tuple) or not isinstance(stride, tuple):
            raise refuse(storage)
        numbers = (offset, *size, *stride)
        if not all(type(n) is int and n >= 0 for n in numbers) or len(size) != len(stride) or len(size) > _NUMPY_LIMIT:
            raise ValueError(f"a tensor of size {_short(size)} and stride {_short(stride)}")
        if storage.values is None:
            return None
        values, kind = storage.values, storage.dtype
        if dtype is not None and dtype != kind:  # untyped storage of a dtype without a storage class
            kind = dtype
            values = values.view("u2" if dtype == "bf16" else dtype)
        count = 1
        for n in size:
            count *= n
        self._budget.spend(count * (4 if kind == "bf16" else values.itemsize))
        last = offset + sum((n - 1) * s for n, s in zip(size, stride))
        if count and last >= len(values):
            raise ValueError(f"a tensor of size {_short(size)} reaches outside its storage of {len(values)} elements")
        if not count:
            array = np.zeros(size, values.dtype)
        elif offset == 0 and count == len(values) and not storage.taken and _contiguous(size, stride):
            storage.taken = True
            array = values.reshape(size)
        else:
            steps = [s * values.itemsize for s in stride]
            array = np.lib.stride_tricks.as_strided(values[offset:], size, steps, writeable=False).copy(order="C")
        if kind == "bf16":
            array = (array.astype(np.uint32) << 16).view(np.float32)
        return array

    # -- NumPy

    def _numpy(self, function: Global, arguments: tuple) -> object:
        if function.name == "_reconstruct":
            return Pending("array")
        if function.name == "dtype":
            code = arguments[0]
            if not isinstance(code, str) or not _DTYPE_CODE.match(code):
                raise ValueError(f"an array of dtype {_short(code)}")
            return Pending("dtype", np.dtype(code))
        if function.name == "scalar":
            dtype, content = arguments
            return self._array(content, dtype, (), "C")[()]
        if function.name == "_frombuffer":
            content, dtype, shape, order = arguments
            return self._array(content, dtype, shape, order)
        raise refuse(function)

    def _array(self, content: object, dtype: object, shape: object, order: str) -> np.ndarray:
        if isinstance(dtype, Pending):
            dtype = dtype.value
        if isinstance(content, str):  # written by Python 2
            content = content.encode("latin1")
        if not isinstance(dtype, np.dtype) or not isinstance(content, bytes) or not isinstance(shape, tuple) or order not in ("C", "F"):
            raise ValueError("an array that is not plain numbers")
        if not all(type(n) is int and n >= 0 for n in shape) or len(shape) > _NUMPY_LIMIT:
            raise ValueError(f"an array of shape {_short(shape)}")
        count = 1
        for n in shape:
            count *= n
        if count * dtype.itemsize != len(content):
            raise ValueError(f"an array of shape {_short(shape)} with {len(content)} bytes")
        self._budget.spend(len(content))
        return np.frombuffer(content, dtype).reshape(shape, order=order).astype(dtype.newbyteorder("="), order="C")


def _container(function: Global, arguments: tuple) -> object:
    name = function.name
    if name == "OrderedDict":
        value = OrderedDict()
        set_pairs(value, arguments[0] if arguments else ())
        return value
    if name == "defaultdict":
        return {}
    if name == "Size" and len(arguments) == 1:
        return tuple(arguments[0])
    if name == "device":
        return ":".join(str(part) for part in arguments if isinstance(part, (str, int)))
    if function.module.startswith("pathlib"):
        return "/".join(part for part in arguments if isinstance(part, str))
    if name in ("set", "frozenset", "list", "tuple") and len(arguments) == 1 and isinstance(arguments[0], (list, tuple)):
        if name in ("set", "frozenset"):
            filled: dict = {}
            set_pairs(filled, ((item, None) for item in arguments[0]))
            return set(filled) if name == "set" else frozenset(filled)
        return list(arguments[0]) if name == "list" else tuple(arguments[0])
    if name == "complex" and len(arguments) == 2 and all(type(part) is float for part in arguments):
        return complex(*arguments)
    raise refuse(function)


def _contiguous(size: tuple, stride: tuple) -> bool:
    expected = 1
    for n, s in zip(reversed(size), reversed(stride)):
        if n != 1 and s != expected:
            return False
        expected *= n
    return True


def _short(value: object) -> str:
    if isinstance(value, (tuple, list)):
        value = tuple(n if type(n) is int and abs(n) < 1 << 64 else "?" for n in value[:8])
    return repr(value)[:80]
