"""List files: what is read, and that every deviation is named with file and line."""

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.runtime.errors import LussError
from luss.benchmark import lists
from luss.benchmark.categories import category_list
from luss.benchmark.lists import MappedImage, read_lists
from tests.luss.benchmark.imagenet_sample import CATEGORIES, DROPPED, Sample

CATEGORY_FILE = "categories/ImageNetS_categories_im{}.txt"
SEMI_FILE = "names/ImageNetSemi_im{}_train.txt"
NAMES_FILE = "names/ImageNetS_im{}_validation.txt"
MAPPING_FILE = "mapping/ImageNetS_im{}_mapping_validation.txt"
TEST_FILE = "mapping/ImageNetS_im{}_mapping_test.txt"


@pytest.mark.parametrize("columns", [1, 2])
def test_content(tmp_path, columns):
    sample = Sample(tmp_path, columns=columns)
    found = read_lists(str(sample.lists), 4, published=False)
    assert (found.num_classes, found.categories) == (4, CATEGORIES)
    assert found.semi[2:4] == (
        MappedImage("n02808440/n02808440_0.JPEG", "n02808440/n02808440_0.JPEG"),
        MappedImage("n04493381/n04493381_1.JPEG", "n02808440/n04493381_1.JPEG"),  # merged: another folder of ImageNet
    )
    assert found.validation[0] == MappedImage(f"{DROPPED}/ILSVRC2012_val_00000001.JPEG", "n01443537/ILSVRC2012_val_00000001.JPEG")
    assert (len(found.semi), len(found.validation), len(found.test)) == (8, 8, 12)
    for name, digest in found.checksums.items():
        assert hashlib.sha256((sample.lists / name).read_bytes()).hexdigest() == digest
    assert len(found.checksums) == 5


def test_the_toolbox_keeps_them_in_data(tmp_path):
    sample = Sample(tmp_path)
    sample.lists.rename(tmp_path / "data")
    assert read_lists(str(tmp_path), 4, published=False).categories == CATEGORIES
    for folder, found in ((tmp_path / "imagenet", "no categories/ in it"), (tmp_path / "none", "no such folder")):
        with pytest.raises(LussError, match=f"{folder}: {found}; expected .* categories/, mapping/ and names/"):
            read_lists(str(folder), 4, published=False)


def _edit(sample, name, number, text):
    """Replace line `number` of a list file; None takes it out."""
    path = sample.list_path(name)
    rows = path.read_text().splitlines()
    rows[number - 1 : number] = [] if text is None else [text]
    path.write_text("\n".join(rows))


@pytest.mark.parametrize(
    ("name", "number", "text", "complaint"),
    [
        (CATEGORY_FILE, 2, "../n02808440", r"line 2: found '\.\./n02808440'; expected one category"),
        (CATEGORY_FILE, 2, "n01443537", "line 2: found n01443537 after n01443537; expected ascending"),
        (CATEGORY_FILE, 4, None, "found 3 categories; expected 4"),
        (SEMI_FILE, 3, "n02808440/n99999999_0.JPEG", "line 3: found n02808440/n99999999_0.JPEG; expected n02808440_<number>, or a category that is"),
        (SEMI_FILE, 3, "n02808440/../../x.JPEG", "line 3: found .*expected <folder>/<file>.JPEG of letters"),
        (SEMI_FILE, 3, "n99999999/n99999999_0.JPEG", "line 3: .*n99999999 is not in the list of categories"),
        (SEMI_FILE, 2, "n01443537/n01443537_0.JPEG", "line 2: found n01443537/n01443537_0 again .first in line 1"),
        (SEMI_FILE, 1, "n01443537/n01443537_0.JPEG n01443537/n01443537_1.png", "line 1: found the mask 'n01443537/n01443537_1.png' of"),
        (SEMI_FILE, 1, "a b c", "line 1: found 'a b c'; expected <category>/<file>.JPEG"),
        (SEMI_FILE, 1, "n01443537/.hidden.JPEG", "line 1: found"),
        (NAMES_FILE, 1, "n01443537/ILSVRC2012_val_00000009.JPEG", "line 1: .*mapping_validation.txt does not map"),
        (NAMES_FILE, 1, None, "1 mapped images are not in it, e.g. n01443537/ILSVRC2012_val_00000001.JPEG"),
        (MAPPING_FILE, 5, "n01443537/ILSVRC2012_val_00000001.JPEG", "line 5: found .*; expected <ImageNet folder>/<file>.JPEG <category>/"),
        (MAPPING_FILE, 2, "n1/a.JPEG n01443537/b.JPEG", "line 2: found n1/a.JPEG for n01443537/b.JPEG; expected the same file name"),
        (MAPPING_FILE, 2, "/etc/passwd n01443537/b.JPEG", "line 2: found '/etc/passwd'"),
        (MAPPING_FILE, 2, f"{DROPPED}/ILSVRC2012_val_00000001.JPEG n12998815/ILSVRC2012_val_00000001.JPEG", "line 2: .* again"),
        (TEST_FILE, 3, "n01443537/ILSVRC2012_val_00000001.JPEG n01443537/ILSVRC2012_val_00000001.JPEG", "line 3: .*a validation image too"),
    ],
)
def test_a_bad_line_is_named(tmp_path, name, number, text, complaint):
    sample = Sample(tmp_path)
    _edit(sample, name, number, text)
    with pytest.raises(LussError, match=complaint) as caught:
        read_lists(str(sample.lists), 4, published=False)
    assert str(sample.list_path(name)) in str(caught.value)


