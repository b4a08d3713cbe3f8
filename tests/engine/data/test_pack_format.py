import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.data.pack_format import HEADER, PackSettings, expected_bytes, pack_identity, shard_bounds, shard_header
from engine.runtime.errors import LussError

SIDES = st.integers(1, 6000)
SETTINGS = st.builds(
    PackSettings,
    side=st.sampled_from(["longest", "shorter"]),
    length=st.integers(1, 600),
    encoding=st.sampled_from(["jpeg", "raw"]),
    quality=st.integers(1, 100),
    shard_bytes=st.integers(1, 1 << 20),
)


@given(SETTINGS, SIDES, SIDES)
def test_stored_size(settings, width, height):
    stored = settings.stored_size(width, height)
    chosen, original = (min(stored), min(width, height)) if settings.side == "shorter" else (max(stored), max(width, height))
    assert chosen == min(settings.length, original)
    assert 1 <= stored[0] <= width and 1 <= stored[1] <= height
    if stored != (width, height):  # the other side is rounded to the nearest pixel, but never to none
        scale = settings.length / original
        assert abs(stored[0] - width * scale) <= 0.5 + 1e-6 or stored[0] == 1
        assert abs(stored[1] - height * scale) <= 0.5 + 1e-6 or stored[1] == 1


def test_known_sizes():
    assert PackSettings("longest", 256).stored_size(500, 375) == (256, 192)
    assert PackSettings("shorter", 256).stored_size(500, 375) == (341, 256)
    assert PackSettings("longest", 256).stored_size(256, 100) == (256, 100)
    assert PackSettings("longest", 10).stored_size(5000, 1) == (10, 1)


@given(SETTINGS, st.lists(st.tuples(SIDES, SIDES, st.integers(0, 1 << 21)), min_size=1, max_size=50))
def test_shards_are_consecutive_runs_of_about_the_asked_size(settings, images):
    widths, heights, sizes = (np.array(values) for values in zip(*images))
    bounds = shard_bounds(widths.astype(np.uint32), heights.astype(np.uint32), sizes, settings)
    assert bounds[0] == 0 and bounds[-1] == len(images) and (np.diff(bounds) > 0).all()
    expected = expected_bytes(widths, heights, sizes, settings)
    if settings.encoding == "raw":
        assert expected.tolist() == [3 * w * h for w, h in (settings.stored_size(w, h) for w, h, _ in images)]
    for begin, end in zip(bounds[:-1], bounds[1:]):
        assert expected[begin : end - 1].sum() <= settings.shard_bytes


def test_an_unreadable_image_needs_no_room():
    assert expected_bytes(np.array([0, 10]), np.array([0, 10]), np.array([999, 50]), PackSettings()).tolist() == [0, 50]


def test_header_and_identity_tell_packs_apart():
    identities = {pack_identity(PackSettings(quality=q), m) for q in (90, 91) for m in ("a", "b")}
    assert len(identities) == 4
    headers = {shard_header(identity, number) for identity in identities for number in (0, 12345)}
    assert len(headers) == 8 and {len(header) for header in headers} == {HEADER}


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"side": "upper"}, "side 'upper': expected 'longest' or 'shorter'"),
        ({"encoding": "png"}, "format 'png': expected 'jpeg' or 'raw'"),
        ({"length": 0}, "side length 0: expected 1 to 65,500"),
        ({"quality": 101}, "quality 101: expected 1 to 100"),
        ({"shard_bytes": 0}, "shard size 0"),
    ],
)
def test_refusals(wrong, complaint):
    with pytest.raises(LussError, match=complaint):
        PackSettings(**wrong)
