"""Decide, before Jittor is imported, whether its CUDA build can work here.

Jittor decides by finding `nvcc` alone and then aborts the process (not an exception) where the driver or the CUDA
runtime is missing, so the three are looked for together.
"""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class CudaFinding:
    """What was found; `usable` only where driver, compiler and runtime library are all there."""

    usable: bool
    reason: str  # one sentence: why it is used or why not
    nvcc: str | None = None
    version: str | None = None
    home: str | None = None


def driver_present() -> bool:
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


def find_nvcc() -> str | None:
    """Path of nvcc: `nvcc_path` (Jittor's variable), then PATH, then /usr/local/cuda."""
    for candidate in (os.environ.get("nvcc_path"), shutil.which("nvcc"), "/usr/local/cuda/bin/nvcc"):
        if candidate and os.path.isfile(candidate):
            return candidate
    return None


def nvcc_version(nvcc: str) -> str | None:
    try:
        text = subprocess.run([nvcc, "--version"], capture_output=True, text=True, timeout=30).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r"release (\d+\.\d+)", text)
    return found.group(1) if found else None


def find_cuda() -> CudaFinding:
    """Look for driver, nvcc and libcudart; `LUSS_DEVICE=cpu` asks for the CPU whatever there is."""
    if os.environ.get("LUSS_DEVICE", "").lower() == "cpu":
        return CudaFinding(False, "LUSS_DEVICE=cpu asks for the CPU")
    nvcc = find_nvcc()
    version = nvcc_version(nvcc) if nvcc else None
    if not driver_present():
        return CudaFinding(False, "no NVIDIA driver (libcuda.so.1 does not load)", nvcc, version)
    if nvcc is None:
        return CudaFinding(False, "a driver, but no nvcc: install the CUDA 12.2 toolkit or put nvcc on PATH")
    home = str(Path(os.path.realpath(nvcc)).parent.parent)
    if not any(os.path.exists(f"{home}/{lib}/libcudart.so") for lib in ("lib64", "lib")):
        return CudaFinding(False, f"a driver and nvcc, but no libcudart.so under {home}/lib64", nvcc, version, home)
    if version and int(version.split(".")[0]) >= 13:
        return CudaFinding(
            False,
            f"CUDA {version} at {home}: Jittor 1.3.11 does not compile against CUDA 13; install CUDA 12.2 with cuDNN 8.9 "
            "(`python -m jittor_utils.install_cuda`) and set nvcc_path to its nvcc",
            nvcc,
            version,
            home,
        )
    return CudaFinding(True, f"CUDA {version} at {home}", nvcc, version, home)
