import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ImageFilter

from engine.data.decode import UnreadableImage, decode_bytes
from engine.data.jpeg import EncodedImage
from tests.engine.data.samples import photo
from tests.shared_folder import shared_path


def encoded(image, kind="JPEG", **options):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def memory(count):
    return np.empty(count, np.uint8)


def decoded(data, reduction=1):
    return EncodedImage(data, "a.jpg").decode(memory, reduction)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 90), st.integers(1, 90), st.sampled_from([0, 1, 2]), st.sampled_from([30, 75, 95]), st.booleans(), st.booleans())
def test_same_pixels_as_pillow(width, height, subsampling, quality, progressive, grey):
    image = photo(width, height, seed=width)
    data = encoded(image.convert("L") if grey else image, quality=quality, subsampling=subsampling, progressive=progressive)
    opened = EncodedImage(data, "a.jpg")
    assert (opened.width, opened.height) == opened.original == (width, height) and opened._turbo
    assert np.array_equal(opened.decode(memory), np.asarray(decode_bytes(data, "a.jpg")))


def test_same_pixels_as_pillow_on_photographs():
    for path in sorted(shared_path("data", "imagenet-samples").glob("*.JPEG"))[::9]:
        data = path.read_bytes()
        assert np.array_equal(decoded(data), np.asarray(decode_bytes(data, str(path)))), path


@pytest.mark.parametrize("kind", ["PNG", "BMP", "GIF", "WEBP", "PPM"])
def test_other_formats_are_pillows(kind):
    data = encoded(photo(31, 17), kind)
    assert np.array_equal(decoded(data, 4), np.asarray(decode_bytes(data, "a")))  # and are not reduced


def test_cmyk_is_pillows():
    data = encoded(photo(31, 17).convert("CMYK"))
    assert not EncodedImage(data, "a")._turbo and np.array_equal(decoded(data), np.asarray(decode_bytes(data, "a")))


@pytest.mark.parametrize("divisor", [2, 4, 8])
@pytest.mark.parametrize("size", [(64, 48), (97, 61), (5, 3)])
def test_reduced_pixels_are_averages(divisor, size):
    smooth = photo(*size, seed=2).filter(ImageFilter.BoxBlur(4))
    data = encoded(smooth, quality=98, subsampling=0)
    small = decoded(data, divisor)
    rows, columns = -(-size[1] // divisor), -(-size[0] // divisor)
    assert small.shape == (rows, columns, 3)
    full = np.asarray(decode_bytes(data, "a"), float)
    full = np.pad(full, [(0, rows * divisor - size[1]), (0, columns * divisor - size[0]), (0, 0)], "edge")
    average = full.reshape(rows, divisor, columns, divisor, 3).mean((1, 3))
    assert np.abs(small - average).mean() < 3  # levels: JPEG blocks at the border hold what the encoder padded them with


def test_memory_of_the_caller_is_used():
    arena = np.zeros(100_000, np.uint8)
    pixels = EncodedImage(encoded(photo(40, 30)), "a").decode(lambda count: arena[64 : 64 + count])
    assert np.shares_memory(pixels, arena) and arena[64 : 64 + 3600].any() and not arena[64 + 3600 :].any()


def test_what_is_damaged_is_left_to_pillow():
    whole = encoded(photo(90, 70), quality=95)
    for keep in (2, 20, 200, len(whole) // 2):
        with pytest.raises(UnreadableImage, match="bad.jpg"):
            EncodedImage(whole[:keep], "bad.jpg").decode(memory)
    trailing = whole[:-2] + b"\x00\x12" + whole[-2:]  # Pillow reads past such bytes
    assert np.array_equal(decoded(trailing), np.asarray(decode_bytes(trailing, "a")))
    for seed in range(40):
        rng = np.random.default_rng(seed)
        damaged = bytearray(whole)
        for place in rng.integers(2, len(whole), 5):
            damaged[place] ^= 1 << int(rng.integers(8))
        try:
            expected = np.asarray(decode_bytes(bytes(damaged), "a"))
        except UnreadableImage:
            with pytest.raises(UnreadableImage):
                decoded(bytes(damaged))
        else:
            assert decoded(bytes(damaged)).shape == expected.shape


def test_a_header_that_claims_too_many_pixels_is_refused():
    data = bytearray(encoded(photo(40, 30)))
    place = data.index(b"\xff\xc0") + 5
    data[place : place + 4] = (40_000).to_bytes(2, "big") * 2
    with pytest.raises(UnreadableImage, match="bomb.jpg: unreadable image: 40000 x 40000 pixels, more than the 268,435,456 that are decoded"):
        EncodedImage(bytes(data), "bomb.jpg")


def test_a_size_that_differs_from_the_header_is_refused():
    opened = EncodedImage(encoded(photo(40, 30), "PNG"), "odd.png")
    opened.width = 41
    with pytest.raises(UnreadableImage, match="odd.png: unreadable image: decodes to 40x30 pixels, its header promises 41x30"):
        opened.decode(memory)
