from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

from engine.features import FeatureCache, FeatureWriter, check_cache
from engine.features.layout import BLOCK_BYTES, data_path
from engine.features.manifest import read_manifest
from engine.runtime.errors import LussError
from tests.engine.data.samples import without_privileges
from tests.engine.features.samples import DIM, ROW, SMALL, contents, feed, flip, vectors, write
from tests.engine.storage.faults import failures, kills, no_room_beyond

ROOT = Path(__file__).resolve().parents[3]


def opened(folder, **options) -> FeatureWriter:
    return FeatureWriter(folder, DIM, **{**SMALL, **options})


def test_shards_are_whole_blocks_and_numpy_opens_them(tmp_path):
    x = write(tmp_path / "c", vectors(50))
    assert [np.load(data_path(tmp_path / "c", f"r000-s{i:05d}")).shape for i in range(3)] == [(21, DIM), (21, DIM), (8, DIM)]
    np.testing.assert_array_equal(np.load(tmp_path / "c" / "r000-s00001.npy", mmap_mode="r"), x[21:42])
    assert np.load(tmp_path / "c" / "r000-s00002.ids.npy").tolist() == list(range(42, 50))
    assert read_manifest(tmp_path / "c" / "manifest.r000.jsonl").lines[-1]["closed"] == [3, 50]
    assert check_cache(tmp_path / "c") == []


def test_the_sizes_of_the_recommendation():
    assert BLOCK_BYTES == 16 << 20
    import inspect

    assert inspect.signature(FeatureWriter).parameters["shard_bytes"].default == 128 << 20


@pytest.mark.parametrize("calls", [1, 4, 21, 1000])
def test_the_bytes_do_not_depend_on_the_calls(tmp_path, calls):
    x = vectors(70)
    write(tmp_path / "a", x, call=5)
    write(tmp_path / "b", x, call=calls)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_rows_are_copied(tmp_path):
    x, buffer = vectors(30), np.empty((3, DIM), np.float32)
    with opened(tmp_path) as writer:
        for first in range(0, 30, 3):
            buffer[:] = x[first : first + 3]
            writer.append(range(first, first + 3), buffer)
            buffer[:] = np.nan
    np.testing.assert_array_equal(FeatureCache(tmp_path).load(), x)


def test_an_empty_cache(tmp_path):
    with opened(tmp_path) as writer:
        writer.append([], np.zeros((0, DIM), np.float32))
    cache = FeatureCache(tmp_path)
    assert cache.shape == (0, DIM) and cache.load().shape == (0, DIM) and list(cache.blocks()) == [] and cache.gather([]).shape == (0, DIM)


def test_closing_twice_and_opening_a_finished_cache_change_nothing(tmp_path):
    x = write(tmp_path, vectors(50))
    before = contents(tmp_path)
    with opened(tmp_path) as writer:
        assert writer.done_ids().tolist() == list(range(50)) and writer.dropped == []
        feed(writer, x)
        writer.close()
    assert contents(tmp_path) == before
    with pytest.raises(ValueError, match="is closed"):
        writer.append([1], x[:1])


def test_a_finished_cache_can_grow(tmp_path):
    x = vectors(60)
    write(tmp_path, x[:30])
    write(tmp_path, x)
    assert check_cache(tmp_path) == []
    np.testing.assert_array_equal(FeatureCache(tmp_path).load(), x)


def test_flushed_rows_survive_an_exception_and_others_do_not(tmp_path):
    x = vectors(40)
    with pytest.raises(KeyError), opened(tmp_path) as writer:
        writer.append(range(30), x[:30])
        writer.flush()
        writer.append(range(30, 35), x[30:35])
        raise KeyError
    assert not list(tmp_path.glob("*.tmp-*"))
    with pytest.raises(LussError, match="not finished by process 0"):
        FeatureCache(tmp_path)
    assert FeatureCache(tmp_path, partial=True).ids.tolist() == list(range(30))
    with opened(tmp_path) as writer:
        assert writer.done_ids().tolist() == list(range(30))
        feed(writer, x)
    np.testing.assert_array_equal(FeatureCache(tmp_path).load(), x)


