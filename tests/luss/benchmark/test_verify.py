"""Verification: sound sets pass, and every kind of damage is named once, with its file."""

import os

import numpy as np
import pytest
from PIL import Image
from shared_folder import shared_path

from engine.runtime.errors import LussError
from luss.benchmark import layout
from luss.benchmark.categories import categories
from luss.benchmark.label_map import write_label_map
from luss.benchmark.layout import scan_layout
from luss.benchmark.verify import verify_layout
from luss.demo.generator import generate
from tests.engine.data.samples import photo

CLASSES = ("c1", "c2", "c3")
SIZE = (14, 10)  # width, height


@pytest.fixture
def sound(tmp_path):
    """3 classes with 2 images in each split; masks for train-semi and validation."""
    for number, name in enumerate(CLASSES):
        for split in ("train", "train-semi", "validation", "test"):
            folder = tmp_path / split / name
            folder.mkdir(parents=True)
            for image in range(2):
                photo(*SIZE, seed=10 * number + image).save(folder / f"{name}_{image}.JPEG")
        for split in ("train-semi", "validation"):
            folder = tmp_path / f"{split}-segmentation" / name
            folder.mkdir(parents=True)
            for image in range(2):
                write_label_map(folder / f"{name}_{image}.png", labels(number + 1))
    return tmp_path


def labels(*numbers):
    """Rows of these ids, 0, and 1000."""
    rows = np.resize([*numbers, 0, 1000], SIZE[1])
    return np.repeat(rows[:, None], SIZE[0], axis=1)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_sound_set(sound, workers):
    calls = []
    found = verify_layout(str(sound), workers=workers, progress=lambda *call: calls.append(call))
    assert (found.problems, found.published, found.num_classes, found.decoded) == ((), None, 3, True)
    assert [(row.split, row.classes, row.images, row.masks) for row in found.splits] == [
        ("train", 3, 6, None),
        ("train-semi", 3, 6, 6),
        ("validation", 3, 6, 6),
        ("test", 3, 6, None),
    ]
    assert calls == [(done, 24) for done in range(1, 25)]
    assert found.note == "not a published set: counts are held against nothing"


def _truncate(path):
    path.write_bytes(path.read_bytes()[:-40])


def _grey(path):
    Image.fromarray(np.full(SIZE[::-1], 1, np.uint8)).save(path)


def _palette(path, colour=(255, 0, 255)):
    image = Image.new("P", SIZE, 1)
    image.putpalette([0, 0, 0, *colour])
    image.save(path)


def _coded_palette(path):
    """What tools that shrink PNG files make of id 255."""
    _palette(path, (255, 0, 0))


def _blue(path):
    Image.new("RGB", SIZE, (1, 0, 7)).save(path)


IMAGE, MASK = "validation/c1/c1_0.JPEG", "validation-segmentation/c1/c1_0.png"


@pytest.mark.parametrize(
    ("place", "damage", "kind", "text"),
    [
        (IMAGE, _truncate, "unreadable image", "truncated"),
        ("train/c2/c2_1.JPEG", lambda path: path.write_bytes(b""), "unreadable image", "empty file"),
        ("test/c3/c3_0.JPEG", lambda path: path.write_text("<html></html>"), "unreadable image", "an HTML page"),
        (MASK, _truncate, "unreadable mask", "damaged or unreadable PNG"),
        (MASK, lambda path: path.write_bytes(b""), "unreadable mask", "found an empty file"),
        (MASK, lambda path: write_label_map(path, labels(1)[:-1]), "size mismatch", "14 x 9 pixels (width x height), but the image has 14 x 10"),
        (MASK, lambda path: write_label_map(path, labels(1).T), "size mismatch", "10 x 14 pixels"),
        (MASK, lambda path: write_label_map(path, labels(1, 4)), "id out of range", "found the id 4; expected 0..3, or 1000 for ignore"),
        (MASK, lambda path: write_label_map(path, labels(*range(1, 9))), "id out of range", "found the id 4, 5, 6, 7, 8; expected"),
        (MASK, lambda path: write_label_map(path, labels(1, 65535, 999)), "id out of range", "found the id 999, 65535;"),
        (MASK, _grey, "wrong mode", "8-bit grey PNG; expected 8-bit RGB"),
        (MASK, _palette, "wrong mode", "bit palette PNG; expected 8-bit RGB"),
        (MASK, _coded_palette, "unreadable mask", "index 1 has the colour of id 255"),
        (MASK, _blue, "wrong mode", "blue values up to 7; expected id = R + 256 G with B = 0"),
        (MASK, lambda path: Image.new("RGBA", SIZE, (1, 0, 0, 255)).save(path), "wrong mode", "8-bit RGBA PNG"),
    ],
)
def test_damage_is_named(sound, place, damage, kind, text):
    damage(sound / place)
    problem = only(verify_layout(str(sound)))
    assert (problem.kind, problem.path) == (kind, place) and text in problem.text, problem
    assert verify_layout(str(sound), fast=True).problems == ()  # seen only by opening the file


