"""Laying the oneDNN wheel's files where Jittor looks for its download."""

from __future__ import annotations

import os

import pytest

from engine.runtime import onednn


def prefix(path):
    (path / "include" / "oneapi" / "dnnl").mkdir(parents=True)
    (path / "lib").mkdir()
    for name in ("include/dnnl.hpp", "include/dnnl_version.h", "include/oneapi/dnnl/dnnl.hpp", "include/other.h", "lib/libdnnl.so.2.6"):
        (path / name).write_text(f"{path.name} {name}")
    (path / "lib" / "libdnnl.so.2").symlink_to("libdnnl.so.2.6")
    return path


@pytest.fixture
def installed(tmp_path, monkeypatch):
    monkeypatch.setattr(onednn.glob, "glob", lambda pattern, real=onednn.glob.glob: [] if pattern.startswith("/usr") else real(pattern))
    monkeypatch.setattr(onednn.sys, "base_prefix", str(tmp_path / "nothing"))

    def install(name: str):
        monkeypatch.setattr(onednn.sys, "prefix", str(prefix(tmp_path / name)))

    return install


def test_placed_as_jittor_expects(installed, tmp_path):
    installed("venv")
    assert onednn.place_onednn(str(tmp_path / "home"))
    folder = tmp_path / "home" / ".cache" / "jittor" / "mkl" / "dnnl_lnx_2.2.0_cpu_gomp"
    assert (folder / "lib" / "libmkldnn.so").read_text() == (folder / "lib" / "libdnnl.so.2").read_text() == "venv lib/libdnnl.so.2.6"
    assert (folder / "include" / "dnnl.hpp").read_text() == "venv include/dnnl.hpp"
    assert (folder / "include" / "oneapi" / "dnnl" / "dnnl.hpp").is_file()
    assert sorted(path.name for path in (folder / "include").iterdir()) == ["dnnl.hpp", "dnnl_version.h", "oneapi"]


def test_again_changes_nothing_and_a_new_environment_replaces_the_links(installed, tmp_path):
    installed("old")
    home = str(tmp_path / "home")
    assert onednn.place_onednn(home) and onednn.place_onednn(home)
    library = tmp_path / "home" / ".cache" / "jittor" / "mkl" / onednn.EXPECTED_FOLDER / "lib" / "libmkldnn.so"
    assert os.readlink(library) == str(tmp_path / "old" / "lib" / "libdnnl.so.2.6")
    installed("new")
    assert onednn.place_onednn(home)
    assert os.readlink(library) == str(tmp_path / "new" / "lib" / "libdnnl.so.2.6")
    assert sorted(path.name for path in library.parent.iterdir()) == ["libdnnl.so.2", "libmkldnn.so"]  # no temporary names left


def test_absent_is_false_and_makes_nothing(installed, tmp_path, monkeypatch):
    monkeypatch.setattr(onednn.sys, "prefix", str(tmp_path / "empty"))
    assert onednn.find_onednn() is None
    assert not onednn.place_onednn(str(tmp_path / "home"))
    assert not (tmp_path / "home").exists()


def test_a_library_without_headers_does_not_count(installed, tmp_path, monkeypatch):
    installed("venv")
    (tmp_path / "venv" / "include" / "dnnl.hpp").unlink()
    assert onednn.find_onednn() is None
