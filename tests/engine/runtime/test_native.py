"""Compiling and loading a C++ source: once, for this processor, whatever is changed, killed or broken in between."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from engine.runtime.errors import RuntimeSetupError
from engine.runtime.native import load_native, sources


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("JITTOR_HOME", str(tmp_path / "home"))
    load_native.cache_clear()
    return tmp_path


def write(folder: Path, value: str = "40 + EXTRA", extra: str = "2") -> Path:
    (folder / "include" / "deep").mkdir(parents=True, exist_ok=True)
    (folder / "include" / "deep" / "extra.h").write_text(f"#define EXTRA {extra}\n")
    (folder / "include" / "near.h").write_text('#include "deep/extra.h"\n')
    source = folder / "answer.cc"
    source.write_text(f'#include "near.h"\n#include <cstdint>\nextern "C" int answer() {{ return {value}; }}\n')
    return source


def answer(folder: Path) -> int:
    load_native.cache_clear()  # as a new process would
    return load_native(folder / "answer.cc", (folder / "include",)).answer()


def libraries(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "home" / "native").iterdir())


def test_compiled_once_and_again_only_when_a_source_or_a_header_changes(folder, capfd):
    source = write(folder)
    assert answer(folder) == 42
    assert "luss: compiling answer.cc" in capfd.readouterr().err
    assert answer(folder) == 42 and capfd.readouterr().err == ""
    write(folder, extra="3")
    assert answer(folder) == 43
    write(folder, value="7")
    assert answer(folder) == 7
    assert len(libraries(folder)) == 3
    assert [path.name for path in sources(source, (folder / "include",))] == ["answer.cc", "near.h", "extra.h"]


def test_what_the_compiler_says_is_in_the_error_and_nothing_is_left(folder):
    source = write(folder, value="no_such_name")
    with pytest.raises(RuntimeSetupError, match="(?s)answer.cc.*failed with status 1.*no_such_name"):
        load_native(source, (folder / "include",))
    assert libraries(folder) == []


def test_no_compiler(folder, monkeypatch):
    monkeypatch.setenv("cc_path", str(folder / "absent"))
    with pytest.raises(RuntimeSetupError, match="absent --version failed"):
        load_native(write(folder), (folder / "include",))


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty"])
def test_a_damaged_library_is_compiled_again(folder, damage, capfd):
    write(folder)
    assert start(folder).communicate()[0] == "42\n"  # by another process: what this one has loaded stays loaded
    path = folder / "home" / "native" / libraries(folder)[0]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes({"truncated": content[: len(content) // 2], "flipped": content, "empty": b""}[damage])
    assert answer(folder) == 42
    assert "compiling answer.cc" in capfd.readouterr().err


def test_a_library_that_does_not_load_is_named(folder, monkeypatch):
    """It compiles, but a symbol that nobody has is needed."""
    source = folder / "answer.cc"
    source.write_text('extern "C" int nobody_has_this();\nint first = nobody_has_this();\nextern "C" int answer() { return first; }\n')
    with pytest.raises(RuntimeSetupError, match="answer-.*does not load.*nobody_has_this"):
        load_native(source)


CHILD = """
import sys
from pathlib import Path
from engine.runtime.native import load_native
print(load_native(Path(sys.argv[1]), (Path(sys.argv[2]),)).answer())
"""


def start(folder: Path) -> subprocess.Popen:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", CHILD, str(folder / "answer.cc"), str(folder / "include")]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_three_processes_at_once(folder):
    write(folder)
    children = [start(folder) for _ in range(3)]
    assert [child.communicate()[0] for child in children] == ["42\n"] * 3
    assert len(libraries(folder)) == 1


def test_a_killed_compilation_leaves_nothing_that_is_taken_for_a_library(folder, monkeypatch):
    """The compiler is wrapped so that it writes half a file and waits; then our process is killed."""
    write(folder)
    slow = folder / "slow-g++"
    slow.write_text(
        '#!/bin/sh\nif [ "$1" = --version ]; then exec g++ --version; fi\n'
        'for last; do :; done\nprintf half > "$last"\necho $$ > "$PID_FILE"\nexec sleep 60\n'
    )
    slow.chmod(0o755)
    marker = folder / "pid"
    monkeypatch.setenv("cc_path", str(slow))
    monkeypatch.setenv("PID_FILE", str(marker))
    child = start(folder)
    while not (marker.exists() and marker.read_text().strip()):
        assert child.poll() is None
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    child.wait()
    os.kill(int(marker.read_text()), signal.SIGKILL)
    child.stdout.close()
    child.stderr.close()
    left = libraries(folder)
    assert len(left) == 1 and ".tmp-" in left[0]
    monkeypatch.delenv("cc_path")
    assert answer(folder) == 42


def test_subnormal_numbers_survive_loading(folder):
    """-Ofast would link code that makes the loading thread take them for 0."""
    write(folder)
    assert answer(folder) == 42
    assert ctypes.c_float(1e-40).value * 1.0 > 0 and 5e-324 * 1.0 > 0
