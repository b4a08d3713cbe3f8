"""luss_kernels.h by itself: plain C99 and C++, the version of the package, every function bound with the right types."""

from __future__ import annotations

import ctypes
import re
import subprocess

import pytest

import engine
from engine.capi import library
from engine.ops.kernel_folder import kernel_folder
from engine.runtime.jittor_setup import find_compiler
from tests.engine.capi.emulated import emulated_library


@pytest.mark.parametrize("language", ["c99", "c11", "c++98", "c++17"])
def test_compiles_as_c_and_cpp(tmp_path, language):
    source = tmp_path / ("a.cc" if "+" in language else "a.c")
    source.write_text('#include "luss_kernels.h"\nint a = sizeof(luss_crop_record);\n')
    options = [f"-std={language}", "-Wall", "-Wextra", "-Werror", "-pedantic-errors", "-Wno-long-long", f"-I{kernel_folder() / 'capi'}", "-c"]
    done = subprocess.run([find_compiler(), "-x", "c++" if "+" in language else "c", *options, str(source), "-o", str(tmp_path / "a.o")],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)  # fmt: skip
    assert done.returncode == 0, done.stdout


def test_has_the_version_of_the_package():
    assert f'#define LUSS_KERNELS_VERSION "{engine.__version__}"' in library.header().read_text()


def test_every_function_is_declared_defined_and_bound():
    declared = library.declarations()
    assert len(declared) == library.header().read_text().count("LUSS_API") - 1 >= 6  # one is the macro itself
    defined = set()
    for path in (kernel_folder() / "capi").glob("*.cu"):
        defined |= set(re.findall(r'^extern "C" [^(]*?(luss_\w+)\(', path.read_text(), re.MULTILINE))
    assert defined == set(declared)
    loaded = emulated_library()
    for name, (result, arguments) in declared.items():
        assert getattr(loaded, name).restype is result and getattr(loaded, name).argtypes == arguments


def test_declarations_become_ctypes():
    result, arguments = library.declarations()["luss_augment_crops"]
    assert result is ctypes.c_int and arguments.count(ctypes.c_void_p) == 8
    assert arguments[3:8] == [ctypes.c_int] * 4 + [ctypes.c_float] and arguments[13:] == [ctypes.c_size_t, ctypes.c_void_p]
    assert library.declarations()["luss_last_error"] == (ctypes.c_char_p, [])
    assert library.declarations()["luss_augment_crops_scratch"] == (ctypes.c_size_t, [ctypes.c_int] * 4)


def test_header_names_all_arguments_as_the_definitions_do():
    """Of every definition: the words between its brackets stand in the header."""
    text = " ".join(library.header().read_text().split())
    count = 0
    for path in (kernel_folder() / "capi").glob("*.cu"):
        for name, words in re.findall(r'^extern "C" [^(]*?(luss_\w+)\(([^)]*)\)', path.read_text(), re.MULTILINE):
            assert f"{name}({' '.join(words.split())})" in text, f"{path.name}: {name} differs from its declaration"
            count += 1
    assert count == len(library.declarations())


def test_no_two_kernels_share_a_name():
    """In one library, templates of one name in two files would silently become one of them."""
    found: dict[str, list[str]] = {}
    for path in sorted((kernel_folder() / "luss").glob("*.cuh")):
        text = re.sub(r"__launch_bounds__\([^)]*\)", "", path.read_text())
        for name in re.findall(r"__global__\s+void\s+(\w+)\(", text):
            found.setdefault(name, []).append(path.name)
    assert len(found) == sum(path.read_text().count("__global__") for path in (kernel_folder() / "luss").glob("*.cuh"))
    assert {name: files for name, files in found.items() if len(set(files)) > 1} == {}
