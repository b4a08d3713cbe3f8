from __future__ import annotations

import json

import numpy as np
import pytest

from engine.runtime.errors import LussError
from luss.benchmark.bootstrap import resample
from luss.benchmark.counts import count_image
from luss.benchmark.metrics import SCALARS
from luss.benchmark.results import load_result
from luss.benchmark.store import save_counts
from tests.luss.benchmark.result_files import MATCH, K, edit_json, evaluated_run, record


def test_every_form_of_a_run_gives_the_same(tmp_path):
    root = evaluated_run(tmp_path / "a", 0.4, seed=5)
    alone = tmp_path / "printed.json"  # what `luss evaluate PRED_DIR` prints
    stored = json.loads((root / "8-evaluate" / "metrics.json").read_text())
    ious = stored["IoUs"]
    alone.write_text(json.dumps({"metrics": {name: stored[name] for name in SCALARS}, "match": MATCH, "images": 8, "ious": ious}))
    whole = load_result(root)
    assert (whole.images, whole.split, whole.matching, whole.seed, whole.num_classes) == (8, "validation", "image", 5, K)
    assert whole.workspace == str(root) and whole.counts.endswith("counts.npz")
    for path in (root / "8-evaluate", root / "8-evaluate" / "metrics.json", root / "8-evaluate" / "counts.npz", alone):
        found = load_result(path)
        assert found.metrics == pytest.approx(whole.metrics) and found.ious == pytest.approx(whole.ious) and found.images == 8
    assert load_result(alone).counts == "" and load_result(alone).seed is None and load_result(alone).matching == ""


def test_a_run_with_counts_alone(tmp_path):
    with_metrics, without = (load_result(evaluated_run(tmp_path / str(metrics), 0.4, metrics=metrics)) for metrics in (True, False))
    assert without.metrics == pytest.approx(with_metrics.metrics)


def test_the_sums_are_of_matched_predictions(tmp_path):
    run = load_result(evaluated_run(tmp_path / "a", 0.4))
    values = resample([run.sums()], 3)[0]
    for name, found in values.items():
        assert found[0] == pytest.approx(run.metrics[name])


@pytest.mark.parametrize(
    ("changes", "matching"),
    [
        ({}, "given"),
        ({"scheme": "pixel"}, "pixel"),
        ({"scheme": "image", "match": None}, "image"),  # joined shards: the match is open
        ({"scheme": "identity", "match": None}, "identity"),
    ],
)
def test_the_match_is_that_of_the_record(tmp_path, changes, matching):
    gt = np.array([[2, 2, 3, 0]])
    pred = gt if matching == "identity" else np.array([[1, 1, 2, 0]])  # 1 is class 2, 2 is class 3
    save_counts(tmp_path / "b.npz", ["a"], [count_image(pred, gt)], record(**changes))
    found = load_result(tmp_path / "b.npz")
    assert found.metrics["mIoU"] == pytest.approx(75) and found.matching == matching
    assert resample([found.sums()], 1)[0]["FMeasure"][0] == pytest.approx(100)


def test_notes_of_the_evaluation_are_kept(tmp_path):
    save_counts(tmp_path / "b.npz", ["a"], [count_image(np.array([[1, 2]]), np.array([[3, 3]]))], record(scheme="majority", match=None))
    assert "upper bound" in load_result(tmp_path / "b.npz").notes[0]
    root = evaluated_run(tmp_path / "a", 0.4)
    edit_json(root / "8-evaluate" / "metrics.json", notes=["one", "two"], matching={"scheme": "iou"})
    assert load_result(root).notes == ("one", "two") and load_result(root).matching == "iou"


def test_counts_of_something_else_than_the_metrics(tmp_path):
    root = evaluated_run(tmp_path / "a", 0.4)
    edit_json(root / "8-evaluate" / "metrics.json", mIoU=12.0)
    with pytest.raises(LussError, match=r"counts.npz: gives mIoU .* but .* says 12.0: .*evaluate again"):
        load_result(root).sums()
    (root / "8-evaluate" / "counts.npz").unlink()
    with pytest.raises(LussError, match="no counts of single images; make them with luss evaluate --save-counts"):
        load_result(root).sums()


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"mIoU": "DROP"}, "metrics.json: holds no mIoU"),
        ({"mIoU": "DROP", "note": "no masks for validation"}, r"holds no mIoU \(no masks for validation\)"),
        ({"mIoU": None}, "its mIoU is null"),
        ({"Acc": "many"}, "metrics.json: Acc is 'many'; expected a number"),
        ({"Acc": True}, "Acc is True"),
        ({"Acc": float("nan")}, "Acc is nan"),
        ({"IoUs": "DROP"}, "no list IoUs"),
        ({"IoUs": [1]}, "no list IoUs"),
        ({"IoUs": [1, "x"]}, r"IoUs\[1\] is 'x'"),
    ],
)
def test_damaged_metrics_are_named(tmp_path, changes, complaint):
    root = evaluated_run(tmp_path / "a", 0.4)
    edit_json(root / "8-evaluate" / "metrics.json", **changes)
    with pytest.raises(LussError, match=complaint):
        load_result(root)


def test_what_is_no_run(tmp_path):
    (tmp_path / "list.json").write_text("[]")
    (tmp_path / "a.txt").write_text("")
    (tmp_path / "a.npz").write_bytes(b"PK")
    save_counts(tmp_path / "b.npz", ["a"], [count_image(np.array([[1]]), np.array([[1]]))], {"num_classes": 3})
    save_counts(tmp_path / "c.npz", ["a"], [count_image(np.array([[7]]), np.array([[1]]))], record())
    (tmp_path / "empty").mkdir()
    for name, complaint in (
        ("nothing", "no such file or folder; expected the folder of a run"),
        ("empty", "neither metrics.json nor counts.npz in it"),
        ("list.json", "found a list"),
        ("a.txt", "neither .json nor .npz"),
        ("a.npz", "a.npz"),
        ("b.npz", "its record lacks num_clusters, scheme, match, boundary, allow_unknown_ids, bad"),
        ("c.npz", "a: match: no entry for id 7"),
    ):
        with pytest.raises(LussError, match=complaint):
            load_result(tmp_path / name)


@pytest.mark.parametrize("settings", ["[]", '{"run": 3}', '{"run": {"seed": "x"}}', '{"run": {"seed": true}}'])
def test_a_seed_that_is_not_recorded(tmp_path, settings):
    root = evaluated_run(tmp_path / "a", 0.4)
    (root / "settings.json").write_text(settings)
    assert load_result(root).seed is None
