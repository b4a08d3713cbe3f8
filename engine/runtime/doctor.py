"""What this machine has, what it lacks, what that costs, and how to get it.

Looks only: Jittor is not imported, nothing is compiled, and a missing piece is a finding, never an exception.
"""

from __future__ import annotations

import ctypes.util
import glob
import importlib.metadata
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import asdict, dataclass
from pathlib import Path

from .cuda import CudaFinding, driver_present, find_cuda, find_nvcc, nvcc_version
from .errors import LussError
from .jittor_setup import JITTOR_VERSION, build_key, cache_home, find_compiler, prepare_environment
from .onednn import find_onednn, place_onednn

GIB = 2**30
_NOTHING = "Jittor cannot be compiled: nothing trains"
_SLOW = "training runs on the CPU: enough for the demo, not practical for the ImageNet-S presets"
_TOOLKIT = "install CUDA 12.2 with cuDNN 8.9: python -m jittor_utils.install_cuda (downloads both)"


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    name: str
    status: str  # ok | missing | unusable | info
    found: str
    costs: str = ""  # what its absence or state costs; empty where there is nothing to pay
    remedy: str = ""  # what to do about it


def collect() -> list[Finding]:
    """All findings, in the order in which they matter. Takes a few seconds; writes nothing but Jittor's cache folder.

    Sets the variables Jittor reads, as every run does (`prepare_environment`): whether it is compiled depends on them.
    """
    cuda = find_cuda()
    return [
        _python(),
        _headers(),
        _compiler(),
        _numpy(),
        _packages(),
        _jittor(),
        _compiled(),
        _onednn(),
        *_cuda(cuda),
        _mpi(),
        *_machine(),
        *_cache(),
        _device(cuda),
    ]


def format_table(findings: list[Finding]) -> str:
    """Aligned text: name, status and what was found; below a piece that is not there, its cost and remedy."""
    width = max(len(finding.name) for finding in findings)
    lines = []
    for finding in findings:
        lines.append(f"{finding.name:{width}}  {finding.status:8}  {finding.found}")
        lines += [f"{'':{width}}            {label}: {text}" for label, text in (("costs", finding.costs), ("get it", finding.remedy)) if text]
    needed = [finding.name for finding in findings if _blocks(finding)]
    lines.append("")
    lines.append(f"not ready: {', '.join(needed)}" if needed else "ready to train")
    return "\n".join(lines)


def format_json(findings: list[Finding]) -> str:
    """{"ready": bool, "findings": [...]}."""
    return json.dumps({"ready": not any(map(_blocks, findings)), "findings": [asdict(finding) for finding in findings]}, indent=2)


_NEEDED = ("Python", "Python.h", "g++", "NumPy", "packages", "Jittor", "cache")


def _blocks(finding: Finding) -> bool:
    return finding.name in _NEEDED and finding.status in ("missing", "unusable")


def _python() -> Finding:
    found = f"{platform.python_version()} at {sys.executable}"
    if (3, 9) <= sys.version_info[:2] <= (3, 12):
        return Finding("Python", "ok", found)
    return Finding("Python", "unusable", found, f"Jittor {JITTOR_VERSION} was not seen to work with it", "use Python 3.9 to 3.12")


def _headers() -> Finding:
    include = sysconfig.get_path("include", vars={"base": sys.base_prefix, "installed_base": sys.base_prefix})
    if os.path.isfile(os.path.join(include, "Python.h")):
        return Finding("Python.h", "ok", include)
    package = f"python{sys.version_info.major}.{sys.version_info.minor}-dev"
    return Finding("Python.h", "missing", f"not in {include}", _NOTHING, f"apt-get install {package} (Debian, Ubuntu)")


def _compiler() -> Finding:
    try:
        compiler = find_compiler()
    except LussError:
        return Finding("g++", "missing", "not on PATH", _NOTHING, "apt-get install g++ (Debian, Ubuntu)")
    text = _output([compiler, "--version"])
    if text is None:
        return Finding("g++", "unusable", f"{compiler} does not run", _NOTHING, "put a working g++ first on PATH")
    return Finding("g++", "ok", f"{text.splitlines()[0]} at {compiler}")


def _numpy() -> Finding:
    version = _installed("numpy")
    if version is None:
        return Finding("NumPy", "missing", "not installed", "nothing runs", "pip install 'numpy<2'")
    if int(version.split(".")[0]) >= 2:
        return Finding("NumPy", "unusable", version, f"Jittor {JITTOR_VERSION} computes silently wrong results with NumPy 2", "pip install 'numpy<2'")
    return Finding("NumPy", "ok", version)


