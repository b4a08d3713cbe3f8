"""Scoring folders and arrays: modes of matching, worker processes, bad input, memory."""

import shutil
import tracemalloc

import numpy as np
import pytest

from engine.runtime.errors import LussError
from luss.benchmark.evaluate import curve_folder, evaluate_folder, evaluate_pairs
from luss.benchmark.folders import list_masks, map_in_order
from luss.benchmark.label_map import write_label_map

CLASSES = 4


def _scene(rng, ids, size=(48, 60)):
    return np.kron(rng.choice(ids, (4, 5)), np.ones((size[0] // 4, size[1] // 5), int))


def _pairs(count=12, clusters=CLASSES, seed=0):
    rng = np.random.default_rng(seed)
    return [(_scene(rng, np.arange(clusters + 1)), _scene(rng, [0, 1, 2, 3, 4, 1000])) for _ in range(count)]


@pytest.fixture
def folders(tmp_path):
    """(predictions, data, the same as arrays); 3 class folders with 7 images each."""
    pairs = _pairs(21)
    rng = np.random.default_rng(1)
    for number, (pred, gt) in enumerate(pairs):
        for root, ids in (("pred", pred), ("data/validation-segmentation", gt)):
            folder = tmp_path / root / f"n0{number // 7}"
            folder.mkdir(parents=True, exist_ok=True)
            write_label_map(folder / f"image.{number:02d}.png", ids)  # a dot within the stem
        np.save(tmp_path / "pred" / f"n0{number // 7}" / f"image.{number:02d}.npy", rng.random(pred.shape, np.float32))
    return str(tmp_path / "pred"), str(tmp_path / "data"), pairs


@pytest.mark.parametrize("match", ["image", "identity", {1: 2, 2: 1, 3: 3, 4: 0}])
def test_folder_equals_pairs(folders, match):
    pred, data, pairs = folders
    calls = []
    result = evaluate_folder(pred, data, "validation", CLASSES, match=match, progress=lambda *call: calls.append(call))
    expected = evaluate_pairs(pairs, CLASSES, match)
    expected["notes"].append("3 class folders of masks, but 4 classes: those that never occur count 0 in the means")
    assert result == expected
    assert result["images"] == 21
    assert calls == [(done, 21) for done in range(1, 22)]
    assert len(result["ious"]) == CLASSES + 1


def test_workers_change_nothing(folders):
    pred, data, _ = folders
    calls = []
    assert evaluate_folder(pred, data, "validation", 4, workers=2, progress=lambda *call: calls.append(call)) == evaluate_folder(
        pred, data, "validation", 4
    )
    assert calls[-1] == (21, 21)
    assert curve_folder(pred, data, "validation", 4, workers=2) == curve_folder(pred, data, "validation", 4)


def test_an_error_in_a_worker_comes_through(folders):
    pred, data, _ = folders
    write_label_map(f"{pred}/n01/image.09.png", np.zeros((60, 48), int))
    with pytest.raises(LussError, match=r"n01.image\.09\.png: 48 x 60 pixels .* has 60 x 48"):
        evaluate_folder(pred, data, "validation", 4, workers=2)


def _die(_):
    import os

    os._exit(3)


def test_a_worker_that_dies_is_an_error():
    with pytest.raises(LussError, match="worker process of the evaluation died"):
        list(map_in_order(_die, [1, 2, 3], 1))


def test_permuted_clusters_give_the_same_metrics():
    pairs = _pairs()
    order = np.array([0, 3, 1, 4, 2])
    first, second = evaluate_pairs(pairs, CLASSES), evaluate_pairs([(order[pred], gt) for pred, gt in pairs], CLASSES)
    assert first["metrics"] == pytest.approx(second["metrics"])
    assert {int(order[cluster]): label for cluster, label in first["match"].items()} == second["match"]


def test_more_clusters_than_classes_equal_scoring_the_renamed_maps():
    pairs = _pairs(clusters=9)
    for boundary in ("after", "before"):
        result = evaluate_pairs(pairs, CLASSES, num_clusters=9, boundary=boundary)
        assert sorted(result["match"]) == list(range(1, 10))
        assert sorted(label for label in result["match"].values() if label) == [1, 2, 3, 4]
        table = np.array([0] + [result["match"][cluster] for cluster in range(1, 10)])
        renamed = evaluate_pairs([(table[pred], gt) for pred, gt in pairs], CLASSES, "identity")
        same = {name for name in result["metrics"] if result["metrics"][name] == renamed["metrics"][name]}
        assert same >= {"Acc", "mIoU", "FMeasure", "S", "MS", "ML", "L"}
        assert ("mBIoU" in same) == (boundary == "after")
    with pytest.raises(ValueError, match="pairs: where generated ids share a class"):
        evaluate_pairs(iter(pairs), CLASSES, num_clusters=9)


def test_fewer_clusters_than_classes():
    result = evaluate_pairs(_pairs(clusters=2), CLASSES, num_clusters=2)
    assert sorted(result["match"]) == [1, 2]


def test_shuffled_predictions_score_lower():
    rng = np.random.default_rng(0)
    gts = [_scene(rng, [0, label], (64, 80)) for label in rng.integers(1, CLASSES + 1, 40)]
    right = evaluate_pairs(((gt, gt) for gt in gts), CLASSES)["metrics"]["mIoU"]
    shuffled = evaluate_pairs(((gts[number], gt) for number, gt in zip(rng.permutation(40), gts)), CLASSES)["metrics"]["mIoU"]
    assert right == pytest.approx(100)
    assert shuffled < 50


def test_pixels_are_not_kept():
    """An iterator over many images: what stays is the sparse counts, not the maps (200 maps are 77 MB as int32)."""
    pred, gt = _pairs(1)[0]
    pred, gt = np.kron(pred, np.ones((5, 5), np.int32)), np.kron(gt, np.ones((5, 5), np.int32))

    def pairs():
        for shift in range(200):
            yield np.roll(pred, shift), gt.copy()

    tracemalloc.start()
    evaluate_pairs(pairs(), CLASSES)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 12e6


def test_missing_predictions_are_counted_and_named(folders):
    pred, data, _ = folders
    shutil.rmtree(f"{pred}/n01")
    with pytest.raises(LussError, match=r"7 of 21 prediction files are missing: .*n01.image\.07\.png, .*image\.09\.png, and 4 more"):
        evaluate_folder(pred, data, "validation", 4)


def test_ids_out_of_range_are_named(folders):
    pred, data, _ = folders
    write_label_map(f"{pred}/n00/image.00.png", np.full((48, 60), 7))
    for match in ("image", "identity"):
        with pytest.raises(LussError, match=r"image\.00\.png: found the predicted id 7; expected 0\.\.4"):
            evaluate_folder(pred, data, "validation", 4, match=match)
    with pytest.raises(LussError, match=r"image\.00\.png: match: no entry for id 7; it has ids up to 4"):
        evaluate_folder(pred, data, "validation", 4, match={1: 1, 2: 2, 3: 3, 4: 4})
    with pytest.raises(LussError, match=r"image\.00\.png: match: no entry for id 7"):
        evaluate_folder(pred, data, "validation", 4, match={1: 1, 2: 2, 3: 3, 4: 4}, boundary="before")
    with pytest.raises(LussError, match=r"found the generated id 7; expected 0\.\.4"):
        curve_folder(pred, data, "validation", 4)
    assert evaluate_folder(pred, data, "validation", 4, match="identity", allow_unknown_ids=True)["images"] == 21
    with pytest.raises(LussError, match=r"validation-segmentation.*: found the class id 3, 4; expected 0\.\.2"):
        evaluate_folder(pred, data, "validation", 2, num_clusters=9)


@pytest.mark.parametrize("content", [b"", b"junk", "float64", "nan", "object"])
def test_bad_attention_is_named(folders, content):
    pred, data, _ = folders
    path = f"{pred}/n00/image.00.npy"
    if isinstance(content, bytes):
        with open(path, "wb") as stream:
            stream.write(content)
    else:
        bad = {"float64": np.zeros((48, 60)), "nan": np.full((48, 60), np.nan, np.float32), "object": np.array([{}])}[content]
        np.save(path, bad, allow_pickle=True)
    with pytest.raises(LussError, match=r"image\.00\.npy: .*expected .*float32"):
        curve_folder(pred, data, "validation", 4)


def test_layouts(tmp_path):
    root = tmp_path / "validation-segmentation"
    with pytest.raises(LussError, match=r"validation-segmentation: no such folder; expected masks as .*<class>.*without masks the validation split"):
        list_masks(str(tmp_path), "validation")
    (root / "b").mkdir(parents=True)
    (root / "a").mkdir()
    with pytest.raises(LussError, match="no PNG in it or in its 2 folders"):
        list_masks(str(tmp_path), "validation")
    for name in ("b/2.png", "b/10.png", "a/x.png", "a/.hidden.png", "a/notes.txt"):
        write_label_map(root / name, np.zeros((2, 2), int))
    assert list_masks(str(tmp_path), "validation") == ["a/x.png", "b/10.png", "b/2.png"]
    write_label_map(root / "y.png", np.zeros((2, 2), int))
    with pytest.raises(LussError, match="1 masks .* stand beside class folders"):
        list_masks(str(tmp_path), "validation")
    shutil.rmtree(root / "a")
    shutil.rmtree(root / "b")
    assert list_masks(str(tmp_path), "validation") == ["y.png"]


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"num_classes": 0}, "num_classes=0"),
        ({"match": "best"}, "match='best'"),
        ({"match": 3}, "found int"),
        ({"match": {1: 9}}, "class ids up to num_classes=4, found 9"),
        ({"num_clusters": 0}, "num_clusters=0"),
        ({"boundary": "both"}, "boundary='both'"),
        ({"allow_unknown_ids": True}, "allow_unknown_ids"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        evaluate_pairs(_pairs(1), **{"num_classes": CLASSES, **arguments})
    with pytest.raises(ValueError, match="workers=-1"):
        list(map_in_order(abs, [1], -1))
