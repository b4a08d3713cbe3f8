"""The protocols' rules, and the history of a workspace that they are held against."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.runtime.errors import LussError
from luss.benchmark.categories import NESTED_TEST_IN_LARGER_VAL, SPLIT_SIZES
from luss.benchmark.rules import PROTOCOLS, history_of, warnings_for
from luss.settings import load_settings

STAGES = ("1-pretrain", "2-attend", "3-cluster", "3-features", "4-threshold", "5-label", "6-finetune", "7-predict")


def run_folder(root: Path, data: Path, overrides: tuple[str, ...] = (), stages: tuple[str, ...] = STAGES, **inputs: dict) -> Path:
    """A workspace with settings.json and one record for each stage; `inputs` by stage name without its number."""
    settings = load_settings("imagenet-s-50", None, [f"data.root={data}", *overrides]).as_dict()
    root.mkdir(parents=True, exist_ok=True)
    (root / "settings.json").write_text(json.dumps(settings))
    for stage in stages:
        folder = root / stage
        folder.mkdir()
        name = stage.partition("-")[2]
        record = {
            "settings": {"model": settings["model"], "run": {"seed": 1}, "untrained": False},
            "inputs": {"images of train": "same", **inputs.get(name, {})},
            "outputs": {},
            "finished": "today",
        }
        (folder / "DONE.json").write_text(json.dumps(record))
    return root


def data_folder(root: Path, categories: int, splits: tuple[str, ...] = ("train", "validation", "test")) -> Path:
    for split in splits:
        for number in range(categories):
            (root / split / f"n{number:08d}").mkdir(parents=True)
    return root


def test_the_four_competitions():
    assert {name: rule.competition for name, rule in PROTOCOLS.items()} == {"unsupervised": 1317, "distance": 1315, "semi": 1318, "free": 1316}
    assert [SPLIT_SIZES[number]["test"] for number in (50, 300, 919)] == [1682, 9088, 27423]
    with pytest.raises(LussError, match="--protocol fre: no such protocol; there are unsupervised, distance, semi, free"):
        warnings_for("fre", {})


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_clean_run_gives_no_warning(tmp_path, protocol):
    run = run_folder(tmp_path / "run", data_folder(tmp_path / "data", 4))
    history = history_of(run)
    assert history["categories"] == history["pretrain_categories"] == history["validation_categories"] == 4
    assert list(history["stages"]) == list(STAGES)
    assert warnings_for(protocol, history) == [] and warnings_for(protocol, {}) == []


def test_weights_from_elsewhere(tmp_path):
    run = run_folder(tmp_path / "run", data_folder(tmp_path / "data", 4), ("model.weights=supervised.pth",))
    settings = json.loads((run / "settings.json").read_text())
    settings["model"]["weights"] = ""  # changed after stage 1: its record counts
    (run / "settings.json").write_text(json.dumps(settings))
    later = json.loads((run / "7-predict" / "DONE.json").read_text())
    later["settings"]["model"]["weights"] = ""
    (run / "7-predict" / "DONE.json").write_text(json.dumps(later))
    for protocol in ("unsupervised", "distance", "semi"):
        (found,) = warnings_for(protocol, history_of(run))
        assert "model.weights = supervised.pth" in found and "no supervised weights" in found
    assert warnings_for("free", history_of(run)) == []


def test_extra_data(tmp_path):
    data, full = data_folder(tmp_path / "data", 4), data_folder(tmp_path / "full", 10, ("train",))
    other = data_folder(tmp_path / "other", 4, ("train",))
    (found,) = warnings_for("unsupervised", history_of(run_folder(tmp_path / "a", data, (f"data.pretrain_root={full}",))))
    assert f"stage 1 took training images of 10 categories ({full}) for a set of 4" in found
    (found,) = warnings_for("semi", history_of(run_folder(tmp_path / "b", data, (f"data.pretrain_root={other}",))))
    assert "other images than the later stages" in found
    assert warnings_for("unsupervised", history_of(run_folder(tmp_path / "c", data, (f"data.pretrain_root={data}/.",)))) == []
    (found,) = warnings_for("unsupervised", history_of(run_folder(tmp_path / "d", data, pretrain={"images of train": "another"})))
    assert "2 different sets of training images" in found


def test_full_imagenet_is_named():
    history = {"settings": {"data.pretrain_root": "/imagenet"}, "pretrain_categories": 1000, "categories": 919}
    assert "1000 categories, all of ImageNet" in warnings_for("unsupervised", history)[0]
    found = warnings_for("unsupervised", {"pretrain_categories": 919, "categories": 919}, categories=300)
    assert any("stage 1 took training images of 919" in text for text in found) and any("later stages took" in text for text in found)


@pytest.mark.parametrize(("sets", "images"), NESTED_TEST_IN_LARGER_VAL.items())
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_masks_of_a_larger_set(protocol, sets, images):
    target, larger = sets
    found = [text for text in warnings_for(protocol, {"validation_categories": larger}, categories=target) if "validation masks of the set" in text]
    assert len(found) == 1 and f"contain {images} test image" in found[0]
    assert warnings_for(protocol, {"validation_categories": target}, categories=target) == []
    assert warnings_for(protocol, {"validation_categories": target}, categories=larger) == []  # nothing of the larger test is in the smaller set


def test_selection_on_test_and_a_given_threshold(tmp_path):
    data = data_folder(tmp_path / "data", 4)
    run = run_folder(tmp_path / "run", data, ("data.evaluation_split=test", "label.threshold=0.41"))
    found = warnings_for("unsupervised", history_of(run))
    assert len(found) == 2 and "data.evaluation_split = test" in found[0] and "label.threshold = 0.41 was given by hand" in found[1]
    assert len(warnings_for("semi", history_of(run))) == 1


def test_labels_for_training(tmp_path):
    data = data_folder(tmp_path / "data", 4)
    labelled = {"images of train-semi": "a", "images of train-semi-segmentation": "b"}
    run = run_folder(tmp_path / "a", data, finetune=labelled)
    (found,) = warnings_for("unsupervised", history_of(run))
    assert "stage 6-finetune used train-semi" in found and "allows these human labels for training: none" in found
    run = run_folder(tmp_path / "b", data, finetune={"images of validation": "a"})
    for protocol in ("unsupervised", "free"):
        assert "6-finetune used validation" in warnings_for(protocol, history_of(run))[0]
    assert warnings_for("distance", history_of(run)) == []  # its maps come from stage 1 and the bank alone


def test_each_protocol_looks_at_its_own_stages(tmp_path):
    """One workspace may hold the predictions of several protocols."""
    data = data_folder(tmp_path / "data", 4)
    labelled = {"images of train-semi": "a", "images of train-semi-segmentation": "b", "images of validation": "c"}
    stages = (*STAGES, "distance-1-predict", "semi-1-finetune", "semi-2-predict")
    inputs = {"1-predict": labelled, "1-finetune": {key: labelled[key] for key in list(labelled)[:2]}}
    history = history_of(run_folder(tmp_path / "run", data, (), stages, **inputs))
    assert set(history["stages"]["distance-1-predict"]["images"]) == {"train", "train-semi", "train-semi-segmentation", "validation"}
    assert all(warnings_for(protocol, history) == [] for protocol in PROTOCOLS)
    history["stages"]["1-pretrain"]["images"]["train-semi"] = "a"
    assert "stage 1-pretrain used train-semi" in warnings_for("distance", history)[0] and warnings_for("semi", history) == []


def test_a_folder_that_is_no_run(tmp_path):
    with pytest.raises(LussError, match=r"no settings\.json in it"):
        history_of(tmp_path)
    run = run_folder(tmp_path / "run", data_folder(tmp_path / "data", 2))
    for text in ("[]", '{"settings": {}}', '{"settings": 3, "inputs": {}}'):
        (run / "5-label" / "DONE.json").write_text(text)
        with pytest.raises(LussError, match=r"5-label/DONE\.json"):
            history_of(run)
    (run / "settings.json").write_text('{"data": 3}')
    with pytest.raises(LussError, match=r"settings\.json: not the stored settings"):
        history_of(run)
