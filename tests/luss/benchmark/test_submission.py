"""Building a submission: its bytes, what is written anew, and what is refused."""

from __future__ import annotations

import os
import pickle
import zipfile

import numpy as np
import pytest

from engine.data.folder import list_images
from engine.runtime.errors import LussError
from luss.benchmark.label_map import decode_label_map, encode_label_map
from luss.benchmark.submission import SubmissionRefused, build_submission
from luss.benchmark.submission_archive import Problem
from luss.benchmark.submission_check import check_submission
from luss.benchmark.submission_texts import MethodText, read_match, read_method
from tests.luss.benchmark.damaged_maps import rescue_modes
from tests.luss.benchmark.submission_samples import CLUSTERS, MATCH, METHOD, K, keys, make_data, size_of, valid_maps, write_maps


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return str(make_data(tmp_path_factory.mktemp("data")))


@pytest.fixture
def build(data):
    items = list_images(data, "test").items

    def run(folder, out, **options):
        return build_submission(folder, out, **{"test_images": items, "num_classes": K, "method": METHOD, **options})

    return run


@pytest.mark.parametrize("match", [None, MATCH])
def test_what_is_in_it(tmp_path, data, build, match):
    maps = valid_maps(CLUSTERS if match else K)
    folder = write_maps(tmp_path / "pred", maps)
    seen = []
    report = build(folder, tmp_path / "s.zip", match=match, progress=lambda *state: seen.append(state))
    with zipfile.ZipFile(tmp_path / "s.zip") as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
        assert archive.namelist() == sorted(content)
    texts = {"method.txt": METHOD.text().encode()}
    if match:
        texts["match.json"] = b'{"1": 3, "2": 1, "3": 0, "4": 2, "5": 1, "0": 0}'
    assert content == {**maps, **texts}  # the maps' bytes as they were
    assert (report.images, report.reencoded, report.passed_over, report.size) == (9, 0, 0, os.path.getsize(tmp_path / "s.zip"))
    assert seen == [(done, 9) for done in range(1, 10)]
    assert check_submission(tmp_path / "s.zip", data_root=data, num_classes=K) == []
    assert sorted(os.listdir(tmp_path)) == ["pred", "s.zip"]


def test_method_text_is_six_lines():
    text = MethodText("PASS", "ImageNet-S-50", "SSL", "ResNet-18", "none", "clusters: 50").text()
    assert text == (
        "Method name: PASS\nTraining data: ImageNet-S-50\nTraining scheme: SSL\nNetworks: ResNet-18\n"
        "Paper/Project link: none\nMethod description: clusters: 50"
    )
    assert read_method(text.encode()).text() == read_method((text + "\n").encode()).text() == text
    for wrong, complaint in (("", "is empty"), ("two\nlines", "line break"), ("\x1b[2J", "control character")):
        with pytest.raises(LussError, match=f"'Networks'.* {complaint}|'Networks' is empty"):
            MethodText("a", "b", "c", wrong, "e", "f").text()


def test_same_maps_same_bytes(tmp_path, build):
    first = write_maps(tmp_path / "a", valid_maps())
    second = write_maps(tmp_path / "b", dict(reversed(valid_maps().items())))
    for file in second.rglob("*.png"):
        os.utime(file, (10**9, 10**9))
    build(first, tmp_path / "a.zip")
    build(second, tmp_path / "b.zip", workers=2)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_other_modes_are_written_anew_with_the_same_ids(tmp_path, data, build):
    maps = valid_maps()
    names = list(maps)
    expected = [decode_label_map(content) for content in maps.values()]
    for number, mode in enumerate(rescue_modes(expected[0])):
        maps[names[number]] = rescue_modes(expected[number])[mode]
    report = build(write_maps(tmp_path / "pred", maps), tmp_path / "s.zip")
    assert report.reencoded == 5
    with zipfile.ZipFile(tmp_path / "s.zip") as archive:
        for name, ids in zip(names, expected):
            np.testing.assert_array_equal(decode_label_map(archive.read(name)), ids)
        assert archive.read(names[0]) == encode_label_map(expected[0])
    assert check_submission(tmp_path / "s.zip", data_root=data, num_classes=K) == []


@pytest.mark.parametrize("flat_source", [False, True])
@pytest.mark.parametrize("flat", [False, True])
def test_flat_names_in_and_out(tmp_path, data, build, flat_source, flat):
    maps = {name.partition("/")[2] if flat_source else name: content for name, content in valid_maps().items()}
    build(write_maps(tmp_path / "pred", maps), tmp_path / "s.zip", flat=flat)
    with zipfile.ZipFile(tmp_path / "s.zip") as archive:
        names = {name for name in archive.namelist() if name.endswith(".png")}
    assert names == {f"{key.partition('/')[2] if flat else key}.png" for key in keys()}
    found = check_submission(tmp_path / "s.zip", data_root=data, num_classes=K)
    assert [(problem.kind, problem.warning) for problem in found] == ([("layout", True)] if flat else [])


