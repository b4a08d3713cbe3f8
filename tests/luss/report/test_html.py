from __future__ import annotations

import base64
import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from engine.runtime.errors import LussError
from luss.report.html import Markup, table, write_report
from luss.settings import Settings
from tests.luss.report.samples import CLASSES, Page, data_set, finished_run, write_json

SECTIONS = ("metrics", "training", "attention", "clusters", "confusion", "images", "worst", "settings", "stages")
PICTURES = ("photo", "attention", "pseudo label", "prediction", "ground truth")


def page_of(run: Path, images: int = 12) -> Page:
    return Page(Path(write_report(str(run), images)).read_text(encoding="utf-8"))


def sections(page: Page) -> list[str]:
    return [section["id"] for section in page.all("section")]


def test_a_finished_run_shows_every_section_and_picture(tmp_path):
    run = finished_run(tmp_path)
    path = write_report(str(run))
    assert path == str(run / "report.html")
    page = page_of(run)
    assert sections(page) == list(SECTIONS)
    assert [len(page.pictures(of)) for of in PICTURES] == [12] * 5
    assert [len(page.pictures(f"{role}: {of}")) for role in ("worst", "best") for of in ("photo", "prediction", "ground truth")] == [6] * 6
    assert len(page.all("svg")) == 7  # three losses, threshold, sizes, objective, confusion
    for expected in ("31.25", "NMI 0.500", "accuracy 0.625", "cluster.clusters", "striped ring", "left untrained", "12.50", "11.00", "i2i 2.525"):
        assert expected in page.text
    assert os.path.getsize(path) < 3_000_000
    assert [name for name in os.listdir(run) if ".tmp-" in name] == []


def test_the_page_needs_nothing_from_outside(tmp_path):
    run = finished_run(tmp_path)
    page = page_of(run)
    assert not page.all("script") and not page.all("link") and not page.all("iframe")
    for tag, attributes in page.elements:
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name)
            assert name not in ("href", "xlink:href", "srcset", "data", "action"), (tag, name)
            if name == "src":
                assert re.match(r"data:image/(png|jpeg);base64,", value)
    assert not re.search(r"url\(|@import|https?:", Path(run / "report.html").read_text(encoding="utf-8"))


def test_pictures_are_small_and_of_one_shape(tmp_path):
    for image in page_of(finished_run(tmp_path)).all("img"):
        with Image.open(io.BytesIO(base64.b64decode(image["src"].partition(",")[2]))) as picture:
            assert picture.size == (220, 147)
            assert (image["width"], image["height"]) == ("220", "147")


def test_names_are_escaped(tmp_path):
    run = finished_run(tmp_path / "<img src=x onerror=alert(1)>")
    run = run.rename(run.with_name('"><script>alert(2)<'))
    page = page_of(run)
    assert not page.all("script") and len(page.all("img")) == 60 + 36 and not page.all("b")
    assert CLASSES[0] in page.text and "<b>bold</b> & co" in page.text and '"><script>alert(2)<' in page.text
    assert any(CLASSES[0] in image["alt"] for image in page.all("img"))


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS refuses file names that are not UTF-8")
def test_a_file_name_that_is_not_utf8(tmp_path):
    run = finished_run(tmp_path)
    folder = os.fsencode(tmp_path / "data" / "validation" / "n02")
    os.rename(os.path.join(folder, b"a.0.jpg"), os.path.join(folder, b"\xff.jpg"))
    assert "n02/?.jpg" in page_of(run, 100).text


def test_the_same_run_gives_the_same_page(tmp_path):
    run = finished_run(tmp_path)
    first = Path(write_report(str(run))).read_bytes()
    assert Path(write_report(str(run))).read_bytes() == first


@pytest.mark.parametrize(
    ("gone", "sentence", "pictures"),
    [
        ("settings.json", "The workspace holds no settings.json", (0, 0, 0, 0, 0)),
        ("1-pretrain", "No log of pre-training: stage pretrain has not run yet.", (12, 12, 12, 12, 12)),
        ("1-pretrain/log.csv", "No log of pre-training: stage pretrain trained nothing.", (12, 12, 12, 12, 12)),
        ("3-cluster", "No clusters: stage cluster has not finished yet.", (12, 12, 12, 12, 12)),
        ("4-threshold", "No threshold: stage threshold has not finished yet.", (12, 0, 0, 12, 12)),
        ("4-threshold/curve.json", "No threshold: stage threshold has not finished yet.", (12, 12, 0, 12, 12)),
        ("7-predict/validation", "No image of validation could be scored; the first: <script>", (12, 12, 12, 0, 12)),
        ("7-predict", "No assignment of clusters to categories", (12, 12, 12, 0, 12)),
        ("8-evaluate", "No metrics: stage evaluate has not run yet.", (12, 12, 12, 12, 12)),
        ("../data/validation-segmentation", "Left out, no ground truth: the data set has no mask for it.", (12, 12, 12, 12, 0)),
        ("../data", "no such folder", (0, 0, 0, 0, 0)),
    ],
)
def test_a_missing_piece_is_one_sentence(tmp_path, gone, sentence, pictures):
    run = finished_run(tmp_path)
    path = run / gone
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    page = page_of(run)
    assert sections(page) == list(SECTIONS)
    assert sentence in page.text
    assert tuple(len(page.pictures(of)) for of in PICTURES) == pictures


def test_an_empty_workspace(tmp_path):
    page = page_of(tmp_path)
    assert sections(page) == list(SECTIONS)
    assert page.text.count("not begun") == 9 and not page.all("img")