def test_float16_rounds_once_and_refuses_what_does_not_fit(tmp_path):
    x = vectors(40) * 100
    x[3, 2] = np.inf
    x[4, 1] = np.nan
    write(tmp_path / "c", x, dtype="float16")
    found = FeatureCache(tmp_path / "c").load()
    assert found.dtype == np.float16
    np.testing.assert_array_equal(found, x.astype(np.float16))
    x[7, 0] = 7e4
    with pytest.raises(LussError, match=r"image 7 exceed the range of float16 \(70000\): use a wider dtype"):
        write(tmp_path / "d", x, dtype="float16")


@pytest.mark.parametrize(
    ("ids", "rows", "complaint"),
    [
        ([1], np.zeros((1, DIM + 1), "f4"), rf"expected \(n,\) and \(n, {DIM}\)"),
        ([1, 2], np.zeros((1, DIM), "f4"), "expected"),
        ([1], np.zeros((1, DIM), "i4"), "floating-point"),
        ([-1], np.zeros((1, DIM), "f4"), "from -1 to -1"),
        ([2**32], np.zeros((1, DIM), "f4"), "0 to 4294967295"),
        ([1.0], np.zeros((1, DIM), "f4"), "expected integers"),
    ],
)
def test_wrong_arguments(tmp_path, ids, rows, complaint):
    with opened(tmp_path) as writer, pytest.raises(ValueError, match=complaint):
        writer.append(ids, rows)


def test_the_rows_of_an_image_stay_in_one_shard(tmp_path):
    counts = [3, 20, 1, 21, 5, 5, 12]
    ids = np.repeat(np.arange(len(counts)), counts)
    x = vectors(len(ids))
    with opened(tmp_path, vectors="many") as writer:
        writer.append(ids, x)
        with pytest.raises(ValueError, match="adjacent and come in one call"):
            writer.append([6, 7], x[:2])
        with pytest.raises(ValueError, match="adjacent"):
            writer.append([8, 9, 8], x[:3])
        with pytest.raises(ValueError, match=r"has 22 rows, a shard holds 21: raise shard_bytes"):
            writer.append([8] * 22, x[:22])
    stored = [np.load(path).tolist() for path in sorted(tmp_path.glob("*.ids.npy"))]
    assert [sorted(set(part)) for part in stored] == [[0], [1, 2], [3], [4, 5], [6]]
    np.testing.assert_array_equal(FeatureCache(tmp_path).load(), x)


# -- whose cache it is


@pytest.mark.parametrize(
    ("options", "difference"),
    [
        ({"fingerprint": "other"}, "fingerprint is 'images and settings', expected 'other'"),
        ({"dtype": "float16"}, "dtype is 'float32', expected 'float16'"),
        ({"vectors": "many"}, "vectors is 'one', expected 'many'"),
        ({"block_bytes": 3 * ROW}, "block_bytes"),
    ],
)
def test_another_cache_is_not_continued(tmp_path, options, difference):
    write(tmp_path, vectors(30))
    before = contents(tmp_path)
    with pytest.raises(LussError, match=f"another feature cache lies here: its {difference}.*delete it"):
        opened(tmp_path, **options)
    assert contents(tmp_path) == before


def test_shards_without_their_header_are_not_continued(tmp_path):
    write(tmp_path, vectors(30))
    (tmp_path / "cache.json").unlink()
    with pytest.raises(LussError, match=r"holds shards, but no cache\.json: delete the folder"):
        opened(tmp_path)


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(LussError, match=r"file/c: cannot be made"):
        opened(tmp_path / "file" / "c")


def test_a_folder_without_permission():
    with tempfile.TemporaryDirectory() as folder:  # pytest's own folders are closed to others as a whole
        os.chmod(folder, 0o555)
        with without_privileges(), pytest.raises(LussError, match="cannot be written"):
            opened(Path(folder))


# -- kills, failures, damage


