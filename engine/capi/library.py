"""libluss_kernels in this process: found, or compiled with nvcc for the card at hand, and bound by its header's declarations."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np

from ..ops.kernel_folder import kernel_folder
from ..runtime.cuda import find_nvcc
from ..runtime.errors import RuntimeSetupError
from ..runtime.jittor_setup import cache_home
from ..runtime.native import sources

FLOATS = {"float32": 0, "float16": 1}  # LUSS_FLOAT32, LUSS_FLOAT16
_DECLARATION = re.compile(r"LUSS_API\s+([^;(]*?)\s*(luss_\w+)\(([^)]*)\);")
_TYPES = {"int": ctypes.c_int, "int64_t": ctypes.c_int64, "size_t": ctypes.c_size_t, "float": ctypes.c_float, "double": ctypes.c_double}
_BAD_ARGUMENT = -1


class KernelError(RuntimeError):
    """CUDA refused a launch or failed earlier; the message is CUDA's own."""


def declarations() -> dict[str, tuple[object, list[object]]]:
    """Function -> (result type, argument types), as luss_kernels.h declares them."""
    text = re.sub(r"/\*.*?\*/", "", header().read_text(encoding="utf-8"), flags=re.DOTALL)
    return {name: (_ctype(kind), [] if words.strip() == "void" else [_ctype(word) for word in words.split(",")]) for kind, name, words in
            _DECLARATION.findall(text)}  # fmt: skip


def header() -> Path:
    return kernel_folder() / "capi" / "luss_kernels.h"


def _ctype(words: str):
    words = words.replace("const", " ").strip()
    if "*" in words:
        return ctypes.c_char_p if words.startswith("char") else ctypes.c_void_p
    return _TYPES[words.split()[0]]


@functools.cache
def library() -> ctypes.CDLL:
    """The library that LUSS_KERNELS_LIBRARY names, else one that nvcc compiles, once, into our cache folder.

    Raises:
        RuntimeSetupError: the named file does not load or is of another version; no nvcc; it does not compile.
    """
    path = os.environ.get("LUSS_KERNELS_LIBRARY") or str(build(architecture_here()))
    try:
        return bind(ctypes.CDLL(path))
    except OSError as error:
        raise RuntimeSetupError(f"{path}: does not load ({error}); build it again (docs/kernels.md)") from error


def bind(loaded: ctypes.CDLL) -> ctypes.CDLL:
    """Give a loaded library's functions the types of the header.

    Raises: RuntimeSetupError: it lacks one, or is of another version.
    """
    path = loaded._name
    try:
        for name, (result, arguments) in declarations().items():
            function = getattr(loaded, name)
            function.restype, function.argtypes = result, arguments
    except AttributeError as error:
        raise RuntimeSetupError(f"{path}: no libluss_kernels of this version ({error}); build it again (docs/kernels.md)") from error
    expected = re.search(r'LUSS_KERNELS_VERSION "([^"]+)"', header().read_text(encoding="utf-8")).group(1)
    if loaded.luss_version().decode() != expected:
        raise RuntimeSetupError(f"{path}: version {loaded.luss_version().decode()}, expected {expected}; build it again (docs/kernels.md)")
    return loaded


def call(name: str, *arguments) -> None:
    """One function of the library that returns a code.

    Raises:
        ValueError: an argument it refuses. KernelError: CUDA failed. Both with the library's message.
    """
    loaded = library()
    code = getattr(loaded, name)(*(value.item() if isinstance(value, np.generic) else value for value in arguments))  # ctypes knows no np.int64
    if code != 0:
        message = loaded.luss_last_error().decode(errors="replace")
        raise (ValueError if code == _BAD_ARGUMENT else KernelError)(message)


def scratch_bytes(name: str, *sizes: int) -> int:
    """luss_<name>_scratch(sizes...)"""
    return getattr(library(), f"luss_{name}_scratch")(*map(int, sizes))


def architecture_here() -> str:
    """What nvcc's -arch is to be: LUSS_CUDA_ARCH (such as sm_75), or "native", the cards of this machine."""
    return os.environ.get("LUSS_CUDA_ARCH", "native")


def build(architecture: str, flags: tuple[str, ...] = ()) -> Path:
    """Compile the library with one call of nvcc; nothing is done where the cache has it.

    Raises: RuntimeSetupError with what nvcc said.
    """
    nvcc = find_nvcc()
    if nvcc is None:
        places = "nvcc_path, PATH or /usr/local/cuda/bin"
        raise RuntimeSetupError(f"no nvcc in {places}: install the CUDA toolkit, or name a library in LUSS_KERNELS_LIBRARY")
    folder = kernel_folder()
    files = sorted((folder / "capi").glob("*.cu"))
    options = ["-std=c++14", "-O3", f"-arch={architecture}", f"-I{folder}", "-cudart", "static", "-shared", "-Xcompiler", "-fPIC,-fvisibility=hidden"]
    command = [nvcc, *options, "--threads", "0", *flags]
    said = subprocess.run([nvcc, "--version"], stdout=subprocess.PIPE, text=True, check=True).stdout
    digest = hashlib.blake2b("\0".join([*command, said, _cards() if architecture == "native" else ""]).encode(), digest_size=8)
    for path in {path: None for file in files for path in sources(file, (folder,))}:
        digest.update(path.read_bytes())
    target = Path(cache_home()) / "native" / f"libluss_kernels-{digest.hexdigest()}.so"
    if not target.exists():
        print(f"luss: compiling libluss_kernels for {architecture} (once per machine, some minutes)", file=sys.stderr, flush=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f"{target.name}.tmp-{os.getpid()}")
        try:
            done = subprocess.run([*command, *map(str, files), "-o", str(temporary)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            if done.returncode != 0:
                raise RuntimeSetupError(f"libluss_kernels: {nvcc} failed with status {done.returncode}:\n{done.stdout}")
            os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)
    return target


def _cards() -> str:
    """Names of this machine's cards, so that a cache on a shared disk is not taken to another kind of card."""
    try:
        asked = subprocess.run(["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader"], stdout=subprocess.PIPE, text=True)
    except FileNotFoundError:
        return ""
    return asked.stdout
