"""The writer: the same pack whoever makes it, and however often it is killed on the way."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest

from engine.data.manifest_build import build_manifest
from engine.data.pack import expected_size, pack_images
from engine.data.pack_format import PackSettings
from engine.runtime import interrupt
from engine.runtime.errors import LussError
from tests.engine.data.samples import image_tree, photo

SETTINGS = PackSettings(length=48, shard_bytes=4000)

SCRIPT = """
import resource, sys
from engine.data.manifest import load_manifest
from engine.data.pack import pack_images
from engine.data.pack_format import PackSettings
from engine.runtime import interrupt
from engine.runtime.errors import LussError
if __name__ == "__main__":
    manifest, out, workers, limit = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    interrupt.install()
    if limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        pack_images(load_manifest(manifest), out, PackSettings(length=48, shard_bytes=4000), workers=workers)
    except LussError as error:
        sys.exit(str(error))
"""


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    place = tmp_path_factory.mktemp("source")
    root = image_tree(place / "set", per_class=40, size=(300, 240))
    (root / "train" / "n01" / "n01_3.JPEG").write_bytes(b"")
    return build_manifest(str(root), "train", place / "m")


@pytest.fixture(scope="module")
def whole(manifest, tmp_path_factory):
    """The files of the undisturbed pack."""
    return files(pack_images(manifest, tmp_path_factory.mktemp("whole") / "pack", SETTINGS, workers=0).path)


def files(folder) -> dict[str, bytes]:
    found = {}
    for name in sorted(os.listdir(folder)):
        with open(os.path.join(folder, name), "rb") as stream:
            found[name] = stream.read()
    return found


def begin(tmp_path, manifest, workers=2, limit=0) -> subprocess.Popen:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path))
    command = [sys.executable, str(script), manifest.path, str(tmp_path / "pack"), str(workers), str(limit)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)


def finished_shards(folder) -> int:
    return sum(name.endswith(".index") for name in os.listdir(folder)) if os.path.isdir(folder) else 0


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_the_pack_is_the_same_to_the_byte_for_any_number_of_workers(manifest, whole, tmp_path, workers):
    pack = pack_images(manifest, tmp_path / "pack", SETTINGS, workers=workers)
    assert files(pack.path) == whole
    assert len(whole) > 8 and len(pack) == 79 and pack.verify() == []
    assert [item.key for item in pack.items] == [item.key for item in manifest.items if item.key != "n01/n01_3.JPEG"]
    assert pack.manifest == manifest.fingerprint()


def test_killed_again_and_again_it_ends_in_the_same_pack(manifest, whole, tmp_path):
    folder = tmp_path / "pack"
    killed = 0
    for shards in (1, 3, 5):
        child = begin(tmp_path, manifest)
        while child.poll() is None and finished_shards(folder) < shards:
            time.sleep(0.002)
        child.send_signal(signal.SIGKILL)
        killed += child.wait() == -signal.SIGKILL
        child.stderr.close()
    assert killed >= 1
    kept = [name.replace(".index", ".pack") for name in os.listdir(folder) if re.fullmatch(r"shard-\d+\.index", name)]
    times = {name: os.stat(folder / name).st_mtime_ns for name in kept}
    assert files(pack_images(manifest, folder, SETTINGS, workers=0).path) == whole
    assert times == {name: os.stat(folder / name).st_mtime_ns for name in kept}  # not made again


def test_a_killed_worker_is_named_and_the_next_run_completes(manifest, whole, tmp_path):
    child = begin(tmp_path, manifest)
    worker = None
    while child.poll() is None and worker is None:
        names = os.listdir(tmp_path / "pack") if (tmp_path / "pack").exists() else []
        worker = next((int(name.rpartition("-")[2]) for name in names if name.startswith("shard") and ".tmp-" in name), None)
    os.kill(worker, signal.SIGKILL)
    text = child.communicate(timeout=120)[1]
    assert child.returncode == 1 and "a worker process died (of 2)" in text and "what is complete is kept" in text
    assert files(pack_images(manifest, tmp_path / "pack", SETTINGS, workers=0).path) == whole


@pytest.mark.parametrize("workers", [0, 2])
def test_no_room_is_named_nothing_is_lost_and_room_completes_it(manifest, whole, tmp_path, workers):
    largest = max(len(content) for name, content in whole.items() if name.startswith("shard"))
    child = begin(tmp_path, manifest, workers, limit=largest - 1)  # so that some shards fit and one does not
    text = child.communicate(timeout=120)[1]
    assert child.returncode == 1 and ".pack: no room to write it" in text and "Traceback" not in text
    assert not any(".tmp-" in name for name in os.listdir(tmp_path / "pack"))
    pack = pack_images(manifest, tmp_path / "pack", SETTINGS, workers=0)
    assert files(pack.path) == whole


@pytest.mark.parametrize("workers", [0, 2])
def test_ctrl_c_keeps_complete_shards(manifest, whole, tmp_path, workers):
    folder = tmp_path / "pack"
    child = begin(tmp_path, manifest, workers)
    while child.poll() is None and finished_shards(folder) < 1:
        time.sleep(0.002)
    child.send_signal(signal.SIGINT)
    text = child.communicate(timeout=120)[1]
    if child.returncode:  # else it was through before the signal came
        assert "Interrupted: " in text and "shards are complete, and kept" in text
        assert not (folder / "images.index").exists() and not any(".tmp-" in name for name in os.listdir(folder))
    assert files(pack_images(manifest, folder, SETTINGS, workers=0).path) == whole


def test_stopped_at_the_start(manifest, tmp_path, monkeypatch):
    monkeypatch.setattr(interrupt, "_requested", True)
    with pytest.raises(interrupt.Interrupted, match=r"^0 of \d+ shards are complete, and kept"):
        pack_images(manifest, tmp_path / "pack", SETTINGS, workers=0)
    assert os.listdir(tmp_path / "pack") == ["pack.json"]
    with pytest.raises(interrupt.Interrupted, match=r"^\d+ of \d+ shards are complete, and kept"):  # each worker may end the shard at hand
        pack_images(manifest, tmp_path / "pack", SETTINGS, workers=2)
    assert not any(name.startswith("images") or ".tmp-" in name for name in os.listdir(tmp_path / "pack"))


def test_half_done_shards_with_damage_are_made_again(manifest, whole, tmp_path, monkeypatch):
    monkeypatch.setattr("engine.data.pack._write_index", lambda job: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        pack_images(manifest, tmp_path / "pack", SETTINGS, workers=0)
    monkeypatch.undo()
    index = tmp_path / "pack" / "shard-00001.index"
    index.write_bytes(index.read_bytes()[:-9])
    shard = tmp_path / "pack" / "shard-00002.pack"
    shard.write_bytes(shard.read_bytes()[:-9])
    (tmp_path / "pack" / "shard-00003.pack").unlink()
    assert files(pack_images(manifest, tmp_path / "pack", SETTINGS, workers=0).path) == whole


def test_a_complete_pack_is_left_alone(manifest, whole, tmp_path):
    pack_images(manifest, tmp_path / "pack", SETTINGS, workers=0)
    times = {name: os.stat(tmp_path / "pack" / name).st_mtime_ns for name in whole}
    shutil.copy(tmp_path / "pack" / "images.index", tmp_path / "pack" / "shard-00000.index")  # as a kill between two last steps leaves it
    pack_images(manifest, tmp_path / "pack", SETTINGS, workers=0)
    assert times == {name: os.stat(tmp_path / "pack" / name).st_mtime_ns for name in os.listdir(tmp_path / "pack")}


def test_a_folder_that_holds_something_else(manifest, tmp_path):
    pack_images(manifest, tmp_path / "pack", SETTINGS, workers=0)
    with pytest.raises(LussError, match=r"holds a pack made otherwise \(settings .*'quality': 90.*now .*'quality': 70.*choose another folder"):
        pack_images(manifest, tmp_path / "pack", PackSettings(length=48, shard_bytes=4000, quality=70), workers=0)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("x")
    with pytest.raises(LussError, match=r"mine: not empty, and no pack in it"):
        pack_images(manifest, tmp_path / "mine", SETTINGS, workers=0)
    (tmp_path / "mine" / "pack.json").write_text("[]")
    with pytest.raises(LussError, match=r"pack.json: not the record of a pack"):
        pack_images(manifest, tmp_path / "mine", SETTINGS, workers=0)


def test_another_manifest_is_another_pack(tmp_path):
    root = image_tree(tmp_path / "set")
    pack_images(build_manifest(str(root), "train", tmp_path / "m"), tmp_path / "pack", workers=0)
    photo(30, 20).save(root / "train" / "n01" / "new.JPEG")
    with pytest.raises(LussError, match=r"holds a pack made otherwise \(manifest [0-9a-f]{32}, now [0-9a-f]{32}\)"):
        pack_images(build_manifest(str(root), "train", tmp_path / "m"), tmp_path / "pack", workers=0)


def test_the_expected_size_of_raw_pixels_is_exact(manifest, tmp_path):
    settings = PackSettings(encoding="raw", length=48)
    pack = pack_images(manifest, tmp_path / "pack", settings, workers=0)
    assert pack.bytes == expected_size(manifest, settings) + 64
