"""Compiling with nvcc what Jittor would be given, for every architecture that is supported."""

from __future__ import annotations

import subprocess

import pytest

from engine.ops.kernel_folder import kernel_folder
from engine.runtime.cuda import find_nvcc

ARCHITECTURES = (75, 80, 86, 90)
# The names that jt.code defines around the text
PREAMBLE = """
#include <iostream>
#include <string>
#include <unordered_map>
#define CHECK(good) if (!(good)) std::cerr
typedef float float32;
typedef __half float16;
"""


def compile_launches(folder, op, function: str, architecture: int) -> None:
    """Compile the launch text of an op's module for each of its types; `function` has a %s for the type and one for the text."""
    nvcc = find_nvcc()
    if nvcc is None:
        pytest.skip("nvcc is absent: neither nvcc_path nor PATH nor /usr/local/cuda holds it")
    source = folder / "launches.cu"
    source.write_text(op._HEADER + PREAMBLE + "".join(function % (kind, op._LAUNCH.replace("OUT0", op._POINTERS[kind])) for kind in op._POINTERS))
    options = ["-std=c++14", f"-arch=sm_{architecture}", "--use_fast_math", f"-I{kernel_folder()}", "-Werror", "all-warnings", "-c"]  # as Jittor
    done = subprocess.run([nvcc, *options, str(source), "-o", str(folder / "launches.o")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def compile_texts(folder, header: str, texts: list[tuple[str, int, int]], architecture: int) -> None:
    """Compile launch texts of jt.code: (text, inputs, outputs), whose variables are all of float32 and four axes."""
    nvcc = find_nvcc()
    if nvcc is None:
        pytest.skip("nvcc is absent: neither nvcc_path nor PATH nor /usr/local/cuda holds it")
    functions = []
    for number, (text, inputs, outputs) in enumerate(texts):
        names = [f"in{i}" for i in range(inputs)] + [f"out{i}" for i in range(outputs)]
        given = ", ".join(f"float* {name}_p, int64_t {name}_num, " + ", ".join(f"int64_t {name}_shape{axis}" for axis in range(4)) for name in names)
        functions.append(f"void run{number}({given}, std::unordered_map<std::string, double> data) {{ {text} }}\n")
    source = folder / "launches.cu"
    source.write_text("#include <cuda_fp16.h>\n" + header + PREAMBLE + "".join(functions))
    options = ["-std=c++14", f"-arch=sm_{architecture}", "--use_fast_math", f"-I{kernel_folder()}", "-Werror", "all-warnings", "-c"]  # as Jittor
    done = subprocess.run([nvcc, *options, str(source), "-o", str(folder / "launches.o")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
