"""The rules of the four protocols as data, and what a run's recorded history says against them (spec/benchmark.md 4). It warns and never stops."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from engine.data.folder import MASK_FOLDER
from engine.runtime.errors import LussError
from engine.storage.atomic import read_json
from luss.benchmark.categories import NESTED_TEST_IN_LARGER_VAL
from luss.settings import flatten


@dataclass(frozen=True)
class Protocol:
    """One of the benchmark's competitions."""

    name: str
    title: str
    competition: int  # number at codalab.lisn.upsaclay.fr
    training_images: str
    labels: str  # human labels that training may use
    masks_for: str  # what the masks of validation may be used for
    prediction_ids: str
    match: bool  # whether match.json may go with the maps, and ids are mapped on the server
    label_splits: tuple[str, ...]  # splits whose masks training may use
    pure: bool  # only this set's training images, no weights from elsewhere


PROTOCOLS = {
    rule.name: rule
    for rule in (
        Protocol(
            "unsupervised",
            "fully unsupervised",
            1317,
            "the training images of that ImageNet-S set alone",
            "none",
            "choosing the threshold, and the match",
            "generated ids with match.json, or class ids",
            True,
            (),
            True,
        ),
        Protocol(
            "distance",
            "distance matching",
            1315,
            "the training images of that ImageNet-S set alone",
            "none; the masks of train-semi for the bank alone",
            "nothing",
            "class ids",
            False,
            ("train-semi",),
            True,
        ),
        Protocol(
            "semi",
            "semi-supervised",
            1318,
            "the training images of that ImageNet-S set alone",
            "the masks of train-semi, about 1 % of the images",
            "choosing the model",
            "class ids",
            False,
            ("train-semi",),
            True,
        ),
        Protocol(
            "free",
            "free",
            1316,
            "any",
            "any but those of validation and test",
            "choosing the model",
            "class ids",
            True,
            ("train-semi", "train"),
            False,
        ),
    )
}

PREDICTIONS = {"unsupervised": "7-predict", "distance": "distance-1-predict", "semi": "semi-2-predict"}  # stage folders with <split>/<class>/*.png
_STAGES = {  # stage folders, as beginnings of their names, that a protocol's predictions come from
    "unsupervised": ("1-", "2-", "3-", "4-", "5-", "6-", "7-"),
    "distance": ("1-", "distance-"),
    "semi": ("1-", "semi-"),
    "free": ("",),
}
_TRAINING = ("pretrain", "attend", "label", "finetune")  # ends of the names of stage folders in which something is trained or labelled for it


