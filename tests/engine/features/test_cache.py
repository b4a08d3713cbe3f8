from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.features import DamagedShard, FeatureCache, FeatureWriter
from engine.runtime.errors import LussError
from tests.engine.features.samples import DIM, ROW, SMALL, flip, vectors, write


@st.composite
def histories(draw):
    """What each process appends: [[(ids of a call, flush after it?)]], with options of the writers; images repeat across calls and processes."""
    many = draw(st.booleans())
    calls = []
    for _ in range(draw(st.integers(1, 3))):
        process, last = [], None  # the image that the latest rows belong to
        for _ in range(draw(st.integers(0, 5))):
            images = draw(st.lists(st.integers(0, 40), max_size=12, unique=many))
            ids = [image for image in images for _ in range(draw(st.integers(1, 4)) if many else 1)]
            if not (many and ids and ids[0] == last):
                process.append((ids, draw(st.booleans())))
                last = ids[-1] if ids else last
        calls.append(process)
    options = {
        "vectors": "many" if many else "one",
        "dtype": draw(st.sampled_from(["float16", "float32"])),
        "shard_bytes": draw(st.integers(4, 30)) * ROW,
        "block_bytes": draw(st.integers(1, 40)) * ROW,
    }
    return calls, options


def expected_rows(calls, options, x):
    """The first place of each image, by process, call and place in it."""
    found: dict[int, list[np.ndarray]] = {}
    number = 0
    for process in calls:
        for ids, _ in process:
            begun: set[int] = set()
            for image in ids:
                if options["vectors"] == "many" and image in begun:
                    found[image].append(x[number])
                elif image not in found:
                    found[image] = [x[number]]
                    begun.add(image)
                number += 1
    ids = [image for image in sorted(found) for _ in found[image]]
    rows = [row for image in sorted(found) for row in found[image]]
    return np.array(ids, np.uint32), np.array(rows, x.dtype).reshape(-1, x.shape[1]).astype(options["dtype"])


@settings(max_examples=60, deadline=None)  # files are written: the time of one example says nothing
@given(histories(), st.data())
def test_what_is_appended_comes_back_in_order_of_images(history, data):
    calls, options = history
    x = vectors(max(1, sum(len(ids) for process in calls for ids, _ in process)))
    with tempfile.TemporaryDirectory() as folder:
        number = 0
        for rank, process in enumerate(calls):
            with FeatureWriter(folder, DIM, rank=rank, **options) as writer:
                for ids, flush in process:
                    writer.append(np.array(ids, np.int64), x[number : number + len(ids)])
                    number += len(ids)
                    if flush:
                        writer.flush()
        ids, rows = expected_rows(calls, options, x)
        cache = FeatureCache(folder, verify=data.draw(st.sampled_from(["lazy", "full", "none"])))
        np.testing.assert_array_equal(cache.ids, ids)
        np.testing.assert_array_equal(cache.load(), rows)
        size, ahead = data.draw(st.integers(1, 50)), data.draw(st.integers(1, 3))
        blocks = [(first, block.copy()) for first, block in cache.blocks(size, ahead=ahead)]
        assert [first for first, _ in blocks] == list(range(0, len(rows), size))
        np.testing.assert_array_equal(np.concatenate([b for _, b in blocks] or [rows]), rows)
        wanted = np.array(data.draw(st.lists(st.integers(0, max(0, len(rows) - 1)), max_size=30 * bool(len(rows)))), np.int64)
        np.testing.assert_array_equal(cache.gather(wanted), rows[wanted])
        subset = data.draw(st.lists(st.integers(0, 45), max_size=10))
        np.testing.assert_array_equal(cache.rows_of(subset, absent="skip"), np.flatnonzero(np.isin(ids, subset)))


