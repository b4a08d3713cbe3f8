"""Preparation: the layout, what is resumed, what is missing, and that ImageNet itself is never written to."""

import json
import os
import shutil
from pathlib import Path

import pytest

from engine.runtime.errors import LussError
from luss.benchmark import prepare as module
from luss.benchmark.categories import MERGED, categories, dataset_of
from luss.benchmark.layout import Problem
from luss.benchmark.prepare import prepare
from luss.benchmark.verify import verify_layout
from tests.luss.benchmark.imagenet_sample import CATEGORIES, DROPPED, Sample


def run(sample, masks="archive", **options):
    masks = str(sample.archive()) if masks == "archive" else masks
    return prepare(str(sample.imagenet), str(sample.lists), masks, sample.num, str(sample.out), **{"published": False, **options})


def tree(root):
    """{path: content, or what a link leads to} of everything below `root`; links are not followed."""
    found = {}
    for place, folders, files in os.walk(root):
        for name in (*folders, *files):
            path = Path(place, name)
            if path.is_symlink():
                found[str(path.relative_to(root))] = os.readlink(path)
            elif path.is_file():
                found[str(path.relative_to(root))] = path.read_bytes()
    return found


@pytest.mark.parametrize("flat", [False, True])
def test_layout(tmp_path, flat):
    sample = Sample(tmp_path, flat=flat)
    before = tree(sample.imagenet)
    done = run(sample)
    assert done.problems == [] and not done.kept
    assert done.made == {
        "train": 2 + 12,  # two linked folders, two merged ones with links to 6 files each
        "train-semi": 8,
        "validation": 8,
        "test": 12,
        "train-semi-segmentation": 8,
        "validation-segmentation": 8,
    }
    out = sample.out
    assert os.readlink(out / "train" / "n01443537") == str(sample.imagenet / "train" / "n01443537")
    merged = out / "train" / "n02808440"
    assert not merged.is_symlink()
    assert sorted(os.listdir(merged)) == [f"{wnid}_{number}.JPEG" for wnid in ("n02808440", "n04493381") for number in range(3)]
    assert os.readlink(merged / "n04493381_1.JPEG") == str(sample.imagenet / "train" / "n04493381" / "n04493381_1.JPEG")
    annotated = out / "train-semi" / "n02808440" / "n04493381_1.JPEG"
    assert not annotated.is_symlink() and annotated.read_bytes() == (merged / "n04493381_1.JPEG").read_bytes()
    moved = "ILSVRC2012_val_00000001.JPEG"  # its corrected label is not the folder that it comes from
    origin = sample.imagenet / "val" / ("" if flat else DROPPED) / moved
    assert (out / "validation" / "n01443537" / moved).read_bytes() == origin.read_bytes()
    for key, data in sample.masks.items():
        assert (out / key).read_bytes() == data
    assert not (out / "train" / DROPPED).exists() and not (out / "train-full").exists()
    assert (out / "meta" / "class_names.txt").read_text().splitlines()[0] == "n01443537\tgoldfish"
    record = json.loads((out / "meta" / "prepared.json").read_text())
    assert (record["set"], record["published"], record["images"]["test"], len(record["lists"])) == (4, False, 12, 5)
    assert tree(sample.imagenet) == before
    assert verify_layout(str(out)).problems == ()


def test_a_second_run_changes_nothing(tmp_path, monkeypatch):
    sample = Sample(tmp_path)
    first = run(sample)
    before = {path: os.lstat(path).st_mtime_ns for path in sample.out.rglob("*") if path.parent.name != "meta" and not path.is_dir()}
    second = run(sample)
    assert not second.made and second.kept == first.made
    assert before == {path: os.lstat(path).st_mtime_ns for path in before}
    assert run(sample, masks=None).problems == []  # the masks are there


def test_only_what_is_missing_or_torn_is_made_again(tmp_path):
    sample = Sample(tmp_path)
    run(sample)
    whole = tree(sample.out)
    out = sample.out
    (out / "validation" / "n01443537" / "ILSVRC2012_val_00000002.JPEG").unlink()
    torn = out / "test" / "n01443537" / "ILSVRC2012_val_00000003.JPEG"
    torn.write_bytes(torn.read_bytes()[:40])
    mask = next(out.glob("validation-segmentation/*/*.png"))
    mask.write_bytes(b"")
    (out / "train" / "n01443537").unlink()
    (out / "train" / "n01443537").symlink_to("../elsewhere")  # as a relative link of the published script would be
    (out / "train" / "n02808440" / "n04493381_1.JPEG").unlink()
    left = out / "test" / "n01443537" / "x.JPEG.tmp-999999999"
    left.write_bytes(b"half")
    done = run(sample)
    assert done.made == {"validation": 1, "test": 1, "validation-segmentation": 1, "train": 2}
    assert tree(out) == whole


