"""Scoring from counts: perfect and permuted predictions, stored counts, compat, extra metrics, subsets; properties of the whole evaluator."""

import functools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from engine.runtime.errors import LussError
from luss.benchmark.counts import count_image, stack_counts
from luss.benchmark.evaluate import evaluate_counts, evaluate_folder, evaluate_pairs
from luss.benchmark.label_map import write_label_map
from luss.benchmark.metrics import SCALARS, compute_metrics, confusion, extra_metrics, size_metrics
from luss.benchmark.scoring import score
from luss.benchmark.store import load_counts, pack_counts
from luss.benchmark.subset import subset_positions

CLASSES = 5
MAPS = st.tuples(st.integers(3, 9), st.integers(3, 9)).flatmap(
    lambda shape: st.tuples(
        arrays(np.int32, shape, elements=st.integers(0, CLASSES)), arrays(np.int32, shape, elements=st.sampled_from([0, 1, 2, 3, 4, 5, 1000]))
    )
)


def _scene(rng, ids):
    return np.kron(rng.choice(ids, (4, 5)), np.ones((9, 12), int))


def _pairs(count=15, clusters=CLASSES, seed=0):
    rng = np.random.default_rng(seed)
    return [(_scene(rng, np.arange(clusters + 1)), _scene(rng, [0, 1, 2, 3, 4, 5, 1000])) for _ in range(count)]


def _numbers(metrics):
    """With None, which approx cannot compare, as a number that no metric has."""
    return {name: -1 if value is None else value for name, value in metrics.items()}


def _stored(pairs, **record):
    options = {"num_classes": CLASSES, "num_clusters": CLASSES, "scheme": "image", "match": None, "boundary": "after", "allow_unknown_ids": False}
    names = [f"n{number % 3}/{number}.png" for number in range(len(pairs))]
    return pack_counts(names, [count_image(*pair) for pair in pairs], {**options, "bad": {}, **record})


@functools.cache
def _folder_pairs():
    return tuple(_pairs(12))


@settings(max_examples=40, deadline=None)
@given(st.lists(MAPS, min_size=1, max_size=4), st.permutations(range(1, CLASSES + 1)))
def test_permuting_the_clusters_changes_nothing(pairs, order):
    order = np.array([0, *order])
    first = evaluate_pairs(pairs, CLASSES)
    second = evaluate_pairs([(order[pred], gt) for pred, gt in pairs], CLASSES)
    assert first["matching"] == second["matching"]
    if first["matching"]["optimum_unique"]:
        # pairs of clusters and classes that never meet are arbitrary; they score 0 either way
        assert _numbers(first["metrics"]) == pytest.approx(_numbers(second["metrics"]))
        assert first["extra"] == pytest.approx(second["extra"])


@settings(max_examples=40, deadline=None)
@given(st.lists(MAPS, min_size=1, max_size=4))
def test_a_perfect_prediction(pairs):
    gts = [np.where(gt == 1000, 0, gt) for _, gt in pairs]
    table = stack_counts([count_image(gt, gt) for gt in gts])
    present = len(np.unique(np.concatenate([gt.ravel() for gt in gts])))
    metrics = compute_metrics(table, CLASSES)
    assert metrics["mIoU"] == pytest.approx(100 * present / (CLASSES + 1))
    for name in ("S", "MS", "ML", "L"):
        assert metrics[name] is None or metrics[name] == pytest.approx(100)
    found = size_metrics(table, CLASSES)
    assert {name for name in found if found[name]["value"] is None} == {name for name in found if found[name]["classes"] == 0}
    assert extra_metrics(table, CLASSES)["pixel_accuracy"] == pytest.approx(100)


def test_a_perfect_prediction_of_all_classes_scores_100_everywhere():
    rng = np.random.default_rng(0)
    gts = [_scene(rng, np.arange(CLASSES + 1)) for _ in range(20)]
    result = evaluate_pairs([(gt, gt) for gt in gts], CLASSES, "identity")
    assert result["metrics"]["mIoU"] == pytest.approx(100) and result["metrics"]["mBIoU"] == pytest.approx(100)
    assert result["metrics"]["Acc"] == 100
    assert all(value == pytest.approx(100) for value in result["extra"].values())


@settings(max_examples=30, deadline=None)
@given(st.lists(MAPS, min_size=2, max_size=5), st.randoms(use_true_random=False))
def test_the_order_of_images_changes_nothing(pairs, random):
    shuffled = list(pairs)
    random.shuffle(shuffled)
    for scheme in ("image", "pixel", "iou"):
        assert evaluate_pairs(pairs, CLASSES, scheme) == evaluate_pairs(shuffled, CLASSES, scheme)