def test_content_and_digest_do_not_depend_on_who_wrote_it(tmp_path):
    x = vectors(200)
    digests = set()
    for processes in (1, 2, 3, 7):
        write(tmp_path / str(processes), x, processes)
        cache = FeatureCache(tmp_path / str(processes))
        np.testing.assert_array_equal(cache.load(), x)
        digests.add(cache.digest())
    assert len(digests) == 1
    x[3, 2] += 1
    write(tmp_path / "x", x)
    assert FeatureCache(tmp_path / "x").digest() not in digests


def test_random_rows_across_shards_of_odd_sizes(tmp_path):
    """Rows of 28 bytes lie on no common grid with pages; the map has gaps between the shards."""
    x = write(tmp_path, vectors(500, 7), processes=2, shard_bytes=33 * 28, block_bytes=10 * 28)
    cache = FeatureCache(tmp_path)
    chosen = np.random.default_rng(1).integers(0, 500, 3000)
    np.testing.assert_array_equal(cache.gather(chosen), x[chosen])
    out = np.empty((3, 7), np.float32)
    assert cache.gather([499, 0, 499], out) is out
    np.testing.assert_array_equal(out, x[[499, 0, 499]])


def test_buffers_and_what_is_made_of_them(tmp_path):
    x = write(tmp_path, vectors(90))
    cache = FeatureCache(tmp_path)
    copies = [block for _, block in cache.blocks(8, to=np.array)]
    np.testing.assert_array_equal(np.concatenate(copies), x)
    assert len({block.ctypes.data for _, block in cache.blocks(8, ahead=2)}) == 3
    with_break = cache.blocks(8)
    assert next(with_break)[0] == 0
    with_break.close()  # its threads end
    out = np.empty_like(x)
    assert cache.load(out) is out
    np.testing.assert_array_equal(out, x)


def test_subsets(tmp_path):
    x = vectors(12)
    with FeatureWriter(tmp_path, DIM, vectors="many") as writer:
        writer.append([5, 5, 5, 2, 9, 9], x[:6])
    cache = FeatureCache(tmp_path)
    assert cache.ids.tolist() == [2, 5, 5, 5, 9, 9] and len(cache) == 6 and cache.dim == DIM
    assert cache.rows_of([9, 2, 9]).tolist() == [0, 4, 5]
    np.testing.assert_array_equal(cache.gather(cache.rows_of([5])), x[:3])
    assert cache.rows_of([3, 5, 7], absent="skip").tolist() == [1, 2, 3] and cache.rows_of([]).tolist() == []
    with pytest.raises(LussError, match=r"no features of image 3 \(2 of 3 images have none\)"):
        cache.rows_of([7, 5, 3])


@pytest.mark.parametrize(
    ("call", "kind", "complaint"),
    [
        (lambda c: c.gather([50]), IndexError, "from 50 to 50, the cache has rows 0 to 49"),
        (lambda c: c.gather([-1]), IndexError, "from -1"),
        (lambda c: c.gather([[1]]), ValueError, r"expected \(m,\)"),
        (lambda c: c.gather([1], np.empty((2, DIM), "f4")), ValueError, "out: expected"),
        (lambda c: c.load(np.empty((50, DIM), "f2")), ValueError, "out: expected"),
        (lambda c: list(c.blocks(0)), ValueError, "rows=0"),
        (lambda c: c.rows_of([1], absent="ignore"), ValueError, "absent='ignore'"),
        (lambda c: FeatureCache(c.folder, verify="some"), ValueError, "verify='some'"),
    ],
)
def test_wrong_arguments(tmp_path, call, kind, complaint):
    write(tmp_path, vectors(50))
    with pytest.raises(kind, match=complaint):
        call(FeatureCache(tmp_path))


def test_a_cache_of_something_else_is_refused(tmp_path):
    write(tmp_path, vectors(50))
    assert len(FeatureCache(tmp_path, fingerprint=SMALL["fingerprint"])) == 50
    with pytest.raises(LussError, match=r"made from something else \(fingerprint 'images and settings', expected 'x'\): delete it, then run y"):
        FeatureCache(tmp_path, fingerprint="x", remedy="run y")


