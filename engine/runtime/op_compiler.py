"""Make Jittor 1.3.11 compile operators in parallel without corrupting its heap; op_compiler_lock.cc says how."""

from __future__ import annotations

import ctypes
import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

_SOURCE = Path(__file__).with_name("op_compiler_lock.cc")
_held = []  # the library must stay loaded: Jittor keeps a pointer into it


def make_compiler_safe(jittor, folder: str) -> bool:
    """Install the locked compile step; where that fails, say so and compile operators one after another instead.

    Args:
        jittor: the imported module.
        folder: where the compiled step is kept.

    Returns:
        whether operators are compiled in parallel.
    """
    if not jittor.flags.use_parallel_op_compiler:
        return False
    # More threads than cores only take memory: each waits for one g++
    jittor.flags.use_parallel_op_compiler = max(1, min(jittor.flags.use_parallel_op_compiler, len(os.sched_getaffinity(0))))
    try:
        library = ctypes.CDLL(str(_compiled(jittor, Path(folder))))
        library.luss_lock_op_compiler.restype = ctypes.c_bool
        _held.append(library)
        if library.luss_lock_op_compiler():
            return True
        reason = "another backend has replaced Jittor's compile step"
    except (OSError, subprocess.CalledProcessError) as error:
        reason = getattr(error, "stdout", None) or error
    jittor.flags.use_parallel_op_compiler = 0
    print(f"luss: operators are compiled one after another, up to twice as slow at a first start: {reason}", file=sys.stderr)
    return False


def _compiled(jittor, folder: Path) -> Path:
    compiler = jittor.compiler
    # As Jittor compiles an operator, less the terminal colours; the linker finds Jittor's own libraries where they are loaded
    flags = re.sub(r"-fdiagnostics-color=\S+|-l\"[^\"]*\"", "", compiler.cc_flags)
    command = f'"{compiler.cc_path}" "{_SOURCE}" -O1 {flags}'
    key = hashlib.md5("\n".join([_SOURCE.read_text(), command, jittor.__version__]).encode()).hexdigest()[:16]
    library = folder / f"luss-op-compiler-{key}.so"
    if not library.exists():
        folder.mkdir(parents=True, exist_ok=True)
        temporary = library.with_name(f"{library.name}.{os.getpid()}")
        subprocess.run(
            f'{command} -o "{temporary}"', shell=True, check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
        )
        os.replace(temporary, library)
    return library
