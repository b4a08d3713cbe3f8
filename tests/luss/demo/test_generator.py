"""The written set: layout, byte equality, markers, refusals."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine.data.folder import list_images, mask_path
from engine.runtime.errors import LussError
from luss.demo import generate, is_complete

SMALL = {"train": 12, "validation": 9, "test": 4, "semi_per_class": 1}


def digests(root: Path, below: str = "") -> dict:
    folder = root / below
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("demo") / "set"
    calls = []
    result = generate(str(root), seed=5, **SMALL, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(n + 1, 33) for n in range(33)]
    assert result == json.loads((root / "DONE.json").read_text())
    assert result["images"] == {"train": 12, "validation": 9, "test": 4, "train-semi": 8}
    return root


def test_the_layout_is_read_by_the_engine(made):
    wnids = tuple(f"n9000000{k}" for k in range(1, 9))
    for split, count in (("train", 12), ("validation", 9), ("test", 4), ("train-semi", 8)):
        found = list_images(str(made), split)
        assert found.classes == wnids and len(found.items) == count
        for item in found.items:
            assert item.key.endswith(".JPEG") and item.key.split("/")[1].startswith(item.key.split("/")[0] + "_")
            with Image.open(item.path) as photograph:
                assert photograph.format == "JPEG" and photograph.mode == "RGB"
                size = photograph.size
            if split == "train":
                assert not Path(mask_path(str(made), split, item.key)).exists()
                continue
            with Image.open(mask_path(str(made), split, item.key)) as mask:
                assert mask.format == "PNG" and mask.mode == "RGB" and mask.size == size
                coded = np.asarray(mask).astype(int)
            labels = coded[..., 0] + 256 * coded[..., 1]
            assert coded[..., 2].max() == 0 and set(np.unique(labels)) <= {0, *range(1, 9), 1000}
            sizes = np.bincount(labels[labels < 1000], minlength=9)[1:]
            assert sizes.argmax() == item.class_index


def test_names(made):
    lines = (made / "meta" / "class_names.txt").read_text().splitlines()
    assert len(lines) == 8 and lines[0] == "n90000001\tstriped ring"


def test_the_same_seed_gives_the_same_bytes_whatever_the_counts(made, tmp_path):
    again = tmp_path / "again"
    generate(str(again), seed=5, **SMALL)
    assert digests(again) == digests(made)
    fewer = tmp_path / "fewer"
    generate(str(fewer), seed=5, train=3, validation=2, test=0, semi_per_class=0)
    for below in ("train", "validation", "validation-segmentation"):
        assert digests(fewer, below).items() <= digests(made, below).items() and digests(fewer, below)


def test_another_seed_gives_other_pictures(made, tmp_path):
    generate(str(tmp_path / "other"), seed=6, **SMALL)
    ours, theirs = digests(made, "train"), digests(tmp_path / "other", "train")
    assert ours.keys() == theirs.keys() and not set(ours.values()) & set(theirs.values())


def test_complete_only_for_the_same_request(made, tmp_path):
    assert is_complete(str(made), seed=5, **SMALL)
    assert not is_complete(str(made), seed=6, **SMALL)
    assert not is_complete(str(made), seed=5, **{**SMALL, "train": 13})
    assert not is_complete(str(tmp_path / "absent"), seed=5, **SMALL)


def test_an_interrupted_or_thinned_set_is_made_again(tmp_path):
    root = tmp_path / "set"
    few = {"train": 2, "validation": 2, "test": 0, "semi_per_class": 0, "classes": 2}

    class Killed(Exception):
        pass

    def kill(done, total):
        raise Killed

    with pytest.raises(Killed):
        generate(str(root), seed=1, **few, progress=kill)
    assert not is_complete(str(root), seed=1, **few)
    generate(str(root), seed=1, **few)
    assert is_complete(str(root), seed=1, **few)
    whole = digests(root)
    next(root.glob("validation-segmentation/*/*.png")).unlink()
    assert not is_complete(str(root), seed=1, **few)
    generate(str(root), seed=1, **few)
    assert digests(root) == whole
    generate(str(root), seed=1, **{**few, "train": 1})
    assert len(list(root.glob("train/*/*.JPEG"))) == 1


def test_a_foreign_folder_is_left_alone(tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "mine.jpg").write_bytes(b"precious")
    with pytest.raises(LussError, match="not empty, and its files are not a demo set of ours.*choose another one"):
        generate(str(tmp_path), seed=1, **SMALL)
    assert (tmp_path / "train" / "mine.jpg").read_bytes() == b"precious"
    (tmp_path / "file").write_text("")
    with pytest.raises(LussError, match="cannot be used for the demo set"):
        generate(str(tmp_path / "file"), seed=1, **SMALL)


@pytest.mark.parametrize("name, value", [("seed", -1), ("train", -1), ("classes", 40), ("semi_per_class", -2)])
def test_bad_arguments_are_named(tmp_path, name, value):
    with pytest.raises(ValueError, match=f"{name}={value}"):
        generate(str(tmp_path / "set"), **{"seed": 1, **SMALL, name: value})
    assert not (tmp_path / "set").exists()