@pytest.fixture
def folders(tmp_path):
    for number, (pred, gt) in enumerate(_folder_pairs()):
        for root, ids in (("pred", pred), ("data/validation-segmentation", gt)):
            folder = tmp_path / root / f"n{number // 4}"
            folder.mkdir(parents=True, exist_ok=True)
            write_label_map(folder / f"{number:02d}.png", ids)
    return str(tmp_path / "pred"), str(tmp_path / "data"), tmp_path / "counts.npz"


@pytest.mark.parametrize("scheme", ["image", "pixel", "iou", "identity", {1: 3, 2: 2, 3: 1, 4: 5, 5: 4}])
def test_stored_counts_score_as_the_images(folders, scheme):
    pred, data, file = folders
    direct = evaluate_folder(pred, data, "validation", CLASSES, match=scheme, save=str(file))
    stored = load_counts(file)
    again = evaluate_counts(stored)
    for name in ("metrics", "ious", "match", "images", "sizes", "extra", "boundary", "bad"):
        assert again[name] == direct[name]
    other = evaluate_folder(pred, data, "validation", CLASSES, match="image")
    assert evaluate_counts(stored, "image")["metrics"] == other["metrics"]
    assert stored.record["split"] == "validation" and stored.record["class_folders"] == ["n0", "n1", "n2"]
    assert len(stored.record["checksums"]["mask_names"]) == 64


def test_many_to_one_needs_the_images_for_boundaries_and_says_so(folders):
    pred, data, file = folders
    direct = evaluate_folder(pred, data, "validation", CLASSES, match="majority", save=str(file))
    before = evaluate_folder(pred, data, "validation", CLASSES, match="majority", boundary="before")
    again = evaluate_counts(load_counts(file), "majority")
    assert direct["matching"]["upper_bound"] and "upper bound" in direct["notes"][0]
    labels = list(direct["match"].values())
    assert len(set(labels)) < len(labels)
    assert again["boundary"] == "before" and any("boundaries taken before renaming" in note for note in again["notes"])
    assert again["metrics"] == before["metrics"]
    assert {name for name in SCALARS if again["metrics"][name] != direct["metrics"][name]} <= {"mBIoU", "BS", "BMS", "BML", "BL"}
    assert again["metrics"]["mBIoU"] != direct["metrics"]["mBIoU"]


def test_schemes_reach_their_aims():
    pairs = _pairs(30, seed=3)
    results = {scheme: evaluate_pairs(pairs, CLASSES, scheme) for scheme in ("image", "pixel", "iou", "majority", "identity")}
    for aim in ("image", "pixel", "iou"):
        match = results[aim]["match"]
        assert sorted(match.values()) == [1, 2, 3, 4, 5]
    assert sum(results["iou"]["ious"][1:]) == pytest.approx(100 * results["iou"]["matching"]["objective"], rel=1e-9)
    assert all(sum(results["iou"]["ious"][1:]) >= sum(results[other]["ious"][1:]) - 1e-6 for other in ("image", "pixel", "identity"))


def test_a_subset_is_scored_with_the_match_of_the_whole():
    pairs = _pairs(15, seed=2)
    whole = evaluate_pairs(pairs, CLASSES)
    stored = _stored(pairs, match={str(key): label for key, label in whole["match"].items()})
    positions = subset_positions(stored.names, "class=n1")
    assert positions == [1, 4, 7, 10, 13]
    part = evaluate_counts(stored.select(positions))
    expected = evaluate_pairs([pairs[position] for position in positions], CLASSES, whole["match"])
    assert part["metrics"] == expected["metrics"] and part["images"] == 5
    assert evaluate_counts(stored.select(positions), "image")["match"] == evaluate_pairs([pairs[p] for p in positions], CLASSES)["match"]


def test_subsets_by_file(tmp_path):
    names = ["n0/a.png", "n0/b.png", "n1/c.png"]
    (tmp_path / "list.txt").write_text("n1/c.JPEG n1/c.png\n\nn0/a\n")
    assert subset_positions(names, str(tmp_path / "list.txt")) == [0, 2]
    (tmp_path / "list.txt").write_text("n1/d.png\n")
    for subset, complaint in (
        (str(tmp_path / "list.txt"), r"list\.txt: found 1 unknown, e\.g\. n1/d"),
        ("class=n0,n7", "--subset class=n0,n7: found 1 unknown, e.g. n7"),
        ("class=", "found nothing"),
        (str(tmp_path / "none.txt"), r"none\.txt: cannot be read"),
    ):
        with pytest.raises(LussError, match=complaint):
            subset_positions(names, subset)


