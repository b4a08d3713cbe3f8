import csv
import io
import os
import pickle
import warnings

import numpy as np
import pytest
from PIL import Image

from engine.data.decode import BadImages, UnreadableImage, decode_image, decode_rgb
from engine.runtime.errors import LussError
from tests.engine.data.samples import bomb, photo


def jpeg_bytes(image, **options):
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=95, **options)
    return stream.getvalue()


def test_rgb_jpeg_is_decoded_as_it_is(tmp_path):
    path = tmp_path / "a.JPEG"
    path.write_bytes(jpeg_bytes(photo(50, 40)))
    pixels = decode_rgb(str(path))
    assert pixels.shape == (40, 50, 3) and pixels.dtype == np.uint8 and pixels.flags.writeable
    assert np.abs(pixels.astype(int) - np.asarray(photo(50, 40))).mean() < 6


def test_grey_jpeg_gets_three_equal_channels(tmp_path):
    grey = photo(30, 20).convert("L")
    grey.save(tmp_path / "g.jpg", quality=95)
    pixels = decode_rgb(str(tmp_path / "g.jpg"))
    assert pixels.shape == (20, 30, 3)
    assert (pixels[..., 0] == pixels[..., 1]).all() and (pixels[..., 0] == pixels[..., 2]).all()
    assert np.abs(pixels[..., 0].astype(int) - np.asarray(grey)).mean() < 3


def test_cmyk_jpeg_keeps_its_colours(tmp_path):
    photo(30, 20).convert("CMYK").save(tmp_path / "c.jpg", quality=95)
    with Image.open(tmp_path / "c.jpg") as stored:
        assert stored.mode == "CMYK"
    assert np.abs(decode_rgb(str(tmp_path / "c.jpg")).astype(int) - np.asarray(photo(30, 20))).mean() < 8


def test_palette_with_transparency_bytes_alpha_and_bilevel(tmp_path):
    palette = photo(20, 10).convert("P")
    palette.save(tmp_path / "p.png", transparency=bytes(range(256)))
    with_alpha = photo(20, 10).convert("RGBA")
    with_alpha.putalpha(7)
    with_alpha.save(tmp_path / "a.png")
    photo(20, 10).convert("1").save(tmp_path / "b.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert (decode_rgb(str(tmp_path / "p.png")) == np.asarray(palette.convert("RGB"))).all()
        assert (decode_rgb(str(tmp_path / "a.png")) == np.asarray(photo(20, 10))).all()
        assert set(np.unique(decode_rgb(str(tmp_path / "b.png")))) == {0, 255}


def test_16_bit_grey_is_scaled_not_clipped(tmp_path):
    values = np.array([[0, 257, 32896], [65535, 300, 128]], np.uint16)
    Image.fromarray(values).save(tmp_path / "s.png")
    assert decode_rgb(str(tmp_path / "s.png"))[..., 1].tolist() == [[0, 1, 128], [255, 1, 0]]


def test_png_named_jpeg(tmp_path):
    photo(20, 10).save(tmp_path / "real.png")
    (tmp_path / "real.png").rename(tmp_path / "fake.JPEG")
    assert (decode_rgb(str(tmp_path / "fake.JPEG")) == np.asarray(photo(20, 10))).all()


def test_exif_orientation_is_ignored(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "e.jpg").write_bytes(jpeg_bytes(photo(50, 40), exif=exif.tobytes()))
    assert decode_image(str(tmp_path / "e.jpg")).size == (50, 40)


@pytest.mark.parametrize(
    ("content", "pattern"),
    [
        (b"", "empty file"),
        (b"<!DOCTYPE html><html><body>404</body></html>", "an HTML page, not an image"),
        (b"\n <html>moved</html>", "an HTML page"),
        (b"some text", "not an image of a known format"),
        (jpeg_bytes(photo(50, 40))[:900], "truncated"),
        (jpeg_bytes(photo(50, 40))[:-40], "truncated"),
        (jpeg_bytes(photo(50, 40))[:3], "not an image|truncated"),
    ],
)
def test_unreadable_files_say_why(tmp_path, content, pattern, capfd):
    path = tmp_path / "bad.JPEG"
    path.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UnreadableImage, match=f"bad.JPEG: unreadable image: .*({pattern})") as caught:
            decode_rgb(str(path))
    assert caught.value.path == str(path)
    assert capfd.readouterr() == ("", "")


