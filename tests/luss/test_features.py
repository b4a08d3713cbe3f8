"""Stage features: who computes what, what a kill costs, and the caches' check and repair. Vectors are means of colours: no network is needed."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from engine.data import list_images
from engine.features import FeatureCache, FeatureWriter
from engine.features.manifest import read_manifest
from engine.runtime import LussError, interrupt
from engine.storage.atomic import write_json
from luss.feature_files import SUMMARY, cache_fingerprint, check_features, open_features, splits_of
from luss.settings import load_settings
from luss.stages.common import Job
from luss.stages.features import _summary, extract_images, make_ready
from luss.workspace import Workspace
from tests.engine.features.samples import contents, flip
from tests.engine.storage.faults import kills, no_room_beyond

COUNT = 30
OPTIONS = ["data.workers=0", "features.resize=10", "features.crop=8", "features.batch_size=4", "data.max_unreadable=0.2"]
STARTED = {"features": {"resize": 10}}, {"attend/checkpoint.npz": "ab", "images of train": "cd", "images of validation": "ef"}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    draw = np.random.default_rng(0)
    for split in ("train", "validation"):
        for i in range(COUNT if split == "train" else 5):
            folder = root / split / f"n{i % 3}"
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(draw.integers(0, 256, (12, 14, 3), dtype=np.uint8)).save(folder / f"{i:02d}.png")
    (root / "train" / "n1" / "10.png").write_bytes(b"no image")
    return root


def job(data, workspace, *options) -> Job:
    space = Workspace(workspace)
    settings = load_settings("demo", None, [f"data.root={data}", *OPTIONS, *options])
    space.stage("features").begin(*STARTED)
    return Job(space, settings, space.stage("features"))


def colours(crops) -> np.ndarray:
    """(n, 3) means of a picture, and how many pictures came along with it: what a network's rounding may depend on."""
    mean = crops.numpy().mean((2, 3))
    return np.concatenate([mean, np.full((len(mean), 1), len(mean), np.float32)], 1)


def extract(j: Job, processes: int = 1, ranks=None, vectors=colours, split: str = "train") -> None:
    for rank in ranks if ranks is not None else range(processes):
        extract_images(j, vectors, 4, list_images(j.settings.data.root, split), split, rank, processes)


def finished(data, workspace, processes: int = 1, *options) -> Job:
    j = job(data, workspace, *options)
    summary = {}
    for split in splits_of(j.settings):
        make_ready(j, split, processes)
        extract(j, processes, split=split)
        summary[split] = _summary(j, list_images(j.settings.data.root, split), split)
    write_json(j.path / SUMMARY, summary)
    j.folder.finish(*STARTED, {})
    return j


def cache_of(j: Job) -> FeatureCache:
    return FeatureCache(j.path / "train")


def quiet(*_) -> None:
    pass


def test_one_vector_for_each_readable_image_in_order(data, tmp_path):
    j = finished(data, tmp_path / "run")
    cache = open_features(j.workspace, "train")
    items = list_images(str(data), "train").items
    unreadable = next(i for i, item in enumerate(items) if item.key == "n1/10.png")
    assert cache.ids.tolist() == [i for i in range(COUNT) if i != unreadable] and cache.dtype == np.float32
    assert "n1/10.png" in (j.path / "bad_images.csv").read_text()
    assert len(open_features(j.workspace, "validation")) == 5
    assert json.loads((j.path / SUMMARY).read_text())["train"]["rows"] == COUNT - 1


@pytest.mark.parametrize("processes", [2, 3, 4])
def test_processes_share_the_images_and_the_content_is_the_same(data, tmp_path, processes):
    one, several = finished(data, tmp_path / "one", 1), finished(data, tmp_path / "several", processes)
    a, b = open_features(one.workspace, "train"), open_features(several.workspace, "train")
    np.testing.assert_array_equal(a.ids, b.ids)
    np.testing.assert_array_equal(a.load()[:, :3], b.load()[:, :3])
    shares = [np.load(path) for path in sorted((several.path / "train").glob("*.ids.npy"))]
    assert [set((share % processes).tolist()) for share in shares] == [{rank} for rank in range(processes)]


@pytest.mark.parametrize("after", [0, 1, 4, 7])
def test_an_interrupted_stage_computes_the_rest_in_the_same_batches(data, tmp_path, monkeypatch, after):
    expected = open_features(finished(data, tmp_path / "whole", 2).workspace, "train")
    j, calls = job(data, tmp_path / "run"), []

    def some(pixels):
        calls.append(pixels.shape[0])
        if len(calls) > after:
            monkeypatch.setattr(interrupt, "_requested", True)
        return colours(pixels)

    with pytest.raises(interrupt.Interrupted, match="the same command continues"):
        extract(j, 2, vectors=some)
    monkeypatch.setattr(interrupt, "_requested", False)
    first = len(calls)
    extract(j, 2)
    cache = cache_of(j)
    np.testing.assert_array_equal(cache.load(), expected.load())
    assert cache.digest() == expected.digest() and first == after + 1