@pytest.mark.parametrize(
    ("change", "kind", "path"),
    [
        (lambda root: (root / MASK).unlink(), "image without mask", IMAGE),
        (lambda root: (root / IMAGE).unlink(), "mask without image", MASK),
        (lambda root: (root / IMAGE).rename(root / "validation" / "x.JPEG"), "files beside class folders", "validation"),
        (lambda root: (root / "test" / "c4").mkdir(), "class folder that is no category", "test/c4"),
        (lambda root: (root / "train-semi-segmentation" / "c4").mkdir(), "class folder that is no category", "train-semi-segmentation/c4"),
        (lambda root: (root / "train" / "c1").rename(root / "train" / "c4"), "class folder that is no category", "validation/c1"),
        (lambda root: (root / "train" / "c4").symlink_to("/none"), "dangling link", "train/c4"),
        (lambda root: (root / "test" / "c1" / "x.JPEG").symlink_to("none"), "dangling link", "test/c1/x.JPEG"),
        (lambda root: photo(*SIZE).save(root / "test" / "c1" / "c1_0.png"), "several images of one stem", "test/c1/c1_0"),
    ],
)
def test_what_names_tell(sound, change, kind, path):
    change(sound)
    for fast in (True, False):
        assert (kind, path) in [(problem.kind, problem.path) for problem in verify_layout(str(sound), fast=fast).problems]


def only(found):
    assert len(found.problems) == 1, list(map(str, found.problems))
    return found.problems[0]


def test_workers_find_the_same_in_the_same_order(sound):
    for name in ("c1_0", "c1_1"):
        write_label_map(sound / "validation-segmentation" / "c1" / f"{name}.png", labels(1, 7))
    _truncate(sound / "test/c3/c3_0.JPEG")
    alone, together = verify_layout(str(sound)), verify_layout(str(sound), workers=2)
    assert alone == together and len(alone.problems) == 3
    assert alone.counts() == {"id out of range": 2, "unreadable image": 1}
    assert [row.problems for row in alone.splits] == [0, 0, 2, 1]
    assert alone.as_dict()["splits"][2] == {"split": "validation", "classes": 3, "images": 6, "expected": None, "masks": 6, "problems": 2}


def test_masks_with_the_ids_of_another_set(sound):
    for number, name in enumerate(CLASSES):
        for image in range(2):
            write_label_map(sound / "validation-segmentation" / name / f"{name}_{image}.png", labels((number + 1) % 3 + 1))
    problem = only(verify_layout(str(sound)))
    assert (problem.kind, problem.path) == ("masks of another set", "validation-segmentation")
    assert "6 of 6 masks lack the category of their folder" in problem.text


def test_what_is_no_data_set(tmp_path):
    with pytest.raises(LussError, match="none: no such folder; expected a data set with train/<class>/<image>"):
        verify_layout(str(tmp_path / "none"))
    with pytest.raises(LussError, match="found none of the folders train, train-semi, validation, test"):
        verify_layout(str(tmp_path))
    with pytest.raises(LussError, match="4: there is no ImageNet-S with so many categories; expected 50, 300, 919"):
        verify_layout(str(tmp_path), 4)


