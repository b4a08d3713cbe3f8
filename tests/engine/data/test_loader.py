"""The loader: which batches, in what order, from how many processes. Faults: test_loader_faults.py."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from engine.data.datasets import MultiCropDataset, crop_major
from engine.data.folder import list_images
from engine.data.manifest_build import open_manifest
from engine.data.order import epoch_order
from engine.data.pack import pack_images
from engine.data.pack_format import PackSettings
from engine.data.ragged import Ragged
from engine.ops.augment_crops import augment_crops_host
from engine.runtime.errors import LussError
from tests.engine.data.samples import Environment, Numbers, Wide, image_tree, loader, visited

ROOT = Path(__file__).resolve().parents[3]


def same(a, b):
    """Equal batches: keys, types and values."""
    if a.keys() != b.keys():
        return False
    for key in a:
        if isinstance(a[key], Ragged):
            if len(a[key]) != len(b[key]) or not all(np.array_equal(x, y) and x.dtype == y.dtype for x, y in zip(a[key], b[key])):
                return False
        elif not np.array_equal(a[key], b[key]) or a[key].dtype != b[key].dtype:
            return False
    return True


def test_order_is_a_padded_permutation_shared_out_over_the_ranks():
    whole = epoch_order(10, 1, 0, True)
    assert sorted(whole) == list(range(10)) and whole.dtype == np.int64
    shares = [epoch_order(10, 1, 0, True, rank, 4) for rank in range(4)]
    assert [len(share) for share in shares] == [3] * 4
    assert np.array_equal(np.stack(shares, 1).ravel(), np.concatenate([whole, whole[:2]]))
    assert not np.array_equal(whole, epoch_order(10, 1, 1, True)) and not np.array_equal(whole, epoch_order(10, 2, 0, True))
    assert epoch_order(5, 1, 3, False).tolist() == [0, 1, 2, 3, 4]
    assert [epoch_order(1, 1, 0, True, rank, 3).tolist() for rank in range(3)] == [[0]] * 3


def test_order_of_a_seed_is_pinned():
    assert epoch_order(8, 10010, 2, True).tolist() == [1, 4, 5, 6, 2, 7, 3, 0]


def test_batches_and_steps():
    with loader(Numbers(10)) as train, loader(Numbers(10), shuffle=False, drop_last=False) as evaluate:
        assert (train.steps_per_epoch, evaluate.steps_per_epoch) == (2, 3)
        batches = list(train.epoch(5))
        assert [batch["x"].shape for batch in batches] == [(4, 2)] * 2 and set(batches[0]["x"][:, 0]) == {5}
        assert all(np.array_equal(batch["x"][:, 1], batch["index"]) for batch in batches)
        assert np.concatenate(visited(batches)).tolist() == epoch_order(10, 1, 5, True)[:8].tolist()
        assert visited(evaluate.epoch(0)) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
        assert batches[0]["index"].dtype == np.int64


def crops_dataset(tmp_path):
    items = list_images(str(image_tree(tmp_path, per_class=6)), "train").items
    return MultiCropDataset(items, 3, (2, 1), (24, 16), (0.14, 0.05), (1.0, 0.14))


@pytest.mark.parametrize("borrow", [False, True])
@pytest.mark.parametrize("slot_bytes", [1 << 20, 4096])  # in the second the pixels do not fit, and travel through the pipe
def test_same_batches_with_any_number_of_workers_and_from_any_step(tmp_path, borrow, slot_bytes):
    dataset = crops_dataset(tmp_path)
    expected = list(loader(dataset, 3).steps(8, 16))  # epochs 2 and 3
    assert len(expected) == 8 and not same(expected[0], expected[4])
    for workers in (1, 4):
        with loader(dataset, 3, workers=workers, borrow=borrow, slot_bytes=slot_bytes) as ahead:
            assert all(same(a, b) for a, b in zip(ahead.steps(8, 16), expected))
            for start in (0, 2, 4):
                count = 0
                for a, b in zip(ahead.epoch(2, start), expected[start:]):
                    assert same(a, b)
                    count += 1
                assert count == 4 - start
    assert visited(loader(dataset, 3).epoch(2, 3)) == visited(expected[3:4])


def test_crops_of_an_image_are_the_same_with_one_and_two_ranks(tmp_path):
    dataset = crops_dataset(tmp_path)

    def crops(batches):
        found = {}
        for batch in batches:
            for index, plan, q in zip(batch["index"].tolist(), batch["crops"], batch["grid_q"]):
                found[index] = (plan.tobytes(), q.tobytes())
        return found

    alone = crops(loader(dataset, 6).epoch(1))
    shared = {}
    for rank in range(2):
        with loader(dataset, 3, workers=rank, rank=rank, world_size=2) as half:
            shared.update(crops(half.epoch(1)))
    assert len(alone) == 12 and shared == alone


@pytest.mark.parametrize("packed", [False, True])
def test_pixels_of_crops_are_the_same_with_any_number_of_workers(tmp_path, packed):
    """From files and from a pack, through the op."""
    image_tree(tmp_path, per_class=6, size=(90, 70))
    images = open_manifest(str(tmp_path), "train", tmp_path / "train.manifest")
    if packed:
        images = pack_images(images, tmp_path / "pack", PackSettings("longest", 64), workers=0)
    dataset = MultiCropDataset(images, 3, (2, 1), (24, 16), (0.14, 0.05), (1.0, 0.14))

    def pixels(workers):
        with loader(dataset, 5, workers=workers, borrow=True) as train:
            for batch in train.steps(1, 5):
                for part, size in ((slice(0, 2), 24), (slice(2, 3), 16)):
                    yield augment_crops_host(batch["image"].buffer, batch["image"].table, crop_major(batch["crops"][:, part]), size)

    expected = list(pixels(0))
    assert len(expected) == 8 and all(np.isfinite(crops).all() for crops in expected)
    for workers in (1, 4):
        assert all(np.array_equal(a, b) for a, b in zip(pixels(workers), expected))


def test_owned_batches_can_be_kept_and_borrowed_ones_live_in_shared_memory():
    dataset = Numbers(12, ragged=True)
    with loader(dataset, 2, workers=1, shuffle=False) as owned:
        kept = list(owned.epoch(0))
    assert [[a[0, 0] for a in batch["y"]] for batch in kept] == [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9], [10, 11]]
    with loader(dataset, 2, workers=1, shuffle=False, borrow=True) as borrowed:
        batches = borrowed.epoch(0)
        assert next(batches)["y"].buffer is next(batches)["y"].buffer


def test_skipped_steps_are_not_loaded():
    first_two = epoch_order(12, 1, 0, True)[:8]
    assert len(list(loader(Numbers(12, failing=first_two)).epoch(0, 2))) == 1


def test_ranks_share_an_epoch():
    seen = [np.concatenate(visited(loader(Numbers(16), 2, rank=rank, world_size=2).epoch(0))) for rank in range(2)]
    assert sorted(np.concatenate(seen)) == list(range(16))


@pytest.mark.parametrize("workers", [0, 1])
def test_samples_of_differing_shapes_have_to_be_named_ragged(workers):
    pattern = r"y: samples of shapes .* cannot be stacked; name the key in dataset.ragged"
    with loader(Numbers(5, unequal=True), 2, workers=workers, shuffle=False) as refused, pytest.raises(ValueError, match=pattern):
        list(refused.epoch(0))
    with loader(Numbers(5, ragged=True), 2, workers=workers, shuffle=False) as ragged:
        batch = next(ragged.epoch(0))
    assert [array.shape for array in batch["y"]] == [(1, 2), (2, 2)] and batch["index"].tolist() == [0, 1]


def test_workers_run_one_thread_each_and_leave_our_environment_alone(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    with loader(Environment(), 1, workers=1) as train:
        batches = list(train.epoch(0))
    assert {int(batch["threads"][0]) for batch in batches} == {1} and os.environ["OMP_NUM_THREADS"] == "5"
    assert os.getpid() not in {int(batch["pid"][0]) for batch in batches}


def test_early_stop_and_close_are_prompt():
    train = loader(Numbers(400, seconds=0.05), 40, workers=2)  # two seconds a batch
    batches = train.epoch(0)
    next(batches)
    begin = time.perf_counter()
    batches.close()
    train.close()
    assert time.perf_counter() - begin < 1.5
    train.close()


def test_next_epoch_after_an_early_stop():
    with loader(Numbers(40), workers=1) as train:
        next(train.epoch(0))
        assert visited(train.epoch(1)) == visited(loader(Numbers(40)).epoch(1))


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_a_new_iteration_ends_the_one_before(workers):
    with loader(Numbers(40, ragged=True), 2, workers=workers) as train:
        expected = visited(loader(Numbers(40, ragged=True), 2).epoch(1))
        first = train.epoch(0)
        next(first)
        second = train.epoch(1)
        got = visited([next(second)])
        with pytest.raises(RuntimeError, match="ended by a later one"):
            next(first)
        first.close()
        assert got + visited(second) == expected
        third = train.epoch(0)
        next(third)
        time.sleep(0.3)  # all slots are in use, by answers that nobody has taken
        assert visited(train.epoch(1)) == expected


def test_many_large_tasks_of_one_process_do_not_block_each_other():
    """1024 samples a batch in 64 tasks, 192 of them ahead, with answers that do not fit their slots."""
    dataset = Wide(2048)
    with loader(dataset, 1024, workers=1, shuffle=False, slot_bytes=4096) as train:
        batches = list(train.epoch(0))
    assert [batch["index"].tolist() for batch in batches] == [list(range(1024)), list(range(1024, 2048))]
    assert all((batch["y"] == batch["index"][:, None, None]).all() for batch in batches)


def test_waiting_is_counted_and_computing_is_not():
    slow = loader(Numbers(4, seconds=0.05), 2)
    for _ in slow.epoch(0):
        time.sleep(0.2)
    assert 0.2 <= slow.data_seconds < 0.35


def test_arguments_are_checked():
    for changes, pattern in [
        ({"batch_size": 0}, "batch_size=0"),
        ({"workers": -1}, "workers=-1"),
        ({"rank": 2, "world_size": 2}, "rank=2"),
        ({"dataset": Numbers(0)}, "dataset: expected at least one image"),
    ]:
        with pytest.raises(ValueError, match=pattern):
            loader(**{"dataset": Numbers(4), **changes})
    with pytest.raises(ValueError, match="start_step=3: expected 0 to 2"):
        loader(Numbers(8)).epoch(0, 3)
    with pytest.raises(LussError, match="6 images over 2 processes give none of them a full batch of 4"):
        loader(Numbers(6), world_size=2)


def test_epochs_follow_each_other_without_an_empty_pipeline():
    """The first batch of an epoch is made while the last one of the epoch before is in use, before it is asked for."""
    with loader(Environment(), 1, workers=1) as train:
        batches = train.steps(0, 8)
        for _ in range(4):
            next(batches)
        time.sleep(0.5)
        asked = time.monotonic()
        assert next(batches)["when"][0] < asked


def test_nothing_here_imports_jittor():
    code = "import sys, engine.data; assert 'jittor' not in sys.modules; print('clean')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.stdout == "clean\n", done.stderr
