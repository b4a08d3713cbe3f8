"""What the checker says of valid and of suspicious submissions; malformed ones are in test_malformed_submissions.py."""

from __future__ import annotations

import zipfile
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.runtime.errors import LussError
from luss.benchmark.label_map import encode_label_map
from luss.benchmark.submission_check import check_submission, leak_warning
from luss.benchmark.submission_texts import METHOD_FILE
from tests.luss.benchmark.damaged_maps import rescue_modes
from tests.luss.benchmark.submission_samples import (
    CLASSES,
    METHOD,
    Entry,
    K,
    changed,
    keys,
    make_data,
    method_lines,
    size_of,
    valid_entries,
    zip_bytes,
)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return str(make_data(tmp_path_factory.mktemp("data")))


def check(path, entries, **options):
    path.write_bytes(zip_bytes(entries))
    return check_submission(path, **{"num_classes": K, "workers": 0, **options})


def test_folders_and_compression_are_fine(tmp_path, data):
    entries = [Entry(entry.name, entry.data, zipfile.ZIP_DEFLATED) for entry in valid_entries(True)]
    folders = [Entry(f"{name}/", b"", mode=0o040755) for name in CLASSES]
    assert check(tmp_path / "a.zip", folders + entries, data_root=data) == []


def test_workers_find_the_same(tmp_path, data):
    entries = valid_entries(False)
    for number in (1, 4, 5):
        entries = changed(entries, number, data=[b"", entries[0].data, encode_label_map(np.full((3, 3), 7))][number % 3])
    alone = check(tmp_path / "a.zip", entries, data_root=data, workers=0)
    assert len(alone) == 3 and check(tmp_path / "a.zip", entries, data_root=data, workers=2) == alone


@pytest.mark.parametrize("mode", ["8-bit RGBA", "8-bit grey", "16-bit grey", "8-bit palette", "blue"])
def test_modes(tmp_path, data, mode):
    """What the published evaluator passes over is a warning, what stops it is a problem."""
    width, height = size_of(0)
    ids = np.random.default_rng(0).integers(0, K + 1, (height, width))
    content = rescue_modes(ids)[mode]
    (found,) = check(tmp_path / "a.zip", changed(valid_entries(False), 0, data=content), data_root=data)
    assert (found.kind, found.warning) == ("mode", mode in ("8-bit RGBA", "blue"))
    assert found.line.startswith(f"{'warning: ' if found.warning else ''}{keys()[0]}.png: ") and (mode in found.text or mode == "blue")


def test_published_numbers_without_the_images(tmp_path):
    """ImageNet-S-50: 1,682 maps in 50 folders with the names of ImageNet's validation images."""
    content = encode_label_map(np.array([[0, 1], [2, 50]]))
    names = [f"n{number % 50:08d}/ILSVRC2012_val_{number:08d}.png" for number in range(1682)]
    entries = [Entry(name, content) for name in names] + [Entry(METHOD_FILE, METHOD.text().encode())]
    assert check(tmp_path / "a.zip", entries, num_classes=50) == []
    kinds = Counter(problem.kind for problem in check(tmp_path / "a.zip", entries[1:], num_classes=50))
    assert kinds == {"count": 1}
    renamed = [Entry("n00000001/my_00000001.png", content), Entry(names[2].replace("n00000002", "n00000003"), content), *entries[2:]]
    found = check(tmp_path / "a.zip", renamed, num_classes=50)
    assert {problem.kind for problem in found} == {"names", "duplicate"}
    flat = [Entry(entry.name.rpartition("/")[2], entry.data) for entry in entries]
    (found,) = check(tmp_path / "a.zip", flat, num_classes=50)
    assert found.warning and "flat names" in found.text
    (found,) = check(tmp_path / "a.zip", entries, num_classes=50, split="validation")
    assert found.text == "found 1682 label maps; expected 752, the validation images of ImageNet-S-50"


def test_a_data_set_that_is_not_the_published_one(tmp_path, data):
    found = check(tmp_path / "a.zip", valid_entries(False), data_root=data, num_classes=50)
    assert [problem.line for problem in found] == ["warning: the data set given has 9 test images, the published set of 50 categories 1682"]


def test_texts_that_are_unusual_but_readable(tmp_path, data):
    for text, complaint in (("\n".join(method_lines()) + "\n", "newline after the last"), ("\r\n".join(method_lines()), "as on Windows")):
        (found,) = check(tmp_path / "a.zip", changed(valid_entries(False), 9, data=text.encode()), data_root=data)
        assert found.warning and complaint in found.text


def test_a_match_where_class_ids_are_expected(tmp_path, data):
    for protocol, warnings in (("unsupervised", 0), ("free", 0), ("distance", 1), ("semi", 1)):
        found = check(tmp_path / "a.zip", valid_entries(True), data_root=data, protocol=protocol)
        assert len(found) == warnings and all(problem.warning for problem in found)


def test_whose_fault_it_is(tmp_path, data):
    with pytest.raises(LussError, match="no such file; expected the zip"):
        check_submission(tmp_path / "none.zip", num_classes=K)
    with pytest.raises(LussError, match="no such folder"):
        check(tmp_path / "a.zip", valid_entries(False), data_root=str(tmp_path / "none"))
    with pytest.raises(LussError, match="no such protocol"):
        check(tmp_path / "a.zip", valid_entries(False), protocol="fre")


def test_an_image_that_cannot_be_read_is_named(tmp_path):
    root = make_data(tmp_path / "data")
    (root / "test" / f"{keys()[2]}.JPEG").write_bytes(b"no image")
    (found,) = check(tmp_path / "a.zip", valid_entries(False), data_root=str(root))
    assert found.kind == "image" and f"{keys()[2]}.JPEG" in found.text


def leaking(share_of_one: int, per_folder: int = 20):
    """Entries whose maps carry the id of their folder, all but every `share_of_one`-th."""
    entries = []
    for label, name in enumerate(("n1", "n2", "n3"), 1):
        for number in range(per_folder):
            other = share_of_one and number % share_of_one == 0
            entries.append(Entry(f"{name}/{label}_{number}.png", encode_label_map(np.array([[0, label % 3 + 1 if other else label]]))))
    return [*entries, Entry(METHOD_FILE, METHOD.text().encode())]


@pytest.mark.parametrize(("share_of_one", "flagged"), [(0, True), (20, True), (4, False)])
def test_maps_that_repeat_their_folder_name(tmp_path, share_of_one, flagged):
    found = check(tmp_path / "a.zip", leaking(share_of_one))
    assert [problem.kind for problem in found] == ["leak"] * flagged
    assert all(problem.warning and "which is the image's label" in problem.text for problem in found)


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(st.text("ab", min_size=1), st.integers(1, 30), min_size=2), st.integers(1, 9))
def test_one_id_everywhere_is_no_leak(numbers, label):
    folders = {name: Counter({label: number}) for name, number in numbers.items()}
    distinct = {name: Counter({place: number}) for place, (name, number) in enumerate(numbers.items(), 1)}
    usable = sum(number >= 2 for number in numbers.values())
    assert list(leak_warning(folders)) == [] or usable < 3
    assert len(list(leak_warning(distinct))) == (usable >= 2)
    assert list(leak_warning({name: Counter({None: number}) for name, number in numbers.items()})) == []