@pytest.fixture
def fifty(tmp_path, monkeypatch):
    """ImageNet-S-50 with the right numbers of empty files; its 64,431 training images are taken to be 100."""
    monkeypatch.setitem(layout.SPLIT_SIZES[50], "train", 100)
    wnids = [category.wnid for category in categories(50)]
    sizes = {"train": [2] * 50, "train-semi": [10] * 50, "validation": [15] * 48 + [16] * 2, "test": [34] * 32 + [33] * 18}
    for split, counts in sizes.items():
        for wnid, count in zip(wnids, counts):
            for folder, suffix in ((split, "JPEG"), (f"{split}-segmentation", "png")):
                if suffix == "JPEG" or split in layout.ANNOTATED:
                    (tmp_path / folder / wnid).mkdir(parents=True)
                    for number in range(count):
                        (tmp_path / folder / wnid / f"{wnid}_{number}.{suffix}").touch()
    return tmp_path, wnids


def test_a_published_set_is_recognised_and_counted(fifty):
    root, wnids = fifty
    found = verify_layout(str(root), fast=True)
    assert (found.published, found.num_classes, found.note) == (50, 50, "")
    assert found.problems == (), list(map(str, found.problems))
    assert [row.expected for row in found.splits] == [100, 500, 752, 1682]
    for number in range(12):
        (root / "test" / wnids[0] / f"{wnids[0]}_{number}.JPEG").unlink()
    (root / "train-semi" / wnids[1] / "x.JPEG").touch()
    assert list(map(str, verify_layout(str(root), fast=True).problems)) == [
        "train-semi: 501 images; expected 500",
        f"train-semi/{wnids[1]}: 11 images; expected 10",
        f"train-semi/{wnids[1]}/x.JPEG: its mask train-semi-segmentation/{wnids[1]}/x.png does not exist",
        "test: 1,670 images; expected 1,682",
    ]
    (root / "test" / wnids[0] / f"{wnids[0]}_12.JPEG").unlink()
    assert f"test/{wnids[0]}: 21 images; expected 22 to 45" in map(str, verify_layout(str(root), fast=True).problems)


def test_folders_of_a_published_set(fifty):
    root, wnids = fifty
    os.rename(root / "train" / wnids[0], root / "train" / "n01440764")
    os.rename(root / "validation-segmentation", root / "masks")
    problems = list(map(str, verify_layout(str(root), fast=True).problems))  # the other splits still tell which set it is
    assert "train/n01440764: no category of ImageNet-S-50" in problems
    assert f"train/{wnids[0]}: no such folder; ImageNet-S-50 has this category" in problems
    assert "validation-segmentation: no such folder; expected a mask for each of the 752 images" in problems
    assert len(problems) == 3
    os.rename(root / "test", root / "test-aside")
    assert "test: no such folder; expected 1,682 images" in map(str, verify_layout(str(root), fast=True).problems)


def test_an_almost_published_set_is_hinted_at(fifty):
    root, wnids = fifty
    for split in ("train", "train-semi", "validation", "test"):
        os.rename(root / split / wnids[0], root / split / "n01440764")
    found = verify_layout(str(root), fast=True)
    assert found.published is None
    assert found.note == ("not a published set, but 49 of the 50 categories of ImageNet-S-50 are here: add --set 50 to hold it against that set")
    asked = verify_layout(str(root), 50, fast=True)
    assert asked.published == 50 and asked.counts()["class folder that is no category"] == 4


def test_the_demo_set_is_sound(tmp_path):
    generate(str(tmp_path / "data"), seed=3, train=16, validation=8, test=8)
    found = verify_layout(str(tmp_path / "data"))
    assert found.problems == () and found.num_classes == 8
    assert {row.split: row.masks for row in found.splits if row.masks} == {"train-semi": 16, "validation": 8, "test": 8}


@pytest.mark.golden
def test_real_photographs_with_masks_are_sound():
    root = str(shared_path("data", "real-mini"))
    found = verify_layout(root, fast=True)
    assert found.problems == () and found.num_classes == 9
    assert [(row.split, row.images, row.masks) for row in found.splits] == [
        ("train", 1173, None),
        ("train-semi", 90, 90),
        ("validation", 213, 213),
        ("test", 360, 360),
    ]
    assert [files.mask_count for files in scan_layout(root)] == [0, 90, 213, 360]
