"""What is said of a file without decoding it; and that nothing on a disk makes us wait for ever."""

import errno
import io
import os
import re
import socket
import struct
import tempfile
import zlib

import numpy as np
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from engine.data import image_file
from engine.data.image_file import MAX_PIXELS, Facts, open_regular, read_facts, stat_file
from engine.runtime.errors import LussError
from tests.engine.data.samples import bomb, photo, without_privileges
from tests.shared_folder import shared_path


def encoded(width, height, kind, **options):
    stream = io.BytesIO()
    photo(width, height).save(stream, kind, **options)
    return stream.getvalue()


def facts_of(path, content) -> Facts:
    path.write_bytes(content)
    return read_facts(str(path))


@settings(max_examples=40, deadline=None)
@given(width=st.integers(1, 90), height=st.integers(1, 90), kind=st.sampled_from(["JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM"]))
def test_size_time_and_checksum_of_any_kind(tmp_path_factory, width, height, kind):
    path = tmp_path_factory.mktemp("i") / "a.JPEG"
    content = encoded(width, height, kind)
    found = facts_of(path, content)
    assert found == Facts(len(content), path.stat().st_mtime_ns, xxhash.xxh3_64_intdigest(content), width, height)


def test_grey_cmyk_and_progressive_jpeg(tmp_path):
    for mode, options in (("L", {}), ("CMYK", {}), ("RGB", {"progressive": True})):
        photo(31, 17).convert(mode).save(tmp_path / "a.jpg", **options)
        found = read_facts(str(tmp_path / "a.jpg"))
        assert (found.width, found.height, found.reason) == (31, 17, "")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty file"),
        (b"some text", "not an image of a known format"),
        (b"\n<html>404</html>", "an HTML page, not an image"),
        (b"\xff\xd8\xff\xe0", "not an image of a known format|[Tt]runcated|No more data"),
        (bomb(40_000, 40_000), r"40000 x 40000 pixels, more than the 268,435,456 that are decoded"),
        (encoded(30, 20, "PNG")[:20], "not an image|[Tt]runcated|unpack"),
    ],
)
def test_a_broken_file_has_a_reason_and_keeps_size_and_checksum(tmp_path, content, reason):
    found = facts_of(tmp_path / "a.JPEG", content)
    assert re.search(reason, found.reason), found.reason
    assert found.bytes == len(content) and found.checksum == xxhash.xxh3_64_intdigest(content)


def test_any_damage_of_a_header_has_a_reason_or_a_size(tmp_path):
    rng = np.random.default_rng(0)
    for whole in (encoded(24, 18, "JPEG"), encoded(24, 18, "PNG")):
        for trial in range(300):
            content = np.frombuffer(whole, np.uint8)[: None if trial % 2 else rng.integers(1, len(whole))].copy()
            content[rng.integers(0, len(content), 4)] = rng.integers(0, 256, 4)
            found = facts_of(tmp_path / "a", content.tobytes())
            assert bool(found.reason) != bool(found.width and found.height) or "pixels" in found.reason


def test_png_bomb(tmp_path):
    head = b"IHDR" + struct.pack(">IIBBBBB", 40_000, 40_000, 8, 2, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head)) + encoded(9, 9, "PNG")[33:]
    assert facts_of(tmp_path / "a.png", content).reason == f"more than the {MAX_PIXELS:,} pixels that are decoded"


def test_pipes_folders_sockets_devices_and_nothing_are_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "dead").symlink_to(tmp_path / "gone")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        expected = {
            "pipe": "a named pipe, not a file",
            "folder": "Is a directory",
            "s": "a socket, not a file",
            "dead": "no such file",
            "none": "no such file",
            "/dev/zero": "a device, not a file",
        }
        for name, reason in expected.items():
            found = read_facts(str(tmp_path / name))
            assert (found.reason, found.bytes, found.checksum) == (reason, 0, 0)
            with pytest.raises(OSError):
                open_regular(str(tmp_path / name))
    assert stat_file(str(tmp_path / "none")) == (0, 0)
    assert stat_file(str(tmp_path / "folder")) == (0, (tmp_path / "folder").stat().st_mtime_ns)


def test_a_file_that_becomes_a_pipe_before_it_is_opened(tmp_path, monkeypatch):
    path = tmp_path / "a.JPEG"
    path.write_bytes(encoded(9, 9, "JPEG"))
    real = os.open

    def late(name, *rest):
        path.unlink()
        os.mkfifo(path)
        return real(name, *rest)

    monkeypatch.setattr(os, "open", late)
    assert read_facts(str(path)).reason == "a named pipe, not a file"


def test_no_permission():
    with tempfile.TemporaryDirectory() as folder:  # pytest's own folders are closed to others as a whole
        os.chmod(folder, 0o755)
        path = os.path.join(folder, "a.JPEG")
        with open(path, "wb") as stream:
            stream.write(encoded(9, 9, "JPEG"))
        os.chmod(path, 0)
        with without_privileges():
            found = read_facts(path)
        assert found.reason == "Permission denied" and found.bytes == os.path.getsize(path) and found.checksum == 0
        os.chmod(folder, 0)
        with without_privileges():
            assert read_facts(path) == Facts(0, 0, reason="Permission denied")


def test_a_file_that_grows_while_it_is_read(tmp_path, monkeypatch):
    path = tmp_path / "a.JPEG"
    path.write_bytes(encoded(9, 9, "JPEG"))
    real = image_file._read

    def read(handle, size):
        with open(path, "ab") as stream:
            stream.write(b"x")
        return real(handle, size)

    monkeypatch.setattr(image_file, "_read", read)
    assert read_facts(str(path)).reason == "it changes while it is read"


def test_a_file_larger_than_what_is_held_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(image_file, "_BLOCK", 1000)
    for kind in ("JPEG", "PNG", "TIFF"):
        content = encoded(120, 90, kind)
        assert len(content) > 2000
        found = facts_of(tmp_path / "a", content)
        assert (found.width, found.height, found.checksum) == (120, 90, xxhash.xxh3_64_intdigest(content)), kind


def test_no_file_handles_left_is_no_fault_of_the_image(tmp_path, monkeypatch):
    def none_left(*_):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    (tmp_path / "a").write_bytes(encoded(9, 9, "JPEG"))
    monkeypatch.setattr(os, "open", none_left)
    with pytest.raises(LussError, match="a: cannot be opened .Too many open files.*ulimit -n"):
        read_facts(str(tmp_path / "a"))


def test_header_and_decoder_agree_on_the_shared_photographs():
    for path in sorted(shared_path("data", "imagenet-samples").glob("*.JPEG"))[:20]:
        found = read_facts(str(path))
        with Image.open(path) as image:
            assert (found.width, found.height) == image.size and np.asarray(image).shape[:2] == (found.height, found.width)