def test_what_is_written_is_not_computed_again_and_a_half_done_batch_is(data, tmp_path):
    j = finished(data, tmp_path / "run")
    expected = open_features(j.workspace, "train").digest()
    folder = j.path / "train"
    calls = []
    extract(j, vectors=lambda pixels: (calls.append(pixels.shape[0]), colours(pixels))[1])
    assert calls == [3]  # the batch of the unreadable image, which is tried again
    assert open_features(j.workspace, "train").digest() == expected
    shutil.rmtree(folder)
    j.folder.reopen()
    small = job(data, tmp_path / "run", "features.shard_mb=1")
    extract(small)
    assert cache_of(small).digest() == expected


def test_checkpoint_minutes_bound_what_a_kill_costs(data, tmp_path):
    j = job(data, tmp_path / "run", "run.checkpoint_minutes=0")
    extract(j)
    assert len(list((j.path / "train").glob("*.ids.npy"))) == 8  # a shard a batch
    assert cache_of(j).digest() == open_features(finished(data, tmp_path / "whole").workspace, "train").digest()


def test_float16_is_a_setting(data, tmp_path):
    j = finished(data, tmp_path / "run", 1, "features.dtype=float16")
    assert open_features(j.workspace, "train").dtype == np.float16
    with pytest.raises(LussError, match="features.dtype = int8: expected float32 or float16"):
        load_settings("demo", None, ["features.dtype=int8"])


# -- check and repair


def test_a_whole_cache_passes_and_is_not_changed(data, tmp_path):
    j = finished(data, tmp_path / "run", 2)
    before = contents(j.path / "train")
    seen = []
    assert check_features(j.workspace, lambda *told: seen.append(told)) == (COUNT - 1 + 5, [])
    assert {split for split, _, _ in seen} == {"train", "validation"} and seen[-1][1] == seen[-1][2]
    assert check_features(j.workspace, quiet, repair=True) == (COUNT - 1 + 5, [])
    assert contents(j.path / "train") == before and j.folder.done()