def _packages() -> Finding:
    names = ["pillow", "scipy", "faiss-cpu", "tqdm", "tensorboardX"] + (["tomli"] if sys.version_info < (3, 11) else [])
    versions = {name: _installed(name) for name in names}
    absent = [name for name, version in versions.items() if version is None]
    found = ", ".join(f"{name} {version}" for name, version in versions.items() if version)
    if absent:
        return Finding("packages", "missing", f"without {', '.join(absent)}", "stages that need them stop", f"pip install {' '.join(absent)}")
    return Finding("packages", "ok", found)


def _jittor() -> Finding:
    version = _installed("jittor")
    wanted = f"pip install jittor=={JITTOR_VERSION}"
    if version is None:
        return Finding("Jittor", "missing", "not installed", "nothing trains", wanted)
    if version != JITTOR_VERSION:
        return Finding("Jittor", "unusable", version, f"only {JITTOR_VERSION} was tested: its start-up is prepared for that one", wanted)
    return Finding("Jittor", "ok", version)


def _compiled() -> Finding:
    name = "Jittor's build"
    try:
        environment = prepare_environment()
        marker = Path(environment.home) / ".cache" / "jittor" / f"luss-ready-{build_key(environment)}"
    except (LussError, ImportError) as error:  # ImportError: NumPy itself is absent
        return Finding(name, "missing", str(error), "nothing trains", "mend what is missing above")
    if marker.exists():
        return Finding(name, "ok", f"compiled for this machine, in {environment.home}")
    cost = "2 to 4 minutes on two cores, once, at the first start"
    return Finding(name, "info", "not compiled for this machine yet", cost, "luss doctor --compile")


def _onednn() -> Finding:
    cost = "convolutions on the CPU run 15 to 130 times slower"
    found = find_onednn()
    if found:
        return Finding("oneDNN", "ok", os.path.realpath(found[1]))
    home = _cache_home()
    if home and place_onednn(home):
        return Finding("oneDNN", "ok", f"in Jittor's cache, {home}")
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return Finding("oneDNN", "missing", f"no wheel for {sys.platform} {platform.machine()}", cost)
    return Finding("oneDNN", "missing", "not installed", cost, "pip install onednn-cpu-gomp==2022.2.1 onednn-devel-cpu-gomp==2022.2.1")


def _cuda(cuda: CudaFinding) -> list[Finding]:
    """Driver, GPUs, compiler, cuDNN and NCCL. Without a GPU the rest is not asked for."""
    gpus = _gpus()
    driver = driver_present()
    findings = [
        Finding("CUDA driver", "ok", _driver_version() or "libcuda.so.1 loads")
        if driver
        else Finding("CUDA driver", "missing", "libcuda.so.1 does not load", _SLOW, "a machine with an NVIDIA GPU and its driver"),
        Finding("GPUs", "ok", "; ".join(gpus))
        if gpus
        else Finding("GPUs", "missing", "none seen by nvidia-smi", _SLOW, "a machine with an NVIDIA GPU"),
    ]
    nvcc = find_nvcc()
    version = nvcc_version(nvcc) if nvcc else None
    if nvcc is None:
        findings.append(Finding("nvcc", "missing", "not on PATH", "a GPU cannot be used", _TOOLKIT if driver else "only with a GPU: " + _TOOLKIT))
    elif version is None:
        findings.append(Finding("nvcc", "unusable", f"{nvcc} does not run", "a GPU cannot be used", _TOOLKIT))
    elif int(version.split(".")[0]) >= 13:
        findings.append(Finding("nvcc", "unusable", f"{version} at {nvcc}", f"Jittor {JITTOR_VERSION} does not compile against CUDA 13", _TOOLKIT))
    else:
        findings.append(Finding("nvcc", "ok", f"{version} at {nvcc}"))
    roots = [cuda.home] if cuda.home else []
    return findings + [_cudnn(roots), _nccl(roots)]


def _cudnn(roots: list[str]) -> Finding:
    library = _library("cudnn", roots)
    if library is None:
        return Finding("cuDNN", "missing", "libcudnn.so was not found", "no convolutions on a GPU", "only with a GPU: " + _TOOLKIT)
    found = re.search(r"\.so\.(\d+)", os.path.realpath(library))
    if found and int(found.group(1)) >= 9:
        return Finding("cuDNN", "unusable", library, f"Jittor {JITTOR_VERSION} looks for the libraries of cuDNN 8 by name", _TOOLKIT)
    return Finding("cuDNN", "ok", library)


