"""What is prepared and refused before Jittor is imported. Jittor itself is not needed here."""

from __future__ import annotations

import builtins
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy
import pytest

from engine.runtime import jittor_setup
from engine.runtime.cuda import CudaFinding
from engine.runtime.errors import LussError, RuntimeSetupError


def environment(home) -> jittor_setup.JittorEnvironment:
    return jittor_setup.JittorEnvironment(str(home), CudaFinding(False, "a test"), False, "g++")


@pytest.fixture
def fresh(monkeypatch):
    """As in a process that has not loaded Jittor yet."""
    monkeypatch.setattr(jittor_setup, "_loaded", None)
    monkeypatch.setattr(jittor_setup, "_environment", None)
    monkeypatch.delitem(sys.modules, "jittor", raising=False)


@pytest.mark.parametrize("version", ["2.0.0", "2.5.2", "3.1"])
def test_numpy_2_is_refused_with_the_fix(monkeypatch, version):
    monkeypatch.setattr(numpy, "__version__", version)
    with pytest.raises(RuntimeSetupError, match=rf"NumPy {version}.*silently wrong.*pip install 'numpy<2'"):
        jittor_setup.check_numpy()
    monkeypatch.setattr(numpy, "__version__", "1.26.4")
    jittor_setup.check_numpy()


def test_setup_errors_are_the_users():
    assert issubclass(RuntimeSetupError, LussError)


def test_no_compiler(monkeypatch):
    monkeypatch.delenv("cc_path", raising=False)
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(RuntimeSetupError, match=r"g\+\+ was not found.*apt-get install g\+\+"):
        jittor_setup.find_compiler()
    monkeypatch.setenv("cc_path", "/opt/bin/g++")
    assert jittor_setup.find_compiler() == "/opt/bin/g++"


