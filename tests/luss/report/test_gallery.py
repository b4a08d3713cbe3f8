from __future__ import annotations

import base64
import io
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from luss.benchmark.label_map import IGNORE, write_label_map
from luss.report.gallery import choose, gallery, label_picture
from luss.report.palette import IGNORE_DARK, IGNORE_LIGHT, OTHER, colour
from luss.report.sources import Absent, Run
from tests.luss.report.samples import CLASSES, Page, finished_run


def pixels(page: Page, of: str, key: str) -> np.ndarray:
    (image,) = [image for image in page.pictures(of) if image["alt"] == f"{of} of {key}"]
    with Image.open(io.BytesIO(base64.b64decode(image["src"].partition(",")[2]))) as picture:
        return np.asarray(picture.convert("RGB"))


def test_images_are_shared_out_evenly():
    classes = [0] * 50 + [1] * 3 + [2] * 1 + [3] * 40
    chosen = choose(classes, 12)
    assert Counter(classes[i] for i in chosen) == {0: 4, 1: 3, 2: 1, 3: 4}
    assert chosen == sorted(set(chosen)) == choose(classes, 12)
    assert len({i // 10 for i in chosen if i < 50}) == 4  # spread inside a class


def test_more_classes_than_images():
    classes = np.repeat(np.arange(919), 2)
    chosen = classes[choose(classes, 12)]
    assert len(set(chosen)) == 12 and chosen[0] == 0 and chosen[-1] == 918 and np.ptp(np.diff(chosen)) <= 1


@pytest.mark.parametrize("count", [0, 1, 4, 5, 9])
def test_as_many_as_there_are(count):
    assert len(choose([0, 0, 1, 2, 2], count)) == min(count, 5)
    assert choose([], count) == []


def test_a_negative_number_of_images():
    with pytest.raises(ValueError, match="count=-1"):
        choose([0], -1)


def test_label_colours_and_hatch():
    ids = np.array([[0, 1], [2, 1]]).repeat(10, 0).repeat(10, 1)
    ids[:, 15:] = IGNORE
    picture = label_picture(ids)
    assert tuple(picture[0, 0]) == OTHER and tuple(picture[0, 12]) == colour(1) and tuple(picture[15, 3]) == colour(2)
    assert {tuple(rgb) for rgb in picture[:, 15:].reshape(-1, 3).tolist()} == {IGNORE_LIGHT, IGNORE_DARK}


def test_generated_ids_are_shown_in_the_colours_of_their_categories(tmp_path):
    run = Run(finished_run(tmp_path))
    page = Page(gallery(run, 15))
    for number, name in enumerate(CLASSES, 1):  # clusters are the categories in reverse: without the match class 1 would be drawn as 3
        truth, prediction, pseudo = (pixels(page, of, f"{name}/a.3.jpg") for of in ("ground truth", "prediction", "pseudo label"))
        assert tuple(prediction[50, 20]) == tuple(truth[50, 20]) == tuple(pseudo[50, 200]) == colour(number)
        assert tuple(truth[50, 200]) == tuple(pseudo[50, 20]) == OTHER
        assert {tuple(rgb) for rgb in truth[:, 105:115].reshape(-1, 3).tolist()} == {IGNORE_LIGHT, IGNORE_DARK}


def test_the_threshold_cuts_where_attention_is_below(tmp_path):
    root = finished_run(tmp_path)
    attention = np.full((200, 300), np.float32(0.3))
    attention[:, :150] = np.nextafter(np.float32(0.3), np.float32(0))
    np.save(root / "4-threshold" / "validation" / "n02" / "a.0.npy", attention)
    run = Run(root)
    run.threshold = 0.3
    pseudo = pixels(Page(gallery(run, 15)), "pseudo label", "n02/a.0.jpg")
    assert (pseudo[:, :110] == OTHER).all() and (pseudo[:, 110:] == colour(2)).all()


def test_attention_is_brighter_where_it_is_higher(tmp_path):
    shown = pixels(Page(gallery(Run(finished_run(tmp_path)), 15)), "attention", "n02/a.0.jpg").astype(int).sum((0, 2))
    assert shown[200] > shown[110] > shown[20]


def test_the_range_of_the_attention_is_told(tmp_path):
    root = finished_run(tmp_path)
    np.save(root / "4-threshold" / "validation" / "n02" / "a.0.npy", np.linspace(0.4981, 0.5013, 60000, dtype=np.float32).reshape(200, 300))
    assert "attention, 0.498 to 0.501" in Page(gallery(Run(root), 15)).text


def test_bad_files_leave_a_reason_in_their_cell(tmp_path):
    root = finished_run(tmp_path)
    (tmp_path / "data" / "validation" / "n02" / "a.0.jpg").write_bytes(b"")
    (root / "4-threshold" / "validation" / "n02" / "a.1.npy").write_bytes(b"no array")
    np.save(root / "4-threshold" / "validation" / "n02" / "a.2.npy", np.zeros((3, 4), np.float32))
    (root / "7-predict" / "validation" / "n02" / "a.3.png").write_bytes(b"\x89PNG")
    write_label_map(root / "7-predict" / "validation" / "n03" / "a.0.png", np.full((200, 300), 9))
    (tmp_path / "data" / "validation-segmentation" / "n03" / "a.1.png").unlink()
    page = Page(gallery(Run(root), 15))
    for reason in ("unreadable: empty file", "damaged attention map", "attention of 4 x 3", "a.3.png: found", "not of this match", "no ground truth"):
        assert reason in page.text
    assert [len(page.pictures(of)) for of in ("photo", "attention", "pseudo label", "prediction", "ground truth")] == [14, 14, 13, 13, 14]


def test_small_images_are_not_enlarged(tmp_path):
    root = finished_run(tmp_path)
    Image.new("RGB", (40, 1)).save(tmp_path / "data" / "validation" / "n02" / "a.0.jpg")
    assert pixels(Page(gallery(Run(root), 15)), "photo", "n02/a.0.jpg").shape == (1, 40, 3)


def test_the_legend_names_categories_once(tmp_path):
    text = Page(gallery(Run(finished_run(tmp_path)), 3)).text
    assert text.count("striped ring") == 1 and "ignore" in text and "threshold 0.50" in text


def test_equal_names_get_their_folder(tmp_path):
    root = finished_run(tmp_path)
    (tmp_path / "data" / "meta" / "class_names.txt").write_text("n03\tcrane\nn02\tcrane\n")
    assert Run(root).names == [CLASSES[0], "crane (n02)", "crane (n03)"]


def test_nothing_to_show(tmp_path):
    root = finished_run(tmp_path)
    with pytest.raises(Absent, match="No pictures were asked for"):
        gallery(Run(root), 0)
    for path in Path(tmp_path).rglob("*.*"):
        if path.suffix in (".png", ".npy"):
            path.unlink()
        elif path.suffix == ".jpg":
            path.write_bytes(b"")
    with pytest.raises(Absent, match="the first image: unreadable: empty file"):
        gallery(Run(root), 3)
