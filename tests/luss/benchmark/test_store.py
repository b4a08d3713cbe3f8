"""Stored counts: round trip, subsets, merging of shards, damage and strangers."""

import json

import numpy as np
import pytest

from engine.runtime.errors import LussError
from engine.storage.arrays import save_arrays
from luss.benchmark.counts import count_image, stack_counts
from luss.benchmark.store import load_counts, merge_counts, pack_counts, save_counts

RECORD = {"num_classes": 4, "num_clusters": 6, "match": {"1": 2, "0": 0}, "boundary": "after", "split": "validation", "bad": {}}


def _counts(count=9, seed=0):
    rng = np.random.default_rng(seed)
    images = []
    for number in range(count):
        scale = np.ones((3 + number, 4), int)
        pred, gt = np.kron(rng.integers(0, 7, (3, 4)), scale), np.kron(rng.choice([0, 1, 2, 1000], (3, 4)), scale)
        images.append(count_image(pred, np.full_like(gt, 1000) if number == 4 else gt))  # one image without a valid pixel
    return [f"n0{number // 4}/image_{number}.png" for number in range(count)], images


def _assert_equal(found, expected):
    assert found.shape == expected.shape
    for name in ("rows", "ignored"):
        assert getattr(found, name).dtype == np.int64
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


def test_round_trip(tmp_path):
    names, counts = _counts()
    save_counts(tmp_path / "counts.npz", names, counts, RECORD)
    stored = load_counts(tmp_path / "counts.npz")
    assert stored.names == tuple(names)
    assert stored.record == RECORD
    for found, expected in zip(stored.counts, counts):
        _assert_equal(found, expected)
    table = stack_counts(counts)
    np.testing.assert_array_equal(stored.table.image, table.image)
    np.testing.assert_array_equal(stored.table.rows, table.rows)
    assert stored.table.images == table.images == 9
    with np.load(tmp_path / "counts.npz", allow_pickle=False) as plain:  # any reader of .npz opens it
        assert plain["shapes"].tolist() == [list(one.shape) for one in counts]


def test_a_kilobyte_an_image(tmp_path):
    names, counts = _counts(1)
    many = [f"n01440764/ILSVRC2012_val_{number:08d}.png" for number in range(2000)]
    save_counts(tmp_path / "counts.npz", many, counts * 2000, RECORD)
    assert len(counts[0].rows) >= 6  # pairs of ids that meet; real label maps have 2 to 10
    assert (tmp_path / "counts.npz").stat().st_size < 1024 * 2000


def test_a_subset_keeps_the_order_asked_for():
    names, counts = _counts()
    subset = pack_counts(names, counts, RECORD).select([7, 4, 0])
    assert subset.names == (names[7], names[4], names[0])
    for found, position in zip(subset.counts, (7, 4, 0)):
        _assert_equal(found, counts[position])
    with pytest.raises(ValueError, match="positions"):
        subset.select([1, 1])


def test_shards_merge_to_the_whole(tmp_path):
    names, counts = _counts()
    save_counts(tmp_path / "whole.npz", names, counts, RECORD)
    for shard in range(3):
        save_counts(tmp_path / f"{shard}.npz", names[shard::3], counts[shard::3], RECORD)
    for order in ([0, 1, 2], [2, 0, 1]):
        merge_counts([tmp_path / f"{shard}.npz" for shard in order], tmp_path / "merged.npz")
        assert (tmp_path / "merged.npz").read_bytes() == (tmp_path / "whole.npz").read_bytes()


def test_shards_that_do_not_belong_together_are_named(tmp_path):
    names, counts = _counts()
    save_counts(tmp_path / "a.npz", names[:5], counts[:5], RECORD)
    save_counts(tmp_path / "b.npz", names[4:], counts[4:], RECORD)
    save_counts(tmp_path / "c.npz", names[5:], counts[5:], {**RECORD, "num_classes": 50})
    with pytest.raises(LussError, match=r"b\.npz: the image n01/image_4\.png stands in .*a\.npz too"):
        merge_counts([tmp_path / "a.npz", tmp_path / "b.npz"], tmp_path / "out.npz")
    with pytest.raises(LussError, match=r"c\.npz: its num_classes is 50, but that of .*a\.npz is 4"):
        merge_counts([tmp_path / "a.npz", tmp_path / "c.npz"], tmp_path / "out.npz")
    assert not (tmp_path / "out.npz").exists()


def test_every_damage_is_noticed(tmp_path):
    names, counts = _counts(3)
    path = tmp_path / "counts.npz"
    save_counts(path, names, counts, RECORD)
    whole = path.read_bytes()
    for position in range(0, len(whole), 37):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 16]) + whole[position + 1 :])
        with pytest.raises(LussError, match=r"counts\.npz"):
            load_counts(path)
    for length in (0, 10, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(LussError, match=r"counts\.npz"):
            load_counts(path)


def test_strangers_are_refused(tmp_path):
    path = tmp_path / "counts.npz"
    with pytest.raises(LussError, match=r"counts\.npz: cannot be read"):
        load_counts(path)
    np.savez(path, names=np.zeros(3))
    with pytest.raises(LussError, match=r"counts\.npz"):
        load_counts(path)
    save_arrays(path, {"names": np.zeros(3)}, {"epoch": 3})
    with pytest.raises(LussError, match="holds no counts of an evaluation"):
        load_counts(path)
    save_arrays(path, {"names": np.zeros(3)}, {"format": "luss-counts 1", "record": {}})
    with pytest.raises(LussError, match="the array ids is nothing; expected uint16"):
        load_counts(path)
    names, counts = _counts(2)
    save_counts(path, names, counts, RECORD)
    from engine.storage.arrays import load_arrays

    arrays, meta = load_arrays(path)
    save_arrays(path, {**arrays, "names": np.frombuffer(json.dumps(["a.png", "a.png"]).encode(), np.uint8)}, meta)
    with pytest.raises(LussError, match="its arrays do not fit each other"):
        load_counts(path)


def test_names_and_counts_must_fit(tmp_path):
    names, counts = _counts(3)
    for wrong in (names[:2], [names[0]] * 3, []):
        with pytest.raises(ValueError, match="distinct names"):
            save_counts(tmp_path / "counts.npz", wrong, counts, RECORD)