def test_cache_folder_is_the_first_writable_one(monkeypatch, tmp_path):
    monkeypatch.delenv("JITTOR_HOME", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert jittor_setup.cache_home() == str(tmp_path / "home" / ".cache" / "luss")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert jittor_setup.cache_home() == str(tmp_path / "xdg" / "luss")
    monkeypatch.setenv("JITTOR_HOME", str(tmp_path / "named"))
    assert jittor_setup.cache_home() == str(tmp_path / "named")


def test_read_only_home_falls_back_to_a_folder_of_the_user(monkeypatch, tmp_path):
    monkeypatch.delenv("JITTOR_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(jittor_setup.tempfile, "gettempdir", lambda: str(tmp_path / "temp"))
    monkeypatch.setattr(jittor_setup, "_writable", lambda path: str(path).startswith(str(tmp_path / "temp")))
    assert jittor_setup.cache_home() == str(tmp_path / "temp" / f"luss-cache-{os.getuid()}")


def test_nowhere_to_write_is_one_error(monkeypatch, tmp_path):
    monkeypatch.setattr(jittor_setup, "_writable", lambda path: False)
    monkeypatch.delenv("JITTOR_HOME", raising=False)
    with pytest.raises(RuntimeSetupError, match="no writable folder.*set JITTOR_HOME"):
        jittor_setup.cache_home()
    monkeypatch.setenv("JITTOR_HOME", str(tmp_path))
    with pytest.raises(RuntimeSetupError, match=rf"JITTOR_HOME={tmp_path} is not writable"):
        jittor_setup.cache_home()


def test_writable_tells_a_folder_from_a_file(tmp_path):
    assert jittor_setup._writable(str(tmp_path / "new" / "folder"))
    (tmp_path / "file").touch()
    assert not jittor_setup._writable(str(tmp_path / "file"))
    assert not jittor_setup._writable(str(tmp_path / "file" / "below"))


def test_python_config_answers_for_this_interpreter(tmp_path):
    script = jittor_setup.write_python_config(str(tmp_path))

    def answer(option):
        return subprocess.run([script, option], capture_output=True, text=True)

    include = answer("--includes").stdout.strip()
    assert include.startswith("-I") and (Path(include[2:]) / "Python.h").is_file()
    assert answer("--extension-suffix").stdout.strip() == sysconfig.get_config_var("EXT_SUFFIX")
    assert answer("--ldflags").returncode == 0
    assert answer("--nonsense").returncode != 0
    assert jittor_setup.write_python_config(str(tmp_path)) == script
    assert len(list(Path(script).parent.iterdir())) == 1  # written once, no temporary name left


def test_missing_headers_name_the_package(monkeypatch, tmp_path):
    monkeypatch.setattr(jittor_setup.sysconfig, "get_path", lambda *a, **k: str(tmp_path))
    with pytest.raises(RuntimeSetupError, match=rf"Python.h was not found in {tmp_path}.*python3\.\d+-dev"):
        jittor_setup.write_python_config(str(tmp_path))


def test_an_exit_during_the_import_is_an_error_not_success(fresh, monkeypatch, tmp_path):
    """A rebuilt cache makes Jittor print "please rerun" and exit with status 0."""
    seen = {}

    def importing(name, *args, real=builtins.__import__, **kwargs):
        if name == "jittor":
            seen["home"] = os.environ["HOME"]
            raise SystemExit(0)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(jittor_setup, "prepare_environment", lambda: environment(tmp_path))
    monkeypatch.setattr(jittor_setup, "_compile_once", lambda found: None)
    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.setattr(builtins, "__import__", importing)
    with pytest.raises(RuntimeSetupError, match="run the same command again"):
        jittor_setup.load_jittor()
    assert seen["home"] == str(tmp_path)  # Jittor's config.json must not land in the real home
    assert os.environ["HOME"] == "/home/someone"


def test_jittor_imported_by_somebody_else_is_refused(fresh, monkeypatch):
    monkeypatch.setitem(sys.modules, "jittor", object())
    with pytest.raises(RuntimeSetupError, match="before luss"):
        jittor_setup.prepare_environment()


def test_build_key_follows_what_makes_jittor_rebuild(monkeypatch, tmp_path):
    found = environment(tmp_path)
    monkeypatch.delenv("cc_flags", raising=False)
    key = jittor_setup.build_key(found)
    assert key == jittor_setup.build_key(found) and len(key) == 16
    monkeypatch.setenv("cc_flags", "-g")
    assert jittor_setup.build_key(found) != key


def test_a_compilation_that_never_reports_success_is_an_error(monkeypatch, tmp_path):
    runs = []
    (tmp_path / ".cache" / "jittor").mkdir(parents=True)
    monkeypatch.delenv("OMPI_COMM_WORLD_LOCAL_RANK", raising=False)
    monkeypatch.setattr(jittor_setup, "_run_showing_progress", lambda *a: runs.append(a) or "jit_utils updated, please rerun your command")
    with pytest.raises(RuntimeSetupError, match="(?s)three tries.*please rerun"):
        jittor_setup._compile_once(environment(tmp_path))
    assert len(runs) == 3
    assert (tmp_path / "jittor-compile.log").is_file()
    assert not list((tmp_path / ".cache" / "jittor").glob("luss-ready-*"))


def test_a_compilation_is_announced_once(monkeypatch, tmp_path, capsys):
    answers = ["please rerun your command", "jittor is up"]
    (tmp_path / ".cache" / "jittor").mkdir(parents=True)
    monkeypatch.delenv("OMPI_COMM_WORLD_LOCAL_RANK", raising=False)
    monkeypatch.setattr(jittor_setup, "_run_showing_progress", lambda *a: answers.pop(0))
    jittor_setup._compile_once(environment(tmp_path))
    said = capsys.readouterr().err
    assert said.count("compiling Jittor for this machine, once") == 1 and "minutes" in said and str(tmp_path) in said
    jittor_setup._compile_once(environment(tmp_path))  # the marker is there: nothing runs, nothing is said
    assert capsys.readouterr().err == "" and answers == []


def test_a_killed_child_and_ctrl_c_do_not_end_the_process():
    script = """
import os, signal, subprocess, sys
from engine.runtime import jt
float(jt.array([1.0]).sum().item())
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
child.kill()
print("child", child.wait())
try:
    os.kill(os.getpid(), signal.SIGINT)
    for _ in range(1000):
        pass
except KeyboardInterrupt:
    print("interrupted")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["child -9", "interrupted"]


def test_the_wrapper_does_not_depend_on_how_python_was_called(monkeypatch, tmp_path):
    names = set()
    for called in ("python", "python3"):
        monkeypatch.setattr(sys, "executable", str(Path(sys.prefix, "bin", called)))
        names.add(jittor_setup.write_python_wrapper(str(tmp_path)))
    assert len(names) == 1
    done = subprocess.run([*names, "-c", "import os, sys; print(sys.prefix, os.environ['HOME'])"], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [sys.prefix, str(tmp_path)]
