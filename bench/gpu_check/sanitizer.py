"""The small checks once more, in a process of their own under compute-sanitizer."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from .machine import ROOT
from .steps import Skip

FOUND_FAULT = 86  # exit code that we ask compute-sanitizer for
UNSUPPORTED = ("Device not supported", "not supported on this", "Unable to find injection")


def sanitizer() -> str | None:
    """Path of compute-sanitizer: PATH, then /usr/local/cuda."""
    for candidate in (shutil.which("compute-sanitizer"), "/usr/local/cuda/bin/compute-sanitizer"):
        if candidate and Path(candidate).is_file():
            return candidate
    return None


def sanitized(tool: str, seconds: float) -> dict:
    """Raises: RuntimeError with its report where it finds a fault; Skip where it is absent, refuses the card or is out of time."""
    path = sanitizer()
    if path is None:
        raise Skip("compute-sanitizer is absent")
    with tempfile.TemporaryDirectory() as folder:
        inner = [sys.executable, "-m", "bench.gpu_check", "--worker", "--out", folder, "--small", "--skip-times"]
        inner += ["--no-sanitizer", "--budget", str(seconds)]
        command = [path, "--tool", tool, "--error-exitcode", str(FOUND_FAULT), *inner]
        try:
            done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", timeout=seconds)
        except subprocess.TimeoutExpired:
            raise Skip(f"not done after {seconds:.0f} s") from None
    return judged(tool, done.returncode, done.stdout)


def judged(tool: str, code: int, text: str) -> dict:
    if any(words in text for words in UNSUPPORTED):
        raise Skip("compute-sanitizer does not support this card or machine")
    if code != 0:
        raise RuntimeError(f"{tool} ended with {code}:\n{text[-6000:]}")
    summary = [line for line in text.splitlines() if "SUMMARY" in line]
    if not summary:
        raise RuntimeError(f"{tool} gave no summary:\n{text[-2000:]}")
    return {"summary": summary[-1].split("SUMMARY:")[-1].strip()}
