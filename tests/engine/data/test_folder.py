import pickle

import pytest

from engine.data.folder import ImageItem, list_images, mask_path
from engine.runtime.errors import LussError


def touch(path, content=b"x"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def test_imagenet_s_layout_is_sorted_and_hidden_or_foreign_files_are_passed_over(tmp_path):
    for name in ("b/z.JPEG", "b/a.jpg", "a/2.png", "a/10.png", "a/notes.txt", "a/._2.png", ".cache/x.png"):
        touch(tmp_path / "train" / name)
    (tmp_path / "train" / "c").mkdir()
    found = list_images(str(tmp_path), "train")
    assert found.classes == ("a", "b", "c")
    assert [(item.key, item.class_index) for item in found.items] == [("a/10.png", 0), ("a/2.png", 0), ("b/a.jpg", 1), ("b/z.JPEG", 1)]
    assert found.items[0].path == str(tmp_path / "train" / "a" / "10.png")
    assert found.root == str(tmp_path)


@pytest.mark.parametrize("place", ["", "train"])
def test_plain_folder_of_images_has_no_classes(tmp_path, place):
    touch(tmp_path / place / "y.jpg")
    touch(tmp_path / place / "x.png")
    found = list_images(str(tmp_path), "train")
    assert [(item.key, item.class_index) for item in found.items] == [("x.png", -1), ("y.jpg", -1)]
    assert found.classes == ()


def test_class_folders_without_a_split_serve_as_train_only(tmp_path):
    touch(tmp_path / "cat" / "1.jpg")
    touch(tmp_path / "dog" / "1.jpg")
    (tmp_path / "papers").mkdir()
    found = list_images(str(tmp_path), "train")
    assert found.classes == ("cat", "dog") and [item.key for item in found.items] == ["cat/1.jpg", "dog/1.jpg"]
    with pytest.raises(LussError, match=r"no validation images: no such folder as .*validation"):
        list_images(str(tmp_path), "validation")


@pytest.mark.parametrize(
    ("files", "split", "pattern"),
    [
        ([], "train", r"no train images: the folder is empty \(looked for .*train/<class>/<image>, .*/<class>/<image> and .*/<image>\)$"),
        (["readme.md"], "train", r"no train images: no image files in it \(looked for"),
        (["cat/readme.md"], "train", r"no image files in it or in its 1 folders \(looked for"),
        (["validation/a/1.jpg"], "train", r"there is validation, but no such folder as .*/train \(looked for .*train/<class>/<image>\)$"),
        (["validation-segmentation/a/1.png"], "train", r"there is validation-segmentation, but no such folder"),
        (["train/readme.md"], "train", r"/train: no image files in it; expected .*/train/<class>/<image>$"),
        (["x.jpg", "a/1.jpg"], "train", r"1 image files \(e.g. x.jpg\) stand beside class folders"),
    ],
)
def test_what_is_missing_is_said_in_one_sentence(tmp_path, files, split, pattern):
    for name in files:
        touch(tmp_path / name)
    with pytest.raises(LussError, match=pattern) as caught:
        list_images(str(tmp_path), split)
    assert "\n" not in str(caught.value) and str(tmp_path) in str(caught.value)


def test_no_folder_and_no_name(tmp_path):
    with pytest.raises(LussError, match=r"absent: no such folder; expected a data set with train/<class>/<image>"):
        list_images(str(tmp_path / "absent"), "train")
    with pytest.raises(LussError, match=r"no image folder was given: set data.root"):
        list_images("", "train")
    (tmp_path / "test").mkdir()
    with pytest.raises(LussError, match=r"test: the folder is empty; expected"):
        list_images(str(tmp_path), "test")


def test_mask_path_keeps_all_but_the_last_dot():
    assert mask_path("/d", "validation", "n01/a.b.JPEG") == "/d/validation-segmentation/n01/a.b.png"


def test_items_are_frozen_and_travel():
    item = ImageItem("/d/a.jpg", "a.jpg", 3)
    assert pickle.loads(pickle.dumps(item)) == item
    with pytest.raises(AttributeError):
        item.key = "b"