DAMAGE = {
    "a bit": lambda f: flip(f / "train" / "r001-s00000.npy", 4100),
    "a shard gone": lambda f: (f / "train" / "r000-s00000.npy").unlink(),
    "a process gone": lambda f: [path.unlink() for path in (f / "train").glob("*r001*")],
    "a split gone": lambda f: shutil.rmtree(f / "validation"),
    "the summary gone": lambda f: (f / SUMMARY).unlink(),
    "the summary damaged": lambda f: (f / SUMMARY).write_text("{"),
    "another summary": lambda f: (f / SUMMARY).write_text('{"train": {"rows": 3}}'),
    "a manifest torn": lambda f: (f / "train" / "manifest.r000.jsonl").write_bytes(b"abc"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_found_and_repaired_to_the_same_content(data, tmp_path, name):
    j = finished(data, tmp_path / "run", 2)
    expected = {split: open_features(j.workspace, split).digest() for split in ("train", "validation")}
    DAMAGE[name](j.path)
    _, found = check_features(j.workspace, quiet)
    assert found and j.folder.done()
    with pytest.raises(LussError, match="luss features --workspace"):
        for split in expected:
            open_features(j.workspace, split).load()
    if name.startswith(("the summary", "another")):
        assert SUMMARY in found[0].text
    check_features(j.workspace, quiet, repair=True)
    assert j.folder.done() is None and j.folder.status(*STARTED).state == "partial"
    again = finished(data, tmp_path / "run", 2)
    assert {split: open_features(again.workspace, split).digest() for split in expected} == expected
    assert check_features(again.workspace, quiet)[1] == []


# -- fewer processes than before, and a start that did not get far


def same_pictures(j: Job, data, tmp_path) -> None:
    """The cache of `j` has the images and colours of an undisturbed one; sizes of batches differ with the number of processes."""
    if not (tmp_path / "undisturbed").exists():
        finished(data, tmp_path / "undisturbed")
    expected = open_features(Workspace(tmp_path / "undisturbed"), "train")
    found = open_features(j.workspace, "train")
    np.testing.assert_array_equal(found.ids, expected.ids)
    np.testing.assert_array_equal(found.load()[:, :3], expected.load()[:, :3])


@pytest.mark.parametrize("after", [0, 2])
def test_a_process_that_was_stopped_is_not_waited_for_by_a_run_with_fewer(data, tmp_path, after):
    j, calls = job(data, tmp_path / "run", "run.checkpoint_minutes=0"), []

    def dies(pixels):
        calls.append(pixels.shape[0])
        if len(calls) > after:
            raise KeyboardInterrupt
        return colours(pixels)

    extract(j, 2, ranks=[0])
    with pytest.raises(KeyboardInterrupt):
        extract(j, 2, ranks=[1], vectors=dies)
    parts = [len(np.load(path)) for path in (j.path / "train").glob("r001-*.ids.npy")]
    assert len(parts) == after
    again = finished(data, tmp_path / "run")
    assert [line.get("closed") for line in read_manifest(j.path / "train" / "manifest.r001.jsonl").lines] == [None] * after + [[after, sum(parts)]]
    assert check_features(again.workspace, quiet)[1] == []
    same_pictures(again, data, tmp_path)


def test_a_cache_of_two_processes_is_repaired_by_one(data, tmp_path):
    j = finished(data, tmp_path / "run", 2)
    flip(j.path / "train" / "r001-s00000.npy", 4100)
    check_features(j.workspace, quiet, repair=True)
    again = finished(data, tmp_path / "run")
    assert check_features(again.workspace, quiet)[1] == []
    same_pictures(again, data, tmp_path)
    again.folder.reopen()
    three = finished(data, tmp_path / "run", 3)  # and more processes than ever find nothing to do
    assert check_features(three.workspace, quiet)[1] == []
    same_pictures(three, data, tmp_path)


def begin_writing(j: Job) -> None:
    made_from = cache_fingerprint(j.folder, "train")
    shard_bytes = j.settings.features.shard_mb << 20
    FeatureWriter(j.path / "train", 4, j.settings.features.dtype, fingerprint=made_from, shard_bytes=shard_bytes).abort()


def test_a_kill_before_the_header_is_no_dead_end(data, tmp_path):
    j, states = job(data, tmp_path / "run"), set()
    folder = j.path / "train"
    for _ in kills(lambda: begin_writing(j)):
        states.add((folder.is_dir(), (folder / "cache.json").exists()))
        make_ready(j, "train", 1)
        assert check_features(j.workspace, quiet, repair=True) == (0, [])
    assert states == {(False, False), (True, False), (True, True)}
    assert not list(folder.glob("*.tmp-*"))
    same_pictures(finished(data, tmp_path / "run"), data, tmp_path)


def test_no_room_for_the_header_is_no_dead_end(data, tmp_path):
    j = job(data, tmp_path / "run")
    with no_room_beyond(20), pytest.raises(LussError, match=r"cache\.json: no room to write it"):
        extract(j)
    assert (j.path / "train").is_dir()
    same_pictures(finished(data, tmp_path / "run"), data, tmp_path)


def test_a_cache_that_lost_its_header_is_made_anew_by_repair_alone(data, tmp_path):
    j = finished(data, tmp_path / "run", 2)
    (j.path / "train" / "cache.json").unlink()
    before = contents(j.path / "train")
    with pytest.raises(LussError, match=r"train: holds shards, but no cache\.json: run `luss features --workspace .* --repair`"):
        make_ready(j, "train", 1)
    rows, found = check_features(j.workspace, quiet)
    assert rows == 0 and "train: holds shards, but no cache.json" in found[0].text and len(found) == 1
    assert contents(j.path / "train") == before and j.folder.done()
    assert [damage.text for damage in check_features(j.workspace, quiet, repair=True)[1]] == [found[0].text]
    assert not (j.path / "train").exists() and (j.path / "validation").is_dir() and j.folder.done() is None
    same_pictures(finished(data, tmp_path / "run"), data, tmp_path)


def test_a_cache_of_other_images_is_not_taken(data, tmp_path):
    j = finished(data, tmp_path / "run")
    other = finished(data, tmp_path / "other")
    path = other.path / "STARTED.json"
    path.write_text(path.read_text().replace('"cd"', '"xx"'))
    assert len(open_features(j.workspace, "train")) == COUNT - 1
    with pytest.raises(LussError, match="made from something else"):
        open_features(other.workspace, "train")


def test_nothing_to_check(tmp_path):
    with pytest.raises(LussError, match="no feature cache; it is made by `luss features"):
        check_features(Workspace(tmp_path), quiet)


def test_no_readable_image_at_all(data, tmp_path):
    root = tmp_path / "data"
    (root / "train").mkdir(parents=True)
    (root / "train" / "a.png").write_bytes(b"")
    j = job(root, tmp_path / "run")
    extract(j)
    with pytest.raises(LussError, match=r"none of the 1 images of train could be read; see .*bad_images\.csv"):
        _summary(j, list_images(str(root), "train"), "train")
