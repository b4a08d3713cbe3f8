"""The evaluator against the numbers of both published evaluators (golden/evaluation): metrics, boundary maps, counts, matches, curve."""

import functools
import json
import math

import numpy as np
import pytest
from shared_folder import shared_path

from luss.benchmark.boundary import boundary_mask, boundary_radius
from luss.benchmark.counts import count_image, stack_counts
from luss.benchmark.curve import apply_threshold, curve
from luss.benchmark.evaluate import curve_folder, evaluate_folder, evaluate_pairs
from luss.benchmark.label_map import read_label_map
from luss.benchmark.matching import cooccurrence, match_from_json, objective
from luss.benchmark.metrics import SCALARS

pytestmark = pytest.mark.golden
EXACT, PUBLISHED = 1e-9, 1e-6  # tolerances of golden/evaluation/README.md: the published code adds up in float32
MATCHED = [("k50", "pass"), ("k300", "pass"), ("curve50", None)]


@functools.cache
def _expected():
    return json.loads(shared_path("golden", "evaluation", "expected.json").read_text())["cases"]


@functools.cache
def _pairs(case, predictions):
    """((prediction, ground truth), ...) in the order of names.txt."""
    folder = shared_path("golden", "evaluation", case)
    names = [line.split()[1] for line in (folder / "names.txt").read_text().splitlines()]
    return tuple((read_label_map(folder / predictions / name), read_label_map(folder / "gt" / name)) for name in names)


@functools.cache
def _triples():
    folder = shared_path("golden", "evaluation", "curve50")
    names = [line.split()[1] for line in (folder / "names.txt").read_text().splitlines()]
    attention = [np.load(folder / "clus" / (name[:-4] + ".npy")) for name in names]
    return tuple((labels, attention, gt) for (labels, gt), attention in zip(_pairs("curve50", "clus"), attention))


def _assert_close(result, expected, tolerance):
    found = {**result["metrics"], "IoUs": result["ious"]}
    for name in SCALARS:
        if expected[name] is None:
            assert found[name] is None, name
        else:
            assert found[name] == pytest.approx(expected[name], rel=tolerance, abs=0), name
    if "IoUs" in expected:
        assert found["IoUs"] == pytest.approx(expected["IoUs"], rel=tolerance, abs=1e-12)


@pytest.mark.parametrize("case", ["k50", "k300", "odd50", "over50"])
def test_direct_metrics(case):
    golden = _expected()[case]
    result = evaluate_pairs(_pairs(case, "pred"), golden["num_classes"], "identity", allow_unknown_ids=case == "odd50")
    assert result["images"] == golden["n_images"]
    _assert_close(result, golden["direct"]["exact"], EXACT)
    _assert_close(result, golden["direct"]["toolbox"], PUBLISHED)
    if "pass" in golden["direct"]:
        _assert_close(result, golden["direct"]["pass"], PUBLISHED)


@pytest.mark.parametrize("case, other", MATCHED)
def test_matched_metrics(case, other):
    golden = _expected()[case]
    result = evaluate_pairs(_pairs(case, "clus"), golden["num_classes"])
    for name in ("toolbox", other):
        if name is not None:
            _assert_close(result, golden["matched"][name], PUBLISHED)
            _assert_close(result, golden["matched"][f"exact_with_{name}_match"], EXACT)


@pytest.mark.parametrize("case", ["k50", "k300", "curve50"])
def test_match_is_an_optimum(case):
    golden = _expected()[case]
    classes = golden["num_classes"]
    table = stack_counts(count_image(pred, gt) for pred, gt in _pairs(case, "clus"))
    together = cooccurrence(table, classes, classes)
    assert [[int(i) + 1, int(j) + 1, int(together[i, j])] for i, j in np.argwhere(together)] == golden["matched"]["cooccurrence_nonzero"]
    match = evaluate_pairs(_pairs(case, "clus"), classes)["match"]
    assert objective(together, match) == golden["matched"]["cooccurrence_objective"]
    for cluster, label in golden["matched"]["pairs_in_every_optimum"].items():
        assert match[int(cluster)] == label
    published = match_from_json(golden["matched"]["toolbox_match_json"], classes)
    assert objective(together, published) == objective(together, match)
    _assert_close(evaluate_pairs(_pairs(case, "clus"), classes, published), golden["matched"]["toolbox"], PUBLISHED)


@pytest.mark.parametrize("boundary, published", [("before", "toolbox"), ("after", "pass")])
def test_given_match_many_to_one(boundary, published):
    golden = _expected()["over50"]
    match = match_from_json(json.loads(shared_path("golden", "evaluation", "over50", "given_match.json").read_text()), 50)
    result = evaluate_pairs(_pairs("over50", "clus"), 50, match, boundary=boundary)
    _assert_close(result, golden["given_match"][f"exact_boundary_{boundary}_mapping"], EXACT)
    _assert_close(result, golden["given_match"][f"{published}_boundary_{boundary}_mapping"], PUBLISHED)


def test_boundary_maps():
    folder = shared_path("golden", "evaluation")
    with np.load(folder / "boundary_maps.npz") as maps:
        assert len(maps) == 28
        for key in maps:
            wnid, name, kind = key.split("__")
            ids = read_label_map(folder / "k50" / kind / wnid / name)
            np.testing.assert_array_equal(np.where(boundary_mask(ids), ids + 1, 0), maps[key], err_msg=key)