def _nccl(roots: list[str]) -> Finding:
    library = _library("nccl", roots)
    if library:
        return Finding("NCCL", "ok", library)
    remedy = "only with several GPUs: apt-get install libnccl-dev"
    return Finding("NCCL", "missing", "libnccl.so was not found", "several GPUs cannot be used together", remedy)


def _mpi() -> Finding:
    mpirun, mpicc = shutil.which("mpirun"), shutil.which("mpicc")
    if mpirun and mpicc:
        text = _output([mpirun, "--version"]) or "mpirun"
        return Finding("MPI", "ok", f"{text.splitlines()[0]} at {mpirun}")
    absent = " and ".join(name for name, path in (("mpirun", mpirun), ("mpicc", mpicc)) if not path)
    remedy = "only with several GPUs: apt-get install libopenmpi-dev openmpi-bin"
    return Finding("MPI", "missing", f"{absent} not on PATH", "one process only", remedy)


def _machine() -> list[Finding]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = os.environ.get("OMP_NUM_THREADS")
    total, free = _memory()
    disk = shutil.disk_usage(os.getcwd())
    tight = "the demo needs up to 4 GiB" if total and free < 4 * GIB else ""
    return [
        Finding("cores", "info", f"{cores}" + (f", OMP_NUM_THREADS={threads}" if threads else "")),
        Finding("memory", "info", f"{free / GIB:.1f} of {total / GIB:.1f} GiB free" if total else "unknown", tight),
        Finding("disk", "info", f"{disk.free / GIB:.1f} of {disk.total / GIB:.1f} GiB free in {os.getcwd()}"),
    ]


def _cache() -> list[Finding]:
    try:
        home = cache_home()
    except LussError as error:
        return [Finding("cache", "unusable", str(error), _NOTHING, "set JITTOR_HOME to a writable folder")]
    findings = [Finding("cache", "ok", f"{home}, {shutil.disk_usage(home).free / GIB:.1f} GiB free")]
    foreign = Path.home() / ".cache" / "jittor" / "config.json"
    if foreign.is_file():
        text = "other Jittor programs may take their cache folder from it; luss does not"
        findings.append(Finding("Jittor's config", "info", f"{foreign} exists: {text}"))
    return findings


def _cache_home() -> str | None:
    try:
        return cache_home()
    except LussError:
        return None  # has a line of its own in the report


def _device(cuda: CudaFinding) -> Finding:
    return Finding("device", "info", f"{'CUDA' if cuda.usable else 'CPU'}: {cuda.reason}")


def _gpus() -> list[str]:
    text = _output(["nvidia-smi", "--query-gpu=index,name,memory.total", "--format=csv,noheader"])
    return [", ".join(part.strip() for part in line.split(",")) for line in (text or "").splitlines() if line.strip()]


def _driver_version() -> str | None:
    try:
        text = Path("/proc/driver/nvidia/version").read_text()
    except OSError:
        return None
    found = re.search(r"Kernel Module\S*\s+(?:for \S+\s+)?([\d.]+)", text)
    return found.group(1) if found else None


def _memory() -> tuple[int, int]:
    """(total, available) in bytes, within the limit of a container; zeros where the system does not say."""
    values = {"MemTotal": 0, "MemAvailable": 0}
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            name, _, rest = line.partition(":")
            if name in values:
                values[name] = int(rest.split()[0]) * 1024
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
        used = int(Path("/sys/fs/cgroup/memory.current").read_text())
    except (OSError, ValueError):
        return values["MemTotal"], values["MemAvailable"]
    if limit.isdigit() and int(limit) < values["MemTotal"]:
        return int(limit), min(values["MemAvailable"], max(0, int(limit) - used))
    return values["MemTotal"], values["MemAvailable"]


def _library(name: str, roots: list[str]) -> str | None:
    """Path (or, from the loader's cache, the name) of lib<name>.so*."""
    folders = [f"{root}/{lib}" for root in roots for lib in ("lib64", "lib")]
    folders += ["/usr/lib/*-linux-gnu", "/usr/lib64", "/usr/local/cuda/lib64", *filter(None, os.environ.get("LD_LIBRARY_PATH", "").split(":"))]
    for folder in folders:
        matches = sorted(glob.glob(f"{folder}/lib{name}.so*"))
        if matches:
            return matches[0]
    return ctypes.util.find_library(name)


def _installed(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _output(command: list[str]) -> str | None:
    """Standard output of a command that ends well within five seconds, else None."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 and done.stdout.strip() else None
