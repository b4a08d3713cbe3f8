"""What machine this is, and what it can do at most: copy bandwidth and matrix rates."""

from __future__ import annotations

import datetime
import importlib
import platform
import subprocess
from pathlib import Path

from engine.runtime.cuda import find_nvcc, nvcc_version

from .gpu import seconds_of
from .steps import Skip

ROOT = Path(__file__).resolve().parent.parent.parent
_ASKED = "name,driver_version,compute_cap,memory.total,clocks.sm,clocks.max.sm,clocks.mem,power.limit,temperature.gpu"


def card() -> dict:
    """What nvidia-smi says; changes nothing on the card."""
    try:
        command = ["nvidia-smi", f"--query-gpu={_ASKED}", "--format=csv,noheader"]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    except FileNotFoundError:
        raise Skip("no nvidia-smi") from None
    if done.returncode != 0:
        raise RuntimeError(f"nvidia-smi: {done.stdout}")
    values = [value.strip() for value in done.stdout.splitlines()[0].split(",")]
    found = dict(zip(_ASKED.split(","), values))
    return {"card": found.pop("name"), **found}


def software() -> dict:
    found = {"date": datetime.date.today().isoformat(), "commit": commit(), "python": platform.python_version(), "kernel": platform.release()}
    nvcc = find_nvcc()
    found["nvcc"] = nvcc_version(nvcc) if nvcc else "absent"
    for name in ("torch", "cupy", "faiss", "numpy"):
        try:
            found[name] = getattr(importlib.import_module(name), "__version__", "?")
        except ImportError:
            found[name] = "absent"
    return found


def commit() -> str:
    try:
        done = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    except FileNotFoundError:
        return "?"
    return done.stdout.strip() or "?"


def limits(gpu, side: int = 8192, copied: int = 1 << 30) -> dict[str, float]:
    """"copy" in bytes a second, read and written; "fp32" (no tf32) and "fp16" (float32 accumulation) in operations a second."""
    function, moved = gpu.copy(copied)
    found = {"copy": moved / min(seconds_of(gpu, {"ours": function}, 10, 5)["ours"])}
    for name, dtype in (("fp32", "float32"), ("fp16", "float16")):
        function, operations = gpu.product(side, dtype)
        found[name] = operations / min(seconds_of(gpu, {"ours": function}, 10, 5)["ours"])
    return found
