from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from engine.runtime.errors import LussError
from engine.storage import atomic
from engine.storage.atomic import atomic_file, describe_bytes, read_json, remove_stale_temporaries, write_bytes, write_json
from tests.engine.storage.faults import failures, kills

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def patch_os(monkeypatch):
    return lambda name, function: monkeypatch.setattr(os, name, function)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_content_appears_only_at_the_end(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    with atomic_file(path) as stream:
        stream.write(b"new")
        stream.flush()
        assert path.read_bytes() == b"old"
        assert names(tmp_path) == ["a.bin", f"a.bin.tmp-{os.getpid()}"]
    assert path.read_bytes() == b"new" and names(tmp_path) == ["a.bin"]


def test_text_is_utf8_whatever_the_locale(tmp_path):
    with atomic_file(tmp_path / "a.txt", "w") as stream:
        stream.write("Müller\n")
    assert (tmp_path / "a.txt").read_bytes() == b"M\xc3\xbcller\n"


def test_an_exception_keeps_the_old_file_and_removes_the_temporary(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt), atomic_file(path) as stream:
        stream.write(b"half")
        raise KeyboardInterrupt
    assert path.read_bytes() == b"old" and names(tmp_path) == ["a.bin"]


def test_a_failure_of_any_call_leaves_old_or_new(tmp_path, patch_os):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    counts = []
    for n in failures(lambda: write_bytes(path, b"new content"), patch_os):
        assert path.read_bytes() in (b"old", b"new content")
        assert names(tmp_path) == ["a.bin"]
        counts.append(n)
    assert counts == [1, 2, 3, 4]  # the file's fsync, the rename, the folder's fsync, then success
    assert path.read_bytes() == b"new content"


def test_a_kill_before_any_call_leaves_old_or_new_and_its_temporary_is_swept(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    seen = set()
    for _ in kills(lambda: write_bytes(path, b"new content")):
        seen.add(path.read_bytes())
        remove_stale_temporaries(tmp_path)
        assert names(tmp_path) == ["a.bin"]
    assert seen == {b"old", b"new content"}


def test_stale_temporaries_go_and_those_of_living_processes_stay(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    inner = tmp_path / "class" / "deep"
    inner.mkdir(parents=True)
    left = inner / f"x.png.tmp-{dead.pid}"
    living, other = inner / f"y.png.tmp-{os.getpid()}", inner / "tmp-12"
    for path in (left, living, other):
        path.write_bytes(b"")
    assert remove_stale_temporaries(tmp_path) == [left]
    assert living.exists() and other.exists()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_is_said_in_words(tmp_path, number):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    with pytest.raises(LussError, match=r"a\.bin: no room to write it: needed 3\.0 kB, free .* make room") as caught, atomic_file(path, size=3072):
        raise OSError(number, os.strerror(number))
    assert caught.value.__cause__.errno == number
    assert path.read_bytes() == b"old" and names(tmp_path) == ["a.bin"]


def test_a_real_file_size_limit(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    script = (
        "import resource, sys\n"
        "from engine.storage.atomic import write_bytes\n"
        "from engine.runtime.errors import LussError\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))\n"
        "try:\n    write_bytes(sys.argv[1], bytes(1 << 20))\n"
        "except LussError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(path)], cwd=ROOT, capture_output=True, text=True)
    assert "no room" in done.stdout and "needed 1.0 MB" in done.stdout, done.stdout + done.stderr
    assert path.read_bytes() == b"old" and names(tmp_path) == ["a.bin"]


def test_an_error_of_the_block_that_is_not_ours_passes_through(tmp_path):
    with pytest.raises(FileNotFoundError), atomic_file(tmp_path / "a.bin"):
        open(tmp_path / "absent")


def test_an_absent_folder_is_named(tmp_path):
    with pytest.raises(LussError, match=r"x/a\.bin: cannot be written.*folder .*/x"):
        write_bytes(tmp_path / "x" / "a.bin", b"")


@pytest.mark.parametrize(("number", "kind", "words"), [(errno.ENOSPC, LussError, "needed an unknown amount"), (errno.EIO, OSError, "Input")])
def test_failures_to_open(tmp_path, monkeypatch, number, kind, words):
    def fail(*arguments, **keywords):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(atomic, "open", fail, raising=False)
    with pytest.raises(kind, match=words):
        write_bytes(tmp_path / "a", b"") if number == errno.EIO else atomic_file(tmp_path / "a").__enter__()


def test_a_full_disk_of_unknown_size(tmp_path, monkeypatch):
    def fail(folder):
        raise OSError(errno.EIO, "x")

    monkeypatch.setattr("shutil.disk_usage", fail)
    with pytest.raises(LussError, match="needed more than 5 bytes, free an unknown amount"), atomic_file(tmp_path / "a") as stream:
        stream.write(b"12345")
        stream.flush()
        raise OSError(errno.ENOSPC, "x")


@pytest.mark.parametrize("result", ["absent", "failing"])
def test_flushing_a_file_system(tmp_path, monkeypatch, result):
    class Library:
        pass

    if result == "failing":
        Library.syncfs = staticmethod(lambda handle: -1)
    called = []
    monkeypatch.setattr("ctypes.CDLL", lambda *arguments, **keywords: Library)
    monkeypatch.setattr("ctypes.get_errno", lambda: errno.EIO)
    monkeypatch.setattr(os, "sync", lambda: called.append(1))
    if result == "failing":
        with pytest.raises(OSError, match="Input/output"):
            atomic.flush_file_system(tmp_path)
    else:
        atomic.flush_file_system(tmp_path)
    assert called == ([1] if result == "absent" else [])


def test_a_process_of_someone_else_lives(monkeypatch):
    def kill(pid, number):
        raise PermissionError

    monkeypatch.setattr(os, "kill", kill)
    assert atomic.process_lives(1)


def test_an_unknown_mode_is_refused(tmp_path):
    with pytest.raises(ValueError, match="mode='ab'"), atomic_file(tmp_path / "a", "ab"):
        pass


def test_without_durable_nothing_is_flushed(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda handle: pytest.fail("fsync"))
    write_bytes(tmp_path / "a", b"1", durable=False)
    assert (tmp_path / "a").read_bytes() == b"1"
    monkeypatch.undo()
    atomic.flush_file_system(tmp_path)


def test_folders_that_cannot_be_flushed_are_accepted_and_real_failures_are_not(tmp_path, monkeypatch):
    def fail(number):
        def fsync(handle):
            raise OSError(number, os.strerror(number))

        return fsync

    monkeypatch.setattr(os, "fsync", fail(errno.EINVAL))
    atomic.flush_folder(tmp_path)
    monkeypatch.setattr(os, "fsync", fail(errno.EIO))
    with pytest.raises(OSError, match="Input/output"):
        atomic.flush_folder(tmp_path)


def test_json_round_trip_with_numpy_and_paths(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"n": np.int64(3), "f": np.float32(0.5), "a": np.arange(3), "p": Path("x/y"), "t": (1, 2), "ä": None, "b": np.bool_(True)})
    assert read_json(path) == {"n": 3, "f": 0.5, "a": [0, 1, 2], "p": "x/y", "t": [1, 2], "ä": None, "b": True}
    assert path.read_bytes().endswith(b"\n")


def test_json_of_an_undecodable_file_name_survives(tmp_path):
    name = os.fsdecode(b"n0\xff.JPEG")
    write_json(tmp_path / "a.json", {"file": name})
    assert read_json(tmp_path / "a.json") == {"file": name}


def test_what_has_no_json_form_is_refused_before_writing(tmp_path):
    with pytest.raises(ValueError, match=r"a\.json is not JSON.*object"):
        write_json(tmp_path / "a.json", {"x": object()})
    endless: list = []
    endless.append(endless)
    with pytest.raises(ValueError, match="Circular"):
        json.dumps(endless)
    with pytest.raises(ValueError):
        write_json(tmp_path / "a.json", endless)
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff\xfe", b'{"a": 1', b"[" * 3000000, b'["' + b"]" * 9000 + b'",' + b"[" * 9000, b'{"a":' * 501 + b"1" + b"}" * 501]
)
def test_a_broken_json_file_is_named(tmp_path, content):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(LussError, match=r"a\.json: not valid JSON.*delete it"):
        read_json(path)


def test_nested_json_and_brackets_in_text_are_fine(tmp_path):
    obj = {"a": [[[{"b": "[[[{"}]]] * 1000, "c": ']\\"[' * 5000}
    for _ in range(400):
        obj = [obj]
    write_json(tmp_path / "a.json", obj)
    assert read_json(tmp_path / "a.json") == obj


def test_an_absent_json_file_is_named(tmp_path):
    with pytest.raises(LussError, match=r"a\.json: cannot be read"):
        read_json(tmp_path / "a.json")


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 bytes"), (1023, "1023 bytes"), (1536, "1.5 kB"), (3 << 20, "3.0 MB"), (5 << 30, "5.0 GB"), (2 << 40, "2.0 TB")]
)
def test_bytes_in_words(count, text):
    assert describe_bytes(count) == text


@pytest.mark.parametrize("pid", [0x7FFFFFFF, 10**30])
def test_no_such_process(pid):
    assert not atomic.process_lives(pid)


def test_living_processes():
    assert atomic.process_lives(os.getpid()) and atomic.process_lives(1)
