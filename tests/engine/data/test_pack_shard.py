"""One shard: which images are stored how."""

import io
import os

import numpy as np
import pytest
import simplejpeg
from PIL import Image

from engine.data.decode import decode_rgb
from engine.data.manifest_build import build_manifest
from engine.data.pack import pack_images
from engine.data.pack_format import PackSettings
from engine.runtime.errors import LussError
from tests.engine.data.samples import photo


@pytest.fixture
def folder(tmp_path):
    """A folder whose images come in the order of their names."""
    place = tmp_path / "set" / "train" / "c"
    place.mkdir(parents=True)
    return place


def packed(tmp_path, **settings):
    manifest = build_manifest(str(tmp_path / "set"), "train", tmp_path / "m")
    return pack_images(manifest, tmp_path / "pack", PackSettings(**settings), workers=0)


def test_small_jpeg_files_stay_as_they_are_to_the_byte(folder, tmp_path):
    photo(64, 40).save(folder / "a.jpg", quality=35)
    photo(40, 30).convert("L").save(folder / "b.jpg")
    pack = packed(tmp_path, length=64)
    assert pack.untouched.tolist() == [True, True]
    for i, name in enumerate("ab"):
        assert bytes(pack.record(i).data) == (folder / f"{name}.jpg").read_bytes()
    assert pack.image(1).shape == (30, 40, 3)


def test_what_the_reader_could_not_decode_is_encoded_anew(folder, tmp_path):
    photo(64, 40).convert("CMYK").save(folder / "a.jpg", quality=95)
    photo(64, 40).save(folder / "b.png")
    photo(64, 40).convert("P").save(folder / "c.gif")
    pack = packed(tmp_path, length=64)
    assert not pack.untouched.any()
    for i, name in enumerate(("a.jpg", "b.png", "c.gif")):
        assert bytes(pack.record(i).data)[:2] == b"\xff\xd8"
        # JPEG at quality 90 of this noisy picture is off by 3 to 5 grey values in the mean; another picture by about 60
        assert np.abs(pack.image(i).astype(int) - decode_rgb(str(folder / name))).mean() < 8


def test_large_images_are_shrunk_with_their_shape_kept(folder, tmp_path):
    photo(300, 200).save(folder / "a.jpg", quality=95)
    pack = packed(tmp_path, length=100)
    record = pack.record(0)
    assert (record.width, record.height, record.original) == (100, 67, (300, 200)) and not pack.untouched[0]
    height, width, space, chroma = simplejpeg.decode_jpeg_header(record.data)
    assert (width, height, space, chroma) == (100, 67, "YCbCr", "444")
    exact = photo(300, 200).resize((100, 67), Image.Resampling.LANCZOS)
    assert np.abs(pack.image(0).astype(int) - np.asarray(exact)).mean() < 6


def test_raw_pixels_are_exactly_the_resized_image(folder, tmp_path):
    photo(300, 200).save(folder / "a.png")
    photo(30, 20).save(folder / "b.png")
    pack = packed(tmp_path, encoding="raw", side="shorter", length=50)
    assert pack.image(0).shape == (50, 75, 3) and len(pack.record(0).data) == 50 * 75 * 3
    assert (pack.image(0) == np.asarray(photo(300, 200).resize((75, 50), Image.Resampling.LANCZOS))).all()
    assert (pack.image(1) == np.asarray(photo(30, 20))).all()


def test_quality_is_obeyed(folder, tmp_path):
    photo(200, 150).save(folder / "a.png")
    manifest = build_manifest(str(tmp_path / "set"), "train", tmp_path / "m")
    sizes = [pack_images(manifest, tmp_path / f"{q}", PackSettings(length=100, quality=q), workers=0).bytes for q in (30, 90)]
    assert sizes[0] < sizes[1]


def test_images_that_cannot_be_decoded_are_left_out_and_listed(folder, tmp_path):
    photo(64, 40).save(folder / "a.jpg")
    stream = io.BytesIO()
    photo(64, 40).save(stream, "JPEG")
    (folder / "b.jpg").write_bytes(stream.getvalue()[: len(stream.getvalue()) // 2])  # its header is good, so the manifest has it as readable
    (folder / "c.jpg").write_bytes(b"")
    photo(64, 41).save(folder / "d.jpg")
    pack = packed(tmp_path, length=30)
    assert [item.key for item in pack.items] == ["c/a.jpg", "c/d.jpg"] and pack.source.tolist() == [0, 3]
    assert [key for key, _ in pack.unreadable()] == ["c/b.jpg", "c/c.jpg"]
    assert "truncated" in pack.unreadable()[0][1].lower() and pack.unreadable()[1][1] == "empty file"
    assert pack.verify() == []


def test_no_image_at_all(folder, tmp_path):
    (folder / "a.jpg").write_bytes(b"x")
    with pytest.raises(LussError, match=r"none of the 1 images can be read, the first is c/a.jpg .not an image"):
        packed(tmp_path)


@pytest.mark.parametrize(("what", "complaint"), [("another", "its content is another"), ("gone", "No such file"), ("pipe", "a named pipe")])
def test_an_image_that_changed_since_it_was_indexed_is_named(folder, tmp_path, what, complaint):
    photo(64, 40).save(folder / "a.jpg")
    manifest = build_manifest(str(tmp_path / "set"), "train", tmp_path / "m")
    os.remove(folder / "a.jpg")
    if what == "another":
        photo(64, 40, seed=1).save(folder / "a.jpg")
    elif what == "pipe":
        os.mkfifo(folder / "a.jpg")
    with pytest.raises(LussError, match=f"a.jpg: {complaint}.*bring it up to date with luss data index"):
        pack_images(manifest, tmp_path / "pack", workers=0)