def test_a_kill_before_any_system_call_leaves_a_cache_that_resumes_to_the_same_bytes(tmp_path):
    x = write(tmp_path / "whole", vectors(47))
    expected, seen = contents(tmp_path / "whole"), set()
    folder = tmp_path / "c"
    for _ in kills(lambda: write(folder, x), limit=300):  # each attempt goes on where the one before it was killed
        state = FeatureCache(folder, partial=True) if (folder / "cache.json").exists() else None
        if state is not None:
            np.testing.assert_array_equal(state.load(), x[state.ids])
            seen.add(len(state))
    assert contents(folder) == expected and {0, 21, 42, 47} <= seen


@pytest.mark.parametrize("process", [0, 1])
def test_sigkill_at_many_moments_then_resuming_gives_the_same_bytes(tmp_path, process):
    """Two processes' parts, of which one is killed in its work; its files are in every state at some of the moments."""
    x = vectors(4000, 64)
    options = {"shard_bytes": 250 * 256, "block_bytes": 60 * 256}
    write(tmp_path / "whole", x, 2, **options)
    script = (
        "import sys, numpy as np\nfrom engine.features import FeatureWriter\nfrom tests.engine.features.samples import SMALL, feed, vectors\n"
        "x = vectors(4000, 64)\nprint('ready', flush=True)\n"
        f"with FeatureWriter(sys.argv[1], 64, rank={process}, **{{**SMALL, **{options}}}) as writer:\n    feed(writer, x, 2)\n"
    )
    moments = 0
    for attempt in range(8):
        folder = tmp_path / f"c{attempt}"
        with FeatureWriter(folder, 64, rank=1 - process, **{**SMALL, **options}) as writer:
            feed(writer, x, 2)
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        child = subprocess.Popen([sys.executable, "-c", script, str(folder)], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
        assert child.stdout.readline() == "ready\n"
        path = folder / f"manifest.r{process:03d}.jsonl"
        while len(read_manifest(path).lines) < attempt and child.poll() is None:  # each attempt a shard further
            time.sleep(0.0005)
        child.send_signal(signal.SIGKILL)
        child.communicate()
        done = len(read_manifest(path).lines)
        moments += 0 <= done < 9 and child.returncode == -signal.SIGKILL
        lost = FeatureCache(folder, partial=True)
        np.testing.assert_array_equal(lost.load(), x[lost.ids])
        with FeatureWriter(folder, 64, rank=process, **{**SMALL, **options}) as writer:
            assert len(writer.done_ids()) == 2000 + 240 * done
            feed(writer, x, 2)
        assert contents(folder) == contents(tmp_path / "whole")
    assert moments >= 3, "hardly an attempt was killed in its work"


def test_a_failing_call_is_reported_and_leaves_what_was_committed(tmp_path, monkeypatch):
    x = write(tmp_path / "whole", vectors(47))
    folder, sizes = tmp_path / "c", []
    patch = lambda name, f: monkeypatch.setattr(os, name, f)  # noqa: E731
    for _ in failures(lambda: write(folder, x), patch, calls=("fsync", "replace")):
        state = FeatureCache(folder, partial=True) if (folder / "cache.json").exists() else []
        sizes.append(len(state))
        assert not list(folder.glob("*.tmp-*"))
    assert sizes == sorted(sizes) and contents(folder) == contents(tmp_path / "whole")


def test_a_full_disk_is_reported_and_resumed_after_room_was_made(tmp_path):
    """A file system of 1 MB of our own, the rest of it taken by another file at first."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(disk)], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"a tmpfs cannot be mounted here: {mounted.stderr.strip()}")
    try:
        x = vectors(2000, 64)
        options = {"shard_bytes": 500 * 256, "block_bytes": 60 * 256}
        write(tmp_path / "whole", x, **options)
        (disk / "other").write_bytes(bytes(700_000))
        with pytest.raises(LussError, match=r"r000-s0000\d\S*: no room to write it: needed more than [\d.]+ kB, free .*make room and start again"):
            write(disk / "c", x, **options)
        assert not list((disk / "c").glob("*.tmp-*"))
        kept = FeatureCache(disk / "c", partial=True)
        assert 0 < len(kept) < len(x) and len(kept) % 480 == 0
        np.testing.assert_array_equal(kept.load(), x[: len(kept)])
        (disk / "other").unlink()
        write(disk / "c", x, **options)
        assert contents(disk / "c") == contents(tmp_path / "whole")
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_no_room_is_reported_and_what_was_committed_stays(tmp_path):
    """Where no file system can be mounted: the third shard of 127 kB finds room for 100 kB."""
    x = vectors(2000, 64)
    options = {"shard_bytes": 500 * 256, "block_bytes": 60 * 256}
    write(tmp_path / "whole", x, **options)
    folder = tmp_path / "c"
    complaint = r"r000-s00002\.npy: no room to write it: needed more than [\d.]+ kB, free .*make room and start again"
    with pytest.raises(LussError, match=complaint), FeatureWriter(folder, 64, **{**SMALL, **options}) as writer:
        writer.append(range(960), x[:960])
        writer.flush(wait=True)
        with no_room_beyond(100_000):
            writer.append(range(960, 2000), x[960:])
            writer.flush(wait=True)
    assert not list(folder.glob("*.tmp-*"))
    np.testing.assert_array_equal(FeatureCache(folder, partial=True, verify="full").load(), x[:960])
    write(folder, x, **options)
    assert contents(folder) == contents(tmp_path / "whole")


def test_no_room_for_the_header_leaves_a_folder_that_the_next_writer_takes(tmp_path):
    x = write(tmp_path / "whole", vectors(50))
    with no_room_beyond(20), pytest.raises(LussError, match=r"c/cache\.json: no room to write it"):
        opened(tmp_path / "c")
    assert list((tmp_path / "c").iterdir()) == []
    write(tmp_path / "c", x)
    assert contents(tmp_path / "c") == contents(tmp_path / "whole")


def test_a_damaged_last_shard_and_left_overs_are_made_again(tmp_path):
    x = write(tmp_path / "c", vectors(50))
    expected = contents(tmp_path / "c")
    flip(tmp_path / "c" / "r000-s00002.npy", 4096 + 30)
    (tmp_path / "c" / "r000-s00003.npy").write_bytes(b"renamed, but not listed yet")
    (tmp_path / "c" / "r000-s00003.json.tmp-99").write_bytes(b"half")
    (tmp_path / "c" / "r001-s00000.npy.tmp-98").write_bytes(b"another process at work")
    with opened(tmp_path / "c") as writer:
        assert [damage.shard for damage in writer.dropped] == ["r000-s00002"] and "fails its checksum" in writer.dropped[0].text
        assert writer.done_ids().tolist() == list(range(42))
        feed(writer, x)
    assert contents(tmp_path / "c").keys() - expected.keys() == {"r001-s00000.npy.tmp-98"}
    (tmp_path / "c" / "r001-s00000.npy.tmp-98").unlink()
    assert contents(tmp_path / "c") == expected


def test_a_shard_in_the_middle_takes_its_old_place(tmp_path):
    x = write(tmp_path, vectors(80))
    before = contents(tmp_path)
    (tmp_path / "r000-s00001.json").unlink()
    write(tmp_path, x)
    after = contents(tmp_path)
    assert check_cache(tmp_path) == []
    assert {name for name in after if after[name] != before[name]} == {"manifest.r000.jsonl"}  # its line now comes later


def test_more_or_fewer_processes_go_on_with_what_is_there(tmp_path):
    x = vectors(100)
    with opened(tmp_path, rank=0) as writer:
        feed(writer, x, 2)
    for processes in (3, 1):
        for rank in range(processes):
            with opened(tmp_path, rank=rank) as writer:
                feed(writer, x[: 80 if processes == 3 else 100], processes)
    cache = FeatureCache(tmp_path, verify="full")
    np.testing.assert_array_equal(cache.load(), x)
    assert cache.ids.tolist() == list(range(100))