@pytest.mark.parametrize("case", ["k50", "k300", "odd50", "over50", "curve50"])
def test_counts_of_each_image(case):
    golden = _expected()[case]
    top = golden["num_classes"]
    for (pred, gt), expected in zip(_pairs(case, golden["per_image_source"]), golden["per_image"]):
        counts = count_image(pred, gt)
        assert (*counts.shape, counts.valid, boundary_radius(*counts.shape)) == tuple(expected[name] for name in ("h", "w", "valid", "radius"))
        p, g, pixels, pred_boundary, gt_boundary, both = counts.rows.T
        for name, ids, values in (
            ("inter", np.where(p == g, p, top + 1), pixels),
            ("pred", p, pixels),
            ("gt", g, pixels),
            ("b_inter", np.where(p == g, p, top + 1), both),
            ("b_pred", p, pred_boundary),
            ("b_gt", g, gt_boundary),
        ):
            sums = np.bincount(np.minimum(ids, top + 1), weights=values, minlength=top + 2)[: top + 1]
            assert {str(label): int(sums[label]) for label in np.flatnonzero(sums)} == expected[name], (expected["name"], name)
        scored = evaluate_pairs([(pred, gt)], top, "identity", allow_unknown_ids=True)["metrics"]["FMeasure"] / 100
        assert math.isclose(scored, expected["F"], rel_tol=PUBLISHED)


def test_uniqueness_of_the_optimum():
    for case in ("k50", "k300", "curve50"):
        golden = _expected()[case]
        result = evaluate_pairs(_pairs(case, "clus"), golden["num_classes"])
        assert result["matching"]["optimum_unique"] == golden["matched"]["optimum_unique_where_positive"]
        assert result["matching"]["objective"] == golden["matched"]["cooccurrence_objective"]
    for record in _expected()["curve50"]["curve"][::8]:
        result = evaluate_pairs([(apply_threshold(labels, attention, record["th"]), gt) for labels, attention, gt in _triples()], 50)
        assert result["matching"]["optimum_unique"] == record["optimum_unique_where_positive"]


@pytest.mark.parametrize("case", ["k50", "k300", "odd50"])
def test_compat_toolbox(case):
    """In single precision as the toolbox adds up; ids above K are left out without a word."""
    golden = _expected()[case]
    _assert_close(evaluate_pairs(_pairs(case, "pred"), golden["num_classes"], "identity", compat="toolbox"), golden["direct"]["toolbox"], PUBLISHED)


@pytest.mark.parametrize("compat", ["toolbox", "pass"])
def test_compat_takes_boundaries_in_the_published_order(compat):
    golden = _expected()["over50"]
    match = match_from_json(json.loads(shared_path("golden", "evaluation", "over50", "given_match.json").read_text()), 50)
    name = {"toolbox": "toolbox_boundary_before_mapping", "pass": "pass_boundary_after_mapping"}[compat]
    _assert_close(evaluate_pairs(_pairs("over50", "clus"), 50, match, compat=compat), golden["given_match"][name], PUBLISHED)


def test_curve():
    golden = _expected()["curve50"]
    result = curve(_triples(), 50)
    assert len(golden["curve"]) == 81
    assert result["thresholds"] == pytest.approx([record["th"] for record in golden["curve"]])
    assert result["objectives"] == [record["objective"] for record in golden["curve"]]
    for record, threshold, miou in zip(golden["curve"], result["thresholds"], result["miou"]):
        assert miou == pytest.approx(record["pass"]["mIoU"], rel=PUBLISHED)
        if "exact" in record:
            assert miou == pytest.approx(record["exact"]["mIoU"], rel=EXACT)
        if record["optimum_unique_where_positive"]:
            match = result["matches"][threshold]
            assert {cluster: match[int(cluster)] for cluster in record["match"]} == record["match"]
    assert result["best_threshold"] == golden["best_threshold"]


def test_all_metrics_along_the_curve():
    golden = _expected()["curve50"]
    for record in golden["curve"]:
        result = evaluate_pairs([(apply_threshold(labels, attention, record["th"]), gt) for labels, attention, gt in _triples()], 50)
        _assert_close(result, record["pass"], PUBLISHED)
        if "exact" in record:
            _assert_close(result, record["exact"], EXACT)
        if record["th"] == golden["best_threshold"]:
            assert result["ious"] == pytest.approx(golden["best_IoUs"], rel=PUBLISHED, abs=1e-12)


def test_from_files(tmp_path):
    folder = shared_path("golden", "evaluation")
    for case in ("k300", "curve50"):
        (tmp_path / case).mkdir()
        (tmp_path / case / "validation-segmentation").symlink_to(folder / case / "gt")
    golden = _expected()["k300"]
    result = evaluate_folder(str(folder / "k300" / "clus"), str(tmp_path / "k300"), "validation", 300)
    _assert_close(result, golden["matched"]["exact_with_toolbox_match"], EXACT)
    result = curve_folder(str(folder / "curve50" / "clus"), str(tmp_path / "curve50"), "validation", 50)
    arrays = curve(_triples(), 50)
    assert result == arrays