def test_a_run_without_masks(tmp_path):
    run = finished_run(tmp_path)
    shutil.rmtree(tmp_path / "data" / "validation-segmentation")
    (run / "7-predict" / "match.json").unlink()
    write_json(run / "8-evaluate" / "metrics.json", {"note": "no masks for validation"})
    write_json(run / "4-threshold" / "curve.json", {"thresholds": [], "miou": [], "best_threshold": 0.4, "best_miou": None, "rule": "Otsu's"})
    write_json(run / "3-cluster" / "report.json", {"nmi": None, "accuracy": None, "sizes": [1, 2, 3]})
    page = page_of(run)
    for sentence in ("No metrics: no masks for validation.", "is background (Otsu's)", "no classes to compare", "those of the clusters' numbers"):
        assert sentence in page.text
    assert [len(page.pictures(of)) for of in PICTURES] == [12, 12, 12, 12, 0]


def test_a_plain_folder_of_images(tmp_path):
    data_set(tmp_path / "data", masks=False)
    plain, run = tmp_path / "plain", tmp_path / "run"
    shutil.copytree(tmp_path / "data" / "validation" / "n02", plain)
    settings = Settings().as_dict()
    settings["data"]["root"] = str(plain)
    write_json(run / "settings.json", settings)
    (run / "4-threshold" / "train").mkdir(parents=True)
    page = page_of(run)
    assert "5 of the 5 images of train" in page.text and len(page.pictures("photo")) == 5


@pytest.mark.parametrize(
    "content", ["", "[1]", "{", "null", '{"sizes": 3, "miou": "x", "thresholds": 1, "IoUs": {}, "mIoU": "x", "iterations": [3]}']
)
def test_damaged_files_are_named_and_left_out(tmp_path, content):
    run = finished_run(tmp_path)
    for name in ("3-cluster/report.json", "4-threshold/curve.json", "7-predict/match.json", "8-evaluate/metrics.json", "1-pretrain/DONE.json"):
        (run / name).write_text(content)
    (run / "2-attend" / "log.csv").write_text("step,epoch,loss\n1,0,oops\n")
    (run / "6-finetune" / "log.csv").write_bytes(b"\xff\xfe\n")
    page = page_of(run)
    assert sections(page) == list(SECTIONS)
    assert "2-attend/log.csv: not a readable log" in page.text and "6-finetune/log.csv: not a readable log" in page.text
    assert "match.json" in page.text


def test_damaged_settings(tmp_path):
    run = finished_run(tmp_path)
    (run / "settings.json").write_text('{"data": 3}')
    assert "names no data.root" in page_of(run).text


def test_a_log_cut_short_in_a_row(tmp_path):
    run = finished_run(tmp_path)
    (run / "2-attend" / "log.csv").write_text("step,epoch,loss,lr\n10,0,4.5,0.1\n20,0\n30,0,nan,0.1")
    assert "after step 10: loss 4.5" in page_of(run).text


@pytest.mark.parametrize(
    ("stage", "sentence"), [("1-pretrain", "stage pretrain trained nothing."), ("2-attend", "stage attend has logged none yet.")]
)
def test_an_empty_log(tmp_path, stage, sentence):
    run = finished_run(tmp_path)
    (run / stage / "log.csv").write_text("")
    assert sentence in page_of(run).text


def test_919_categories(tmp_path):
    run = finished_run(tmp_path)
    settings = json.loads((run / "settings.json").read_text())
    for number in range(4, 920):
        (tmp_path / "data" / "validation" / f"n{number:04d}").mkdir()
    write_json(run / "settings.json", settings)
    write_json(run / "7-predict" / "match.json", {**{str(i): 920 - i for i in range(1, 920)}, "0": 0})
    write_json(run / "8-evaluate" / "metrics.json", {"mIoU": 1.0, "IoUs": [0.5] * 920})
    write_json(run / "3-cluster" / "report.json", {"sizes": [10] * 919, "nmi": 0.1, "accuracy": 0.1})
    page = page_of(run)
    assert "more that do not occur in these pictures" in page.text
    assert len(page.all("img")) == 60 + 36
    assert os.path.getsize(run / "report.html") < 3_000_000


def test_number_of_images(tmp_path):
    run = finished_run(tmp_path)
    assert len(page_of(run, 2).pictures("photo")) == 2
    assert len(page_of(run, 999).pictures("photo")) == 15
    assert "No pictures were asked for." in page_of(run, 0).text
    with pytest.raises(ValueError, match="images=-1"):
        write_report(str(run), -1)


def test_no_such_workspace(tmp_path):
    with pytest.raises(LussError, match="nothing: no such folder; expected the workspace of a run"):
        write_report(str(tmp_path / "nothing"))


def test_long_tables_are_capped_and_cells_escaped():
    page = table(("<a>", "n"), [("<i>", 1.0), (Markup("<em>x</em>"), float("nan"))] + [("y", 2.0)] * 1200)
    assert "&lt;i&gt;" in page and "<em>x</em>" in page and "&lt;a&gt;" in page and ">–<" in page
    assert page.count("<tr>") == 1001 and "and 202 more" in page


def test_the_report_imports_no_jittor_and_no_stages():
    unwanted = ("jittor", "luss.stages", "luss.models", "torch", "matplotlib")
    code = f"import sys, luss.report.html; print([m for m in sys.modules if m.startswith({unwanted})])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[3], check=True)
    assert done.stdout.strip() == "[]"
