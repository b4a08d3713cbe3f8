"""Compile a C++ source of ours for this machine at its first use, and load it.

The library lies in the folder `cache_home` names; its name holds a hash of all that went into it, so a changed source, compiler or
processor gives a new one. Processes that start at once each compile and rename the same library into place; readers never see half of one.
A checksum after the library's last byte tells a damaged one, which is compiled again: loading half a library ends the process.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

from .errors import RuntimeSetupError
from .jittor_setup import cache_home, find_compiler

# No -Ofast and no -ffast-math: linked into a library, they make the loading thread take subnormal numbers for 0. No contraction: a fused
# a * b + c rounds differently, and the same input is to give the same output on every machine.
FLAGS = ("-std=c++14", "-O3", "-march=native", "-fopenmp", "-fPIC", "-shared", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=off")
_SEAL = 16  # bytes of the checksum
_INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*"([^"]+)"', re.MULTILINE)


@functools.cache
def load_native(source: Path, include: tuple[Path, ...] = ()) -> ctypes.CDLL:
    """The compiled library of one source file; compiled only where the cache lacks it, with one line on stderr.

    Args:
        source: a .cc file.
        include: folders for `#include "..."`, besides the including file's own.

    Raises:
        RuntimeSetupError: no g++, no writable cache folder, or it does not compile or load; holds what the compiler said.
    """
    library = _compiled(Path(source), include)
    try:
        return ctypes.CDLL(str(library))
    except OSError as error:
        raise RuntimeSetupError(f"{library}: does not load ({error}); delete it, and it is compiled again") from error


def sources(path: Path, include: tuple[Path, ...]) -> list[Path]:
    """`path` and every file that it includes in quotes, at any depth, in order of their first mention; absent ones are left to the compiler."""
    found: list[Path] = []
    waiting = [Path(path)]
    while waiting:
        current = waiting.pop(0)
        if current in found:
            continue
        found.append(current)
        for name in _INCLUDE.findall(current.read_text(encoding="utf-8")):
            for folder in (current.parent, *include):
                if (folder / name).is_file():
                    waiting.append((folder / name).resolve())
                    break
    return found


def _compiled(source: Path, include: tuple[Path, ...]) -> Path:
    compiler = find_compiler()
    command = [compiler, *FLAGS, *(f"-I{folder}" for folder in include)]
    digest = hashlib.blake2b(digest_size=8)
    for part in (*command, _version(compiler), _processor()):
        digest.update(part.encode() + b"\0")
    for path in sources(source, include):
        digest.update(path.read_bytes() + b"\0")
    library = Path(cache_home()) / "native" / f"{source.stem}-{digest.hexdigest()}.so"
    if not _intact(library):
        _compile([*command, str(source)], source, library)
    return library


def _intact(library: Path) -> bool:
    try:
        content = library.read_bytes()
    except FileNotFoundError:
        return False
    return _checksum(content[:-_SEAL]) == content[-_SEAL:]


def _checksum(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=_SEAL).digest()


def _compile(command: list[str], source: Path, library: Path) -> None:
    print(f"luss: compiling {source.name} for this processor (once per machine, some seconds)", file=sys.stderr, flush=True)
    library.parent.mkdir(parents=True, exist_ok=True)
    temporary = library.with_name(f"{library.name}.tmp-{os.getpid()}")
    try:
        result = subprocess.run(
            [*command, "-o", str(temporary)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
        )
        if result.returncode != 0:
            raise RuntimeSetupError(f"{source}: {command[0]} failed with status {result.returncode}:\n{result.stdout}")
        with open(temporary, "r+b") as stream:
            seal = _checksum(stream.read())
            stream.write(seal)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, library)
    finally:
        temporary.unlink(missing_ok=True)


@functools.cache
def _version(compiler: str) -> str:
    try:
        return subprocess.run([compiler, "--version"], capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise RuntimeSetupError(f"{compiler} --version failed ({error}); install g++ or set cc_path to a working one") from error


def _processor() -> str:
    """Model and abilities of this processor; -march=native code of another may not run here."""
    try:
        lines = Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
        return "\n".join(line for line in lines if line.startswith(("model name", "flags", "CPU part", "Features")))
    except OSError:
        return platform.processor()
