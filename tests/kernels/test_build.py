"""libluss_kernels as its users build it: with CMake, installed, found and linked by a C program; with one call of nvcc. No GPU is needed."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path

import pytest

import engine
from engine.capi import library
from engine.ops.kernel_folder import kernel_folder
from engine.runtime.cuda import driver_present, find_nvcc
from engine.runtime.errors import RuntimeSetupError

CONSUMER = Path(__file__).resolve().parent / "consumer"
needs_nvcc = pytest.mark.skipif(find_nvcc() is None, reason="nvcc is absent: neither nvcc_path nor PATH nor /usr/local/cuda holds it")
needs_cmake = pytest.mark.skipif(shutil.which("cmake") is None, reason="cmake is absent")


def run(*command, **options) -> str:
    done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.mark.slow
@needs_nvcc
@needs_cmake
def test_a_c_program_finds_the_installed_library_and_reads_its_errors(tmp_path):
    prefix = tmp_path / "prefix"
    options = ["-DLUSS_CUDA=ON", "-DCMAKE_CUDA_ARCHITECTURES=75", f"-DCMAKE_CUDA_COMPILER={find_nvcc()}"]
    run("cmake", "-S", kernel_folder(), "-B", tmp_path / "build", *options)
    run("cmake", "--build", tmp_path / "build")
    run("cmake", "--install", tmp_path / "build", "--prefix", prefix)
    run("cmake", "-S", CONSUMER, "-B", tmp_path / "consumer", f"-DCMAKE_PREFIX_PATH={prefix}")
    run("cmake", "--build", tmp_path / "consumer")
    version, refused, no_gpu, scratch = run(tmp_path / "consumer" / "consumer").splitlines()
    assert version == f"version {engine.__version__}"
    assert refused == "-1 crop_labels: height: expected 1..2147483647, found 0"
    # with a card: host memory is refused; without: CUDA says that there is none
    assert no_gpu.startswith("-1 crop_labels: maps: expected memory of a GPU" if driver_present() else "-2 crop_labels: CUDA driver version")
    assert scratch == f"scratch {2 * (8 + 3 * 4 * 8 + 4 * (4 + (2 + 3) * (4 + 8)))}"  # of each crop: sum, planes, table
    needed = run("ldd", prefix / "lib" / "libluss_kernels.so") if (prefix / "lib").exists() else run("ldd", prefix / "lib64" / "libluss_kernels.so")
    assert "libcudart" not in needed and "libcuda.so" not in needed


@pytest.mark.slow
@needs_nvcc
def test_one_call_of_nvcc_builds_a_library_with_every_function(tmp_path, monkeypatch):
    monkeypatch.setenv("JITTOR_HOME", str(tmp_path))
    path = library.build("sm_75")
    assert path.parent == tmp_path / "native" and library.build("sm_75") == path
    monkeypatch.setenv("LUSS_KERNELS_LIBRARY", str(path))
    library.library.cache_clear()
    try:
        loaded = library.library()
        assert loaded.luss_version().decode() == engine.__version__
        with pytest.raises(ValueError, match=r"crop_labels: width: expected 1\.\.2147483647, found 0"):
            library.call("luss_crop_labels", None, None, None, None, None, 1, 1, 0, None, None)
    finally:
        library.library.cache_clear()
    symbols = run("nm", "-D", "--defined-only", path).splitlines()
    assert {line.split()[-1] for line in symbols if " T " in line} == set(library.declarations())


@needs_cmake
def test_without_a_cuda_compiler_cmake_says_so(tmp_path):
    said = run("cmake", "-S", kernel_folder(), "-B", tmp_path, "-DLUSS_CUDA=OFF")
    assert "luss_kernels: no working CUDA compiler (or LUSS_CUDA=OFF), so the library is not built" in said
    run("cmake", "--install", tmp_path, "--prefix", tmp_path / "prefix")
    assert (tmp_path / "prefix" / "include" / "luss_kernels.h").exists()


def test_what_is_no_library_of_ours_is_named(tmp_path, monkeypatch):
    broken = tmp_path / "liba.so"
    broken.write_text("no library")
    monkeypatch.setenv("LUSS_KERNELS_LIBRARY", str(broken))
    library.library.cache_clear()
    with pytest.raises(RuntimeSetupError, match="liba.so: does not load .*build it again"):
        library.library()
    with pytest.raises(RuntimeSetupError, match="no libluss_kernels of this version"):
        library.bind(ctypes.CDLL(None))


def test_without_nvcc_the_error_says_what_to_do(monkeypatch):
    monkeypatch.setattr(library, "find_nvcc", lambda: None)
    with pytest.raises(RuntimeSetupError, match="install the CUDA toolkit, or name a library in LUSS_KERNELS_LIBRARY"):
        library.build("sm_75")