@pytest.mark.parametrize(("compat", "boundary"), [("toolbox", "before"), ("pass", "after")])
def test_compat_is_the_published_order_in_single_precision(compat, boundary):
    pairs = _pairs(20, clusters=9, seed=5)
    exact = evaluate_pairs(pairs, CLASSES, num_clusters=9, boundary=boundary)
    published = evaluate_pairs(pairs, CLASSES, num_clusters=9, compat=compat)
    assert published["boundary"] == boundary and published["compat"] == compat
    assert _numbers(published["metrics"]) == pytest.approx(_numbers(exact["metrics"]), rel=1e-6)
    assert published["metrics"] != exact["metrics"]


def test_single_precision_counters_lose_units_as_the_published_ones_do():
    """Past 2^24 pixels a float32 counter ignores single pixels: 20 images of 2^20 and one more pixel each."""
    big, one = count_image(np.zeros((2**10, 2**10), int), np.zeros((2**10, 2**10), int)), count_image(np.array([[0]]), np.array([[0]]))
    table = stack_counts([big] * 16 + [one] * 5 + [count_image(np.array([[1]]), np.array([[0]]))])
    exact, single = compute_metrics(table, 1)["IoUs"][0], compute_metrics(table, 1, single=True)["IoUs"][0]
    assert exact == pytest.approx(100 * (2**24 + 5) / (2**24 + 6), rel=1e-12)
    assert single == 100


def test_unknown_ids_are_refused_or_left_out_of_the_areas():
    pairs = [(np.array([[7, 1, 0, 0]]), np.array([[2, 1, 0, 0]]))]
    with pytest.raises(LussError, match=r"pairs\[0\]\[0\]: found the predicted id 7; expected 0\.\.5"):
        evaluate_pairs(pairs, CLASSES, "identity")
    with pytest.raises(LussError, match="found the predicted id 7"):
        evaluate_pairs(pairs, CLASSES, "identity", compat="pass")
    tolerated = evaluate_pairs(pairs, CLASSES, "identity", compat="toolbox")
    assert tolerated["ious"][:3] == pytest.approx([100, 100, 0])
    assert tolerated["metrics"]["FMeasure"] == pytest.approx(100)


def test_extra_metrics_and_confusion_by_hand():
    table = stack_counts([count_image(np.array([[0, 0, 1, 1, 2, 2]]), np.array([[0, 1, 1, 1, 2, 1000]]))])
    assert confusion(table, CLASSES).tolist() == [[0, 0, 1], [1, 0, 1], [1, 1, 2], [2, 2, 1]]
    extra = extra_metrics(table, CLASSES)
    assert extra["pixel_accuracy"] == pytest.approx(80)
    assert extra["class_accuracy"] == pytest.approx(100 * (1 + 2 / 3 + 1) / 3)
    assert extra["miou_present"] == pytest.approx(100 * (1 / 2 + 2 / 3 + 1) / 3)
    assert extra["frequency_weighted_iou"] == pytest.approx(100 * (1 / 2 * 1 + 2 / 3 * 3 + 1) / 5)


def test_both_size_conventions():
    found = score(_stored(_pairs()), CLASSES)
    for name, entry in found["sizes"].items():
        assert entry["value"] == found["metrics"][name]
        assert entry["old"] == pytest.approx((entry["value"] or 0) * entry["classes"] / (CLASSES + 1))


def test_options_are_checked():
    stored = _stored(_pairs(2))
    for options, complaint in (
        ({"match": "best"}, "match='best': expected one of image, pixel"),
        ({"match": 3}, "found int"),
        ({"match": {1: 9}}, "up to num_classes=5, found 9"),
        ({"boundary": "during"}, "boundary='during'"),
        ({"compat": "mmseg"}, "compat='mmseg'"),
        ({"num_clusters": 0}, "num_clusters=0"),
    ):
        with pytest.raises(ValueError, match=complaint):
            score(stored, CLASSES, **options)
    with pytest.raises(LussError, match=r"n0/0\.png: match: no entry for id .* is it the match of these predictions"):
        score(stored, CLASSES, {9: 1})


def test_a_record_that_lacks_something_is_refused():
    stored = _stored(_pairs(2))
    del stored.record["scheme"]
    with pytest.raises(LussError, match="the record of the counts lacks scheme"):
        evaluate_counts(stored)