def test_truncated_png_missing_file_folder_and_float_pixels(tmp_path):
    stream = io.BytesIO()
    photo(50, 40).save(stream, "PNG")
    (tmp_path / "t.png").write_bytes(stream.getvalue()[:2000])
    Image.fromarray(np.ones((4, 4), np.float32)).save(tmp_path / "f.tiff")
    for name, reason in [("t.png", "truncated"), ("none.png", "no such file"), (".", "Is a directory"), ("f.tiff", "floating-point")]:
        with pytest.raises(UnreadableImage, match=reason):
            decode_image(str(tmp_path / name))


def test_any_damage_is_an_unreadable_image_or_decodes(tmp_path):
    """Flipped bytes never let another kind of exception out."""
    rng = np.random.default_rng(0)
    png = io.BytesIO()
    photo(24, 18).save(png, "PNG")
    path = tmp_path / "x"
    for whole in (jpeg_bytes(photo(24, 18)), png.getvalue()):
        for _ in range(150):
            content = np.frombuffer(whole, np.uint8).copy()
            content[rng.integers(0, len(content), 3)] = rng.integers(0, 256, 3)
            path.write_bytes(content.tobytes())
            try:
                assert decode_rgb(str(path)).ndim == 3
            except UnreadableImage as error:
                assert error.reason


def test_unreadable_image_travels_between_processes():
    error = pickle.loads(pickle.dumps(UnreadableImage("/a.jpg", "truncated")))
    assert (error.path, error.reason, str(error)) == ("/a.jpg", "truncated", "/a.jpg: unreadable image: truncated")
    assert isinstance(error, LussError)


def read_csv(path):
    with open(path, newline="") as stream:
        return list(csv.reader(stream))


def test_bad_images_counts_each_file_once_and_lists_it(tmp_path):
    log = tmp_path / "logs" / "bad.csv"
    bad = BadImages(10_000, 0.001, str(log))
    for _ in range(3):
        bad.record("/a,b.jpg", 'say "no"')
    bad.record("/c.jpg", "empty file")
    assert bad.count == 2
    assert read_csv(log) == [["path", "reason"], ["/a,b.jpg", 'say "no"'], ["/c.jpg", "empty file"]]
    again = BadImages(10_000, 0.001, str(log))  # after a restart
    again.record("/c.jpg", "empty file")
    again.record("/d.jpg", "empty file")
    assert again.count == 2 and [row[0] for row in read_csv(log)] == ["path", "/a,b.jpg", "/c.jpg", "/d.jpg"]


def test_bad_images_stop_above_the_share(tmp_path):
    bad = BadImages(10_000, 0.001, str(tmp_path / "bad.csv"))
    for i in range(10):
        bad.record(f"/{i}.jpg", "truncated")
    with pytest.raises(LussError) as caught:
        bad.record("/10.jpg", "truncated")
    text = str(caught.value)
    for part in ("11 of 10000", "0.11%", "data.max_unreadable = 0.001", str(tmp_path / "bad.csv"), "/0.jpg (truncated); /1.jpg (truncated); /2.jpg"):
        assert part in text
    assert "/3.jpg" not in text and len(read_csv(tmp_path / "bad.csv")) == 12


def test_bad_images_always_tolerate_three(tmp_path):
    bad = BadImages(20, 0.001, str(tmp_path / "bad.csv"))
    for i in range(3):
        bad.record(f"/{i}.jpg", "truncated")
    with pytest.raises(LussError, match="4 of 20"):
        bad.record("/3.jpg", "truncated")


def test_bad_images_arguments(tmp_path):
    with pytest.raises(ValueError, match="limit_share=2"):
        BadImages(20, 2, str(tmp_path / "bad.csv"))


def test_a_pipe_is_not_waited_for_and_a_huge_image_is_not_decoded(tmp_path):
    os.mkfifo(tmp_path / "p.JPEG")
    with pytest.raises(UnreadableImage, match=r"p.JPEG: unreadable image: a named pipe, not a file"):
        decode_image(str(tmp_path / "p.JPEG"))
    (tmp_path / "b.JPEG").write_bytes(bomb(40_000, 40_000))
    with pytest.raises(UnreadableImage, match=r"b.JPEG: unreadable image: more than the 268,435,456 pixels that are decoded"):
        decode_image(str(tmp_path / "b.JPEG"))