@pytest.mark.parametrize("stop", [1, 5, 11, 23, 40])
def test_interruption_leaves_no_half_file_and_is_resumed(tmp_path, monkeypatch, stop):
    sample = Sample(tmp_path)
    run(sample)
    whole = tree(sample.out)
    shutil.rmtree(sample.out)
    calls = []
    replace = os.replace

    def interrupted(source, target):
        calls.append(target)
        if len(calls) == stop:
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(sample)
    monkeypatch.setattr(os, "replace", replace)
    assert tree(sample.out).items() <= whole.items()
    done = run(sample)
    assert done.problems == [] and tree(sample.out) == whole
    assert sum(done.made.values()) + sum(done.kept.values()) == 58 and sum(done.kept.values()) == stop - 1


def test_from_links_to_copies_and_back(tmp_path):
    sample = Sample(tmp_path)
    before = tree(sample.imagenet)
    run(sample)
    done = run(sample, copy=True)
    assert done.made["train"] == 6 + 12 and done.problems == []
    train = sample.out / "train"
    assert not any(path.is_symlink() for path in (train, *train.rglob("*")))
    copies = tree(train)
    assert copies["n01443537/n01443537_0.JPEG"] == before["train/n01443537/n01443537_0.JPEG"] and len(copies) == 18
    again = run(sample)  # without --copy: the copies serve
    assert not again.made and tree(train) == copies
    assert tree(sample.imagenet) == before


def test_what_is_missing_is_counted_and_named(tmp_path):
    sample = Sample(tmp_path)
    shutil.rmtree(sample.imagenet / "train" / "n12998815")
    for number in (3, 4, 5, 8):
        for path in sample.imagenet.glob(f"val/*/ILSVRC2012_val_{number:08d}.JPEG"):
            path.unlink()
    gone = [key for key in sample.masks if key.startswith("validation")][:1]
    del sample.masks[gone[0]]
    problems = run(sample).problems
    assert f"1 of 6 training folders are missing (not in {sample.imagenet / 'train'}): n12998815" in problems
    assert any(
        text.startswith("4 of 12 test images are missing (not in")
        and "n01443537/ILSVRC2012_val_00000003.JPEG" in text
        and text.endswith(", and 1 more")
        for text in problems
    )
    assert f"1 of 8 validation masks are missing (not in {tmp_path / 'masks.zip'}): {gone[0]}" in problems
    assert any(text.startswith("2 of 8 train-semi images are missing (not in") for text in problems)
    assert any(text.startswith("mask without image: train-semi-segmentation/n12998815/") for text in problems)
    assert not (sample.out / "meta" / "prepared.json").exists()
    assert f"1 of 8 validation masks are missing (no --masks were given): {gone[0]}" in run(sample, masks=None).problems


def test_an_own_set_may_bring_the_masks_of_test(tmp_path):
    sample = Sample(tmp_path)
    one = next(iter(sample.masks.values()))
    for line in sample.list_path("mapping/ImageNetS_im{}_mapping_test.txt").read_text().splitlines():
        sample.masks[f"test-segmentation/{line.split()[1][:-5]}.png"] = one
    assert run(sample).made["test-segmentation"] == 12


def test_a_hostile_archive_writes_nothing(tmp_path):
    sample = Sample(tmp_path)
    path = sample.archive(extra={"../../escaped.png": b"x"})
    before = tree(tmp_path)
    with pytest.raises(LussError, match="leads out of the folder"):
        run(sample, masks=str(path))
    assert tree(tmp_path) == before and not sample.out.exists()


@pytest.mark.parametrize("place", ["validation", "train", "validation/n01443537", "train-semi-segmentation"])
def test_nothing_is_written_through_a_link(tmp_path, place):
    sample = Sample(tmp_path)
    before = tree(sample.imagenet)
    (sample.out / place).parent.mkdir(parents=True, exist_ok=True)
    (sample.out / place).symlink_to(sample.imagenet / "train" / "n01443537")
    with pytest.raises(LussError, match=f"{place}: found a link or a file; expected a folder, or nothing"):
        run(sample)
    assert tree(sample.imagenet) == before


