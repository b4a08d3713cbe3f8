"""A made-up finished run, with a data set of three classes, and a reader of the page."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
from PIL import Image

from luss.benchmark.label_map import IGNORE, write_label_map
from luss.settings import Settings

CLASSES = ("<script>alert(1)<", "n02", "n03")  # "/" cannot stand in a folder's name
PER_CLASS = 5
VOID = {"meta", "img", "circle", "line", "path", "polyline"}


class Page(HTMLParser):
    """Elements, attributes and text of a page; checks that all elements are closed in order."""

    def __init__(self, page: str):
        super().__init__()
        self.elements: list[tuple[str, dict]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if not self._open or self._open[-1] != "style":
            self.text += data

    def all(self, tag: str, **attributes: str) -> list[dict]:
        return [found for name, found in self.elements if name == tag and attributes.items() <= found.items()]

    def pictures(self, of: str) -> list[dict]:
        return [img for img in self.all("img") if img["alt"].startswith(of + " of ")]


def write_json(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def data_set(root: Path, masks: bool = True) -> None:
    """<root>/validation/<class>/*.jpg of 300 x 200 pixels, and masks whose left half is the class, with a band of ignore."""
    rng = np.random.default_rng(0)
    for number, name in enumerate(CLASSES, 1):
        for i in range(PER_CLASS):
            photo = root / "validation" / name / f"a.{i}.jpg"
            photo.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (200, 300, 3), dtype=np.uint8)).save(photo)
            if masks:
                mask = root / "validation-segmentation" / name / f"a.{i}.png"
                mask.parent.mkdir(parents=True, exist_ok=True)
                ids = np.zeros((200, 300), np.int32)
                ids[:, :150] = number
                ids[:, 140:160] = IGNORE
                write_label_map(mask, ids)


def finished_run(root: Path) -> Path:
    """The workspace <root>/run of a finished run on <root>/data; cluster c is category 4 - c."""
    data, run = root / "data", root / "run"
    data_set(data)
    settings = Settings().as_dict()
    settings["data"]["root"] = str(data)
    settings["cluster"]["clusters"] = 3
    write_json(run / "settings.json", settings)
    (data / "meta").mkdir()
    (data / "meta" / "class_names.txt").write_text(f"{CLASSES[0]}\t<b>bold</b> & co\nn02\tstriped ring\nn03\tdotted star\n", encoding="utf-8")
    for stage, columns in (("1-pretrain", "loss,i2i,lr"), ("2-attend", "loss,lr"), ("6-finetune", "loss,accuracy,lr")):
        width = columns.count(",") + 1
        rows = "".join(f"{step},{step // 10},{','.join([str(5 - step / 40)] * width)}\n" for step in range(1, 100))
        (run / stage).mkdir()
        (run / stage / "log.csv").write_text(f"step,epoch,{columns}\n{rows}")
    report = {"nmi": 0.5, "accuracy": 0.625, "sizes": [20, 7, 13], "train_images": 40, "iterations": [{"objective": 9.0}, {"objective": 7.5}]}
    write_json(run / "3-cluster" / "report.json", report)
    write_json(
        run / "4-threshold" / "curve.json",
        {"thresholds": [0.0, 0.25, 0.5, 0.75], "miou": [10.0, 20.0, 30.0, 5.0], "best_threshold": 0.5, "best_miou": 30.0, "rule": "best mIoU"},
    )
    for number, name in enumerate(CLASSES, 1):
        for i in range(PER_CLASS):
            ids = np.full((200, 300), 4 - number, np.int32)
            attention = np.linspace(0, 1, 300, dtype=np.float32)[None].repeat(200, 0)
            for stage in ("4-threshold", "7-predict"):
                path = run / stage / "validation" / name / f"a.{i}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                write_label_map(path, ids)
            np.save(run / "4-threshold" / "validation" / name / f"a.{i}.npy", attention)
    write_json(run / "7-predict" / "match.json", {"1": 3, "2": 2, "3": 1, "0": 0})
    names = ("Acc", "mIoU", "mBIoU", "FMeasure", "S", "MS", "ML", "L", "BS", "BMS", "BML", "BL")
    metrics = {name: 10.0 + i for i, name in enumerate(names)}
    metrics.update(S=None, IoUs=[40.0, 31.25, 32.5, None], images=15, split="validation")
    write_json(run / "8-evaluate" / "metrics.json", metrics)
    for stage in ("1-pretrain", "8-evaluate"):
        done = {"settings": {"untrained": stage == "1-pretrain"}, "inputs": {}, "outputs": {"seconds": 12.5}, "finished": "2025-01-02 03:04:05"}
        write_json(run / stage / "DONE.json", done)
    return run