@pytest.mark.parametrize(
    ("data", "complaint"),
    [(b"", "found an empty file"), (b"n01443537/a_0.JPEG\nn01443537/\xff.JPEG", "line 2: found the byte 0xff"), (None, "cannot be read")],
)
def test_a_file_that_is_no_list(tmp_path, data, complaint):
    sample = Sample(tmp_path)
    path = sample.list_path(SEMI_FILE)
    path.unlink()
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(LussError, match=f"{path}.*{complaint}"):
        read_lists(str(sample.lists), 4, published=False)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_are_an_error_of_the_user(tmp_path_factory, data):
    """A damaged list never leads to another exception than ours, nor to a key that leaves the folder."""
    sample = Sample(tmp_path_factory.mktemp("lists"), categories=CATEGORIES[:1])
    sample.list_path(SEMI_FILE).write_bytes(data)
    try:
        found = read_lists(str(sample.lists), 1, published=False)
    except LussError as error:
        assert str(sample.list_path(SEMI_FILE)) in str(error)
    else:
        assert all(image.target.startswith("n01443537/n01443537_") and ".." not in image.target.split("/") for image in found.semi)


def _as_published(monkeypatch, sample):
    """Declare the sample's lists to be the published ones of a set of 4."""
    digests = {what: {4: hashlib.sha256(sample.list_path(name).read_bytes()).hexdigest()[:16]} for what, name in lists.FILES.items()}
    monkeypatch.setattr(lists, "SETS", (4,))
    monkeypatch.setattr(lists, "CHECKSUMS", digests)
    monkeypatch.setattr(lists, "SPLIT_SIZES", {4: {"train-semi": 8, "validation": 8, "test": 12}})
    monkeypatch.setattr(lists, "IMAGES_PER_CATEGORY", {4: {"train-semi": (2, 2), "validation": (2, 2), "test": (3, 3)}})


def test_published_lists_are_held_to_counts_and_checksums(tmp_path, monkeypatch):
    sample = Sample(tmp_path)
    _as_published(monkeypatch, sample)
    assert read_lists(str(sample.lists), 4).num_classes == 4
    path = sample.list_path(NAMES_FILE)
    original = path.read_bytes()
    path.write_bytes(original.replace(b"\n", b"\r\n"))
    with pytest.raises(LussError, match=r"found SHA-256 [0-9a-f]{16}\.\.\., expected .*line ends were changed to those of Windows"):
        read_lists(str(sample.lists), 4)
    path.write_bytes(original + b"\n")
    with pytest.raises(LussError, match="of another version, or was changed"):
        read_lists(str(sample.lists), 4)
    path.write_bytes(original)
    _edit(sample, TEST_FILE, 12, None)
    with pytest.raises(LussError, match="found 11 images; expected the 12 of the published test split"):
        read_lists(str(sample.lists), 4)
    _edit(sample, TEST_FILE, 1, "n01443537/x_1.JPEG n01443537/x_1.JPEG\nn01443537/x_2.JPEG n01443537/x_2.JPEG")
    with pytest.raises(LussError, match="found 4 images of n01443537; expected 3 to 3"):
        read_lists(str(sample.lists), 4)


def test_the_packaged_categories_pass_the_check_of_the_published_list(tmp_path):
    for num in (50, 300, 919):
        path = tmp_path / "categories" / f"ImageNetS_categories_im{num}.txt"
        path.parent.mkdir(exist_ok=True)
        path.write_text(category_list(num))
        lists._ListFile(str(tmp_path), f"categories/{path.name}").require_checksum(lists.CHECKSUMS["categories"][num])


def test_an_unknown_set_needs_the_switch(tmp_path):
    with pytest.raises(LussError, match="4: there is no ImageNet-S with so many categories"):
        read_lists(str(Sample(tmp_path).lists), 4)