def test_every_problem_has_a_line_and_the_old_zip_stays(tmp_path, build):
    maps = valid_maps()
    names = list(maps)
    del maps[names[0]]
    width, height = size_of(1)
    maps[names[1]] = encode_label_map(np.zeros((width, height), int))
    maps[names[2]] = b"no png"
    maps[names[3]] = encode_label_map(decode_label_map(maps[names[3]]) + 1000)
    folder = write_maps(tmp_path / "pred", maps)
    (tmp_path / "s.zip").write_bytes(b"old")
    with pytest.raises(SubmissionRefused) as refused:
        build(folder, tmp_path / "s.zip")
    lines = str(refused.value).splitlines()
    assert lines[0] == f"{folder}: 4 problems, so no submission was written:"
    for name, text, line in zip(names, ("no such file", "exchanged", "no PNG", "1000 marks ignored"), lines[1:]):
        assert name in line and text in line
    assert (tmp_path / "s.zip").read_bytes() == b"old" and sorted(os.listdir(tmp_path)) == ["pred", "s.zip"]
    again = pickle.loads(pickle.dumps(refused.value))
    assert again.problems == refused.value.problems and str(again) == str(refused.value)


def test_a_long_list_is_shortened_in_the_message_alone():
    error = SubmissionRefused("p", [Problem("map", str(number), "bad") for number in range(60)])
    assert len(error.problems) == 60 and str(error).endswith("and 10 more") and len(str(error).splitlines()) == 52


def test_generated_ids_need_an_entry(tmp_path, build):
    folder = write_maps(tmp_path / "pred", valid_maps(CLUSTERS))
    with pytest.raises(SubmissionRefused, match=r"found the id 4, 5; expected 0 to 3"):
        build(folder, tmp_path / "s.zip")
    with pytest.raises(SubmissionRefused, match=r"found the id 5; expected 0 and the ids that the match names"):
        build(folder, tmp_path / "s.zip", match={1: 1, 2: 2, 3: 3, 4: 1})
    for wrong in ({1: K + 1}, {-1: 1}, {1: 1, 0: 2}):
        with pytest.raises(LussError, match="match: found"):
            build(folder, tmp_path / "s.zip", match=wrong)


def test_other_pngs_are_counted(tmp_path, build):
    folder = write_maps(tmp_path / "pred", {**valid_maps(), "n00000001/other.png": b"", "elsewhere/x.png": b""})
    assert build(folder, tmp_path / "s.zip").passed_over == 2


def test_what_cannot_begin(tmp_path, data, build):
    folder = write_maps(tmp_path / "pred", valid_maps())
    for options, complaint in (({"test_images": ()}, "no test images"), ({"method": MethodText("", "", "", "", "", "")}, "'Method name' is empty")):
        with pytest.raises(LussError, match=complaint):
            build(folder, tmp_path / "s.zip", **options)
    with pytest.raises(LussError, match="no such folder; expected label maps"):
        build(tmp_path / "none", tmp_path / "s.zip")
    with pytest.raises(LussError, match="expected an existing, writable folder"):
        build(folder, tmp_path / "none" / "s.zip")


def test_names_that_flatten_to_one(tmp_path):
    from PIL import Image

    for name in ("a", "b"):
        (tmp_path / "data" / "test" / name).mkdir(parents=True)
        Image.new("RGB", (4, 3)).save(tmp_path / "data" / "test" / name / "same.png")
    items = list_images(str(tmp_path / "data"), "test").items
    folder = write_maps(tmp_path / "pred", {f"{name}/same.png": encode_label_map(np.ones((3, 4), int)) for name in "ab"})
    options = {"test_images": items, "num_classes": 2, "method": METHOD}
    assert build_submission(folder, tmp_path / "s.zip", **options).images == 2
    with pytest.raises(LussError, match="both would have the map same.png"):
        build_submission(folder, tmp_path / "s.zip", flat=True, **options)
    with pytest.raises(LussError, match="the same name in different class folders"):
        build_submission(write_maps(tmp_path / "flat", {"same.png": b""}), tmp_path / "s.zip", **options)


def test_match_file(tmp_path):
    file = tmp_path / "match.json"
    file.write_text('{"1": 2, "7": 0, "0": 0}')
    assert read_match(file, 3) == {1: 2, 7: 0}
    file.write_text('{"1": 2, "1": 3, "2": 9}')
    with pytest.raises(LussError, match=r"match\.json: the key '1' occurs 2 times.*id 2 is given '9'.*no entry \"0\": 0"):
        read_match(file, 3)
    with pytest.raises(LussError, match="cannot be read"):
        read_match(tmp_path / "none.json", 3)