def test_an_unfinished_cache_is_refused_unless_asked_for(tmp_path):
    x = vectors(50)
    write(tmp_path, x, 1)
    writer = FeatureWriter(tmp_path, DIM, rank=1, **SMALL)
    with pytest.raises(LussError, match="not finished by process 1: it still runs, or was stopped; run y"):
        FeatureCache(tmp_path, remedy="run y")
    assert len(FeatureCache(tmp_path, partial=True)) == 50
    writer.close()
    assert len(FeatureCache(tmp_path)) == 50


# -- what a reader meets


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("way", ["load", "blocks", "gather", "digest", "verify", "full"])
def test_a_flipped_bit_is_never_read_as_data(tmp_path, way, processes):
    x = write(tmp_path, vectors(100), processes)
    name = f"r{processes - 1:03d}-s00001"
    flip(tmp_path / f"{name}.npy", 4096 + 10 * ROW + 3)  # row 10: block 1
    ways = {
        "load": lambda c: c.load(),
        "blocks": lambda c: [np.testing.assert_array_equal(block, x[first : first + len(block)]) for first, block in c.blocks(4)],
        "gather": lambda c: c.gather(range(100)),
        "digest": lambda c: c.digest(),
        "verify": lambda c: c.verify(),
        "full": lambda c: FeatureCache(tmp_path, verify="full", remedy="run y"),
    }
    cache = FeatureCache(tmp_path, remedy="run y")
    for _ in range(2):  # the second time is no better
        with pytest.raises(DamagedShard, match=rf"{name}\.npy: block 1 of 3 \(rows 7 to 13\) fails its checksum: run y") as caught:
            ways[way](cache)
        assert caught.value.shards == (name,)
    assert len(FeatureCache(tmp_path, verify="none").load()) == 100


def test_other_blocks_of_a_damaged_shard_can_still_be_gathered(tmp_path):
    x = write(tmp_path, vectors(100))
    flip(tmp_path / "r000-s00001.npy", 4096 + 10 * ROW)
    cache = FeatureCache(tmp_path)
    whole = [*range(28), *range(35, 100)]
    np.testing.assert_array_equal(cache.gather(whole), x[whole])
    with pytest.raises(DamagedShard, match="block 1"):
        cache.gather([31])


@pytest.mark.parametrize("way", ["load", "gather"])
def test_a_shard_cut_off_after_it_was_opened_is_named(tmp_path, way):
    write(tmp_path, vectors(100))
    cache = FeatureCache(tmp_path)
    if way == "gather":
        cache.gather([30])
    with open(tmp_path / "r000-s00001.npy", "r+b") as stream:
        stream.truncate(4096 + 8 * ROW)
    with pytest.raises(DamagedShard, match=r"r000-s00001\.npy: .*cut off"):
        cache.load() if way == "load" else cache.gather([30])


def test_verify_names_all_and_reports_progress(tmp_path):
    write(tmp_path, vectors(100), 2)
    flip(tmp_path / "r000-s00000.npy", 4500)
    flip(tmp_path / "r001-s00002.npy", 4096)
    seen = []
    cache = FeatureCache(tmp_path)
    with pytest.raises(DamagedShard, match=r"r000-s00000.*; .*r001-s00002") as caught:
        cache.verify(lambda done, total: seen.append((done, total)))
    assert caught.value.shards == ("r000-s00000", "r001-s00002")
    assert seen[-1] == (100 * ROW, 100 * ROW) and seen == sorted(seen)


def test_an_error_of_the_caller_passes_and_ends_the_threads(tmp_path):
    write(tmp_path, vectors(100))

    def fail(block):
        raise KeyError("the caller's")

    with pytest.raises(KeyError, match="the caller's"):
        list(FeatureCache(tmp_path).blocks(8, to=fail))
    assert Path(tmp_path).exists()
