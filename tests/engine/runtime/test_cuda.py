"""When CUDA is used: driver, compiler and runtime library must all be there and fit."""

from __future__ import annotations

import pytest

from engine.runtime import cuda


@pytest.fixture
def toolkit(tmp_path, monkeypatch):
    """Make a CUDA home with an nvcc that reports a version; the driver answers as asked."""
    monkeypatch.delenv("LUSS_DEVICE", raising=False)

    def make(version: str = "12.2", *, driver: bool = True, runtime: bool = True):
        nvcc = tmp_path / "bin" / "nvcc"
        nvcc.parent.mkdir()
        nvcc.write_text(f"#!/bin/sh\necho 'Cuda compilation tools, release {version}, V{version}.140'\n")
        nvcc.chmod(0o755)
        if runtime:
            (tmp_path / "lib64").mkdir()
            (tmp_path / "lib64" / "libcudart.so").touch()
        monkeypatch.setenv("nvcc_path", str(nvcc))
        monkeypatch.setattr(cuda, "driver_present", lambda: driver)
        return tmp_path

    return make


def test_everything_there(toolkit):
    home = toolkit()
    found = cuda.find_cuda()
    assert found.usable and found.version == "12.2" and found.home == str(home) and found.nvcc == str(home / "bin" / "nvcc")


def test_no_driver(toolkit):
    toolkit(driver=False)
    found = cuda.find_cuda()
    assert not found.usable and "driver" in found.reason and found.version == "12.2"


def test_no_runtime_library(toolkit):
    home = toolkit(runtime=False)
    found = cuda.find_cuda()
    assert not found.usable and f"no libcudart.so under {home}" in found.reason


def test_cuda_13_is_refused_with_the_fix(toolkit):
    toolkit("13.0")
    found = cuda.find_cuda()
    assert not found.usable and "CUDA 13" in found.reason and "12.2" in found.reason


def test_no_nvcc(toolkit, monkeypatch):
    toolkit()
    monkeypatch.setattr(cuda, "find_nvcc", lambda: None)
    found = cuda.find_cuda()
    assert not found.usable and "no nvcc" in found.reason


def test_the_cpu_can_be_asked_for(toolkit, monkeypatch):
    toolkit()
    monkeypatch.setenv("LUSS_DEVICE", "CPU")
    found = cuda.find_cuda()
    assert not found.usable and "LUSS_DEVICE" in found.reason


def test_nvcc_on_path_and_named(toolkit, monkeypatch, tmp_path):
    home = toolkit()
    assert cuda.find_nvcc() == str(home / "bin" / "nvcc")
    monkeypatch.setenv("nvcc_path", "")
    monkeypatch.setenv("PATH", str(home / "bin"))
    assert cuda.find_nvcc() == str(home / "bin" / "nvcc")


def test_an_nvcc_that_does_not_run_has_no_version(tmp_path):
    assert cuda.nvcc_version(str(tmp_path / "absent")) is None
    silent = tmp_path / "nvcc"
    silent.write_text("#!/bin/sh\nexit 1\n")
    silent.chmod(0o755)
    assert cuda.nvcc_version(str(silent)) is None