@pytest.mark.parametrize("out", ["imagenet", "imagenet/train", "imagenet/train/x", "imagenet/val/x"])
def test_imagenet_itself_is_no_target(tmp_path, out):
    sample = Sample(tmp_path)
    before = tree(sample.imagenet)
    sample.out = tmp_path / out
    with pytest.raises(LussError, match="expected (another folder|a folder of its own) for the prepared set"):
        run(sample)
    assert tree(sample.imagenet) == before


def test_other_places_of_imagenet(tmp_path):
    sample = Sample(tmp_path)
    inner = tmp_path / "kaggle" / "ILSVRC" / "Data"
    inner.mkdir(parents=True)
    sample.imagenet.rename(inner / "CLS-LOC")
    (inner / "CLS-LOC" / "val").rename(inner / "CLS-LOC" / "validation")
    sample.imagenet = tmp_path / "kaggle"
    assert run(sample).problems == []
    for folder, found in (("none", "no such folder"), ("lists", "no train/ beside a val/ in it")):
        sample.imagenet = tmp_path / folder
        with pytest.raises(LussError, match=f"{folder}: {found}; expected ImageNet's train/<wnid>/<image>"):
            run(sample)


def test_relative_paths_give_links_that_work(tmp_path, monkeypatch):
    sample = Sample(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert prepare("imagenet", "lists", str(sample.archive()), 4, "out", published=False).problems == []
    monkeypatch.chdir("/")
    assert len(os.listdir(sample.out / "train" / "n01443537")) == 3


def test_one_file_name_in_two_folders_of_validation(tmp_path):
    sample = Sample(tmp_path)
    (sample.imagenet / "val" / "copy").mkdir()
    name = "ILSVRC2012_val_00000002.JPEG"
    shutil.copy(sample.imagenet / "val" / "n01443537" / name, sample.imagenet / "val" / "copy" / name)
    assert run(sample).problems == []  # the folder that the list names is there
    (sample.imagenet / "val" / "n01443537" / name).rename(sample.imagenet / "val" / name)
    with pytest.raises(LussError, match="found the same file name 2 times, but not in n01443537/"):
        run(sample)


def test_published_counts_are_checked(tmp_path, monkeypatch):
    """The counts of the published set are asked for; with the sample's numbers they cannot be right."""
    sample = Sample(tmp_path)
    read = module.read_lists
    monkeypatch.setattr(module, "read_lists", lambda folder, num, published: read(folder, num, False))
    asked = []
    monkeypatch.setattr(module, "name_problems", lambda splits, num: asked.append(num) or [Problem("wrong count", "test", "12 images; expected 13")])
    assert run(sample, published=True, check_md5=False).problems == ["wrong count: test: 12 images; expected 13"]
    assert asked == [4]


def test_all_919_with_their_merges_and_train_full(tmp_path):
    """The real categories, one image each: five merged folders, and the link to all of ImageNet's training images."""
    wnids = tuple(category.wnid for category in categories(919))
    sample = Sample(tmp_path, categories=CATEGORIES[:1])
    shutil.rmtree(sample.root / "lists")
    shutil.rmtree(sample.root / "imagenet")
    sample.categories, sample.num, sample.masks = wnids, 919, {}
    for wnid in (*wnids, *MERGED):
        sample.write(f"imagenet/train/{wnid}/{wnid}_1.JPEG", b"x")
    sample.list("categories/ImageNetS_categories_im{}.txt", wnids)
    sample.list("names/ImageNetSemi_im{}_train.txt", [f"{wnid}/{wnid}_1.JPEG" for wnid in wnids[:3]])
    sample.list("names/ImageNetS_im{}_validation.txt", [f"{wnids[0]}/a.JPEG"])
    for split, name in (("validation", "a"), ("test", "b")):
        sample.write(f"imagenet/val/{name}.JPEG", b"x")
        sample.list(f"mapping/ImageNetS_im{{}}_mapping_{split}.txt", [f"n1/{name}.JPEG {wnids[0]}/{name}.JPEG"])
    done = run(sample, masks=None)
    assert done.made == {"train": 914 + 10, "train-full": 1, "train-semi": 3, "validation": 1, "test": 1}
    assert os.readlink(sample.out / "train-full") == str(sample.imagenet / "train")
    assert len(os.listdir(sample.out / "train-full")) == 924
    assert dataset_of(os.listdir(sample.out / "train")) == 919
    for merged, target in MERGED.items():
        assert sorted(os.listdir(sample.out / "train" / target)) == sorted([f"{merged}_1.JPEG", f"{target}_1.JPEG"])
