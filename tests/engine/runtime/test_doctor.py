"""The doctor must answer on any machine, quickly, and without Jittor."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from engine.runtime import doctor
from engine.runtime.doctor import Finding, format_json, format_table

ROOT = Path(__file__).resolve().parents[3]
NAMES = {"Python", "Python.h", "g++", "NumPy", "packages", "Jittor", "Jittor's build", "oneDNN", "CUDA driver", "nvcc", "cuDNN", "NCCL", "MPI"}
NAMES |= {"GPUs", "memory", "disk", "cores", "cache", "device"}


def run_doctor(*words: str, **variables: str) -> subprocess.CompletedProcess:
    kept = {name: value for name, value in os.environ.items() if name not in ("cc_path", "nvcc_path", "python_config_path", "LD_LIBRARY_PATH")}
    return subprocess.run(
        [sys.executable, "-m", "luss.cli", "doctor", *words], env={**kept, **variables}, cwd=ROOT, capture_output=True, text=True, timeout=60
    )


def findings(done: subprocess.CompletedProcess) -> dict[str, dict]:
    assert done.returncode == 0, done.stderr
    return {finding["name"]: finding for finding in json.loads(done.stdout)["findings"]}


def test_bare_machine(tmp_path):
    begin = time.perf_counter()
    done = run_doctor("--json", PATH="/nonexistent", HOME=str(tmp_path), JITTOR_HOME=str(tmp_path / "cache"))
    assert time.perf_counter() - begin < 10
    found = findings(done)
    assert set(found) >= NAMES
    assert json.loads(done.stdout)["ready"] is False
    assert found["g++"]["status"] == "missing" and "apt-get install g++" in found["g++"]["remedy"]
    assert found["Jittor's build"]["status"] == "missing" and found["MPI"]["status"] == "missing"
    assert found["device"]["found"].startswith(("CPU", "CUDA"))
    for finding in found.values():
        assert finding["status"] in ("ok", "missing", "unusable", "info")
        assert finding["found"]
        if finding["status"] in ("missing", "unusable"):
            assert finding["costs"], finding


def test_this_machine_with_an_empty_cache(tmp_path):
    found = findings(run_doctor("--json", JITTOR_HOME=str(tmp_path), LUSS_DEVICE="cpu"))
    assert found["Python"]["status"] == found["NumPy"]["status"] == found["Jittor"]["status"] == found["g++"]["status"] == "ok"
    assert found["Jittor's build"]["status"] == "info" and "not compiled" in found["Jittor's build"]["found"]
    assert found["device"]["found"] == "CPU: LUSS_DEVICE=cpu asks for the CPU"
    assert found["cache"]["found"].startswith(str(tmp_path))


def test_unwritable_cache_is_a_finding(tmp_path):
    (tmp_path / "file").touch()
    found = findings(run_doctor("--json", JITTOR_HOME=str(tmp_path / "file")))
    assert found["cache"]["status"] == "unusable" and "JITTOR_HOME" in found["cache"]["found"]
    assert found["Jittor's build"]["status"] == "missing"


def test_table_on_stdout():
    done = run_doctor(LUSS_DEVICE="cpu")
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert any(line.startswith("g++ ") for line in lines)
    assert lines[-1] == "ready to train" or lines[-1].startswith("not ready: ")


def test_jittor_is_not_imported():
    script = "import sys; from engine.runtime.doctor import collect; collect(); print('jittor' in sys.modules, 'numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.split()[0] == "False"


def test_table_is_aligned_and_names_cost_and_remedy():
    compiler = Finding("g++", "missing", "not on PATH", "nothing trains", "apt-get install g++")
    table = format_table([compiler, Finding("device", "info", "CPU: a test")])
    assert table.splitlines() == [
        "g++     missing   not on PATH",
        "                  costs: nothing trains",
        "                  get it: apt-get install g++",
        "device  info      CPU: a test",
        "",
        "not ready: g++",
    ]


def test_json_says_whether_it_is_ready():
    assert json.loads(format_json([Finding("NCCL", "missing", "x"), Finding("NumPy", "ok", "1.26.4")]))["ready"] is True
    assert json.loads(format_json([Finding("NumPy", "unusable", "2.0.0")]))["ready"] is False


@pytest.mark.parametrize(("version", "status"), [("1.26.4", "ok"), ("2.0.0", "unusable"), (None, "missing")])
def test_numpy_versions(monkeypatch, version, status):
    monkeypatch.setattr(doctor, "_installed", lambda name: version)
    assert doctor._numpy().status == status


def test_an_installation_without_numpy_is_still_reported(monkeypatch):
    def absent():
        raise ModuleNotFoundError("No module named 'numpy'")

    monkeypatch.setattr(doctor, "prepare_environment", absent)
    finding = doctor._compiled()
    assert finding.status == "missing" and "numpy" in finding.found


@pytest.mark.parametrize(("name", "status"), [("libcudnn.so.8.9.7", "ok"), ("libcudnn.so.9.1.0", "unusable"), ("other.so", "missing")])
def test_cudnn_versions(monkeypatch, tmp_path, name, status):
    (tmp_path / "lib64").mkdir()
    (tmp_path / "lib64" / name).touch()
    if status != "missing":
        (tmp_path / "lib64" / "libcudnn.so").symlink_to(name)
    monkeypatch.setattr(doctor.glob, "glob", lambda pattern, real=doctor.glob.glob: real(pattern) if pattern.startswith(str(tmp_path)) else [])
    monkeypatch.setattr(doctor.ctypes.util, "find_library", lambda name: None)
    assert doctor._cudnn([str(tmp_path)]).status == status


def test_a_tool_that_hangs_or_fails_is_not_waited_for(tmp_path):
    assert doctor._output(["/nonexistent/tool"]) is None
    assert doctor._output([sys.executable, "-c", "raise SystemExit(3)"]) is None
    assert doctor._output([sys.executable, "-c", "print('yes')"]) == "yes\n"