def protocol_named(name: str) -> Protocol:
    """The protocol of this name; LussError where there is none."""
    if name not in PROTOCOLS:
        raise LussError(f"--protocol {name}: no such protocol; there are {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]


def history_of(workspace: str | os.PathLike) -> dict:
    """What a run's folder says about how its predictions came about; a plain dict for `warnings_for`.

    Returns:
        settings: {dotted name: value} of settings.json;
        stages: {stage folder: {"settings": {dotted name: value}, "images": {split: fingerprint}}} of the DONE.json of each complete stage;
        categories, pretrain_categories, validation_categories: class folders of the training images, of the images of stage 1, and of the split
        that threshold and match are taken from; None where the folder is not there.

    Raises:
        LussError: no workspace of a run, or a damaged record.
    """
    root = Path(workspace)
    if not (root / "settings.json").is_file():
        raise LussError(f"{root}: no settings.json in it; expected the workspace of a run (or name a folder of label maps: luss submit PRED_DIR)")
    settings = _flat(read_json(root / "settings.json"), root / "settings.json")
    stages = {file.parent.name: _record(file) for file in sorted(root.glob("*-*/DONE.json"))}
    data_root = str(settings.get("data.root", ""))
    return {
        "settings": settings,
        "stages": stages,
        "categories": count_categories(data_root, ("train", "train-semi", "validation")),
        "pretrain_categories": count_categories(str(settings.get("data.pretrain_root") or data_root), ("train",)),
        "validation_categories": count_categories(data_root, (str(settings.get("data.evaluation_split", "validation")),)),
    }


def warnings_for(protocol: str, history: dict, categories: int | None = None) -> list[str]:
    """What in a run's history breaks, or may break, the rules of a protocol; one sentence each.

    Args:
        protocol: unsupervised, distance, semi or free.
        history: as `history_of` gives it; keys that are not there say nothing.
        categories: of the set that is submitted to; None = the run's own.
    """
    rule = protocol_named(protocol)
    target = categories if categories is not None else history.get("categories")
    stages = {name: record for name, record in history.get("stages", {}).items() if name.startswith(_STAGES[protocol])}
    found = []
    if rule.pure:
        found += [*_foreign_weights(rule, history, stages), *_other_images(rule, history, stages, target)]
    return [*found, *_masks_of_larger_set(history, target), *_selection(rule, history, stages), *_labels(rule, stages)]


def count_categories(root: str, splits: Iterable[str]) -> int | None:
    """Class folders of the first of these splits that is there; None without any."""
    for split in splits:
        for folder in (os.path.join(root, split), os.path.join(root, split + MASK_FOLDER)):
            if root and os.path.isdir(folder):
                with os.scandir(folder) as entries:
                    return sum(entry.is_dir() and not entry.name.startswith(".") for entry in entries) or None
    return None


def _recorded(name: str, history: dict, stages: dict) -> list:
    """Distinct values of a setting that the stages were made with, whatever settings.json was changed to since; its value where none recorded it."""
    values = [record["settings"][name] for record in stages.values() if name in record.get("settings", {})]
    return list(dict.fromkeys(values or [value for key, value in history.get("settings", {}).items() if key == name]))


def _foreign_weights(rule: Protocol, history: dict, stages: dict) -> Iterable[str]:
    for weights in filter(None, _recorded("model.weights", history, stages)):
        yield (
            f"training began from model.weights = {weights}: the protocol {rule.name} allows no supervised weights and no extra data; "
            "see to it that these were trained without labels on this set's training images alone"
        )


def _other_images(rule: Protocol, history: dict, stages: dict, target: int | None) -> Iterable[str]:
    settings = history.get("settings", {})
    root, first = str(settings.get("data.root", "")), str(settings.get("data.pretrain_root", ""))
    allowed = f"the protocol {rule.name} allows {rule.training_images}"
    begun, used = history.get("pretrain_categories"), history.get("categories")
    if target and begun and begun > target:
        full = ", all of ImageNet" if begun == 1000 else ""
        yield f"stage 1 took training images of {begun} categories{full} ({first or root}) for a set of {target}: {allowed}"
    elif first and os.path.realpath(first) != os.path.realpath(root):
        yield f"stage 1 took other images than the later stages, data.pretrain_root = {first}: {allowed}"
    elif len(taken := {value for record in stages.values() if (value := record.get("images", {}).get("train"))}) > 1:
        yield f"the stages recorded {len(taken)} different sets of training images: {allowed}; run the stages again on one set"
    if target and used and used > target:
        yield f"the later stages took training images of {used} categories ({root}) for a set of {target}: {allowed}"


def _masks_of_larger_set(history: dict, target: int | None) -> Iterable[str]:
    number = history.get("validation_categories") or history.get("categories")
    hidden = NESTED_TEST_IN_LARGER_VAL.get((target, number))
    if hidden:
        images = "1 test image" if hidden == 1 else f"{hidden} test images"
        yield (
            f"threshold, match or model were chosen on validation masks of the set of {number} categories, which contain {images} of the set of "
            f"{target}: choose them on the validation masks of the set of {target}"
        )


def _selection(rule: Protocol, history: dict, stages: dict) -> Iterable[str]:
    for split in _recorded("data.evaluation_split", history, stages):
        if split != "validation":
            yield (
                f"data.evaluation_split = {split}: threshold, match and model may be chosen on the masks of validation alone "
                f"(protocol {rule.name}: masks are for {rule.masks_for})"
            )
    for threshold in _recorded("label.threshold", history, stages) if rule.name == "unsupervised" else ():
        if isinstance(threshold, (int, float)) and threshold >= 0:
            yield f"label.threshold = {threshold:g} was given by hand: it may come from the validation masks of this set alone"


def _labels(rule: Protocol, stages: dict) -> Iterable[str]:
    """train-semi is there for its masks alone; the images of other splits are no business of a stage that trains."""
    for name, record in stages.items():
        read = dict.fromkeys(split[: -len(MASK_FOLDER)] if split.endswith(MASK_FOLDER) else split for split in record.get("images", {}))
        splits = [split for split in read if split == "train-semi" or (split != "train" and name.endswith(_TRAINING))]
        bank = rule.name == "distance" and not name.startswith("distance-")  # there, its masks may go into the bank and nowhere else
        wrong = [split for split in splits if bank or split not in rule.label_splits]
        if wrong:
            yield f"stage {name} used {', '.join(wrong)}: the protocol {rule.name} allows these human labels for training: {rule.labels}"


def _record(file: Path) -> dict:
    """Settings and image fingerprints of a stage's DONE.json."""
    record = read_json(file)
    if not isinstance(record, dict) or not isinstance(record.get("inputs"), dict):
        raise LussError(f"{file}: not a stage's record (expected settings and inputs): delete the folder, and run the stage again")
    nested = {section: keys for section, keys in _tree(record.get("settings"), file).items() if isinstance(keys, dict)}
    mark = "images of "  # the masks of a split, <split>-segmentation, are recorded in the same way
    images = {name[len(mark) :]: value for name, value in record["inputs"].items() if name.startswith(mark)}
    return {"settings": {name: value for name, value in flatten(nested).items() if isinstance(value, (str, int, float))}, "images": images}


def _flat(tree: object, path: Path) -> dict:
    if not all(isinstance(keys, dict) for keys in _tree(tree, path).values()):
        raise LussError(f"{path}: not the stored settings of a run; expected sections of settings")
    return flatten(_tree(tree, path))


def _tree(value: object, path: Path) -> dict:
    if not isinstance(value, dict):
        raise LussError(f"{path}: found a {type(value).__name__} where settings were expected: run the stage again")
    return value
