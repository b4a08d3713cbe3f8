"""Kinds of prediction files, folders and zips; every kind of bad input is refused by name, or counted as empty on request."""

import io
import json
import os
import shutil
import zipfile

import numpy as np
import pytest
from PIL import Image

from engine.runtime.errors import LussError
from luss.benchmark.curve import DEFAULT_THRESHOLDS
from luss.benchmark.evaluate import curve_folder, evaluate_folder
from luss.benchmark.label_map import encode_label_map, write_label_map
from luss.benchmark.matching import read_match
from luss.benchmark.sources import MapFile, MapFolder, read_attention, read_ids

CLASSES = 3
IDS = np.array([[0, 1, 1, 2], [0, 3, 3, 2], [0, 0, 3, 2]])


def _grey16():
    stream = io.BytesIO()
    Image.fromarray(IDS.astype(np.uint16)).save(stream, "PNG")
    return stream.getvalue()


def _mode(mode):
    stream = io.BytesIO()
    if mode in ("RGB", "RGBA"):
        array = np.zeros((*IDS.shape, len(mode)), np.uint8)
        array[..., 0] = IDS
        array[..., 2:] = 77  # blue and alpha mean nothing
        image = Image.fromarray(array)
    else:
        image = Image.fromarray(IDS.astype(np.uint8))
        if mode == "P":
            image = Image.frombytes("P", IDS.shape[::-1], IDS.astype(np.uint8).tobytes())
            image.putpalette([9, 8, 7] * 256)
    image.save(stream, "PNG")
    return stream.getvalue()


def _npy(dtype):
    stream = io.BytesIO()
    np.save(stream, IDS.astype(dtype))
    return stream.getvalue()


KINDS = {
    "rgb.png": _mode("RGB"),
    "rgba.png": _mode("RGBA"),
    "palette.png": _mode("P"),
    "grey.png": _mode("L"),
    "grey16.png": _grey16(),
    "bytes.npy": _npy(np.uint8),
    "long.npy": _npy(np.int64),
}


@pytest.fixture
def data(tmp_path):
    """Masks of seven images, one for each kind of prediction, all equal."""
    for name in KINDS:
        folder = tmp_path / "data" / "validation-segmentation" / "n0"
        folder.mkdir(parents=True, exist_ok=True)
        write_label_map(folder / (name.partition(".")[0] + ".png"), np.where(IDS == 2, 1000, IDS))
    return str(tmp_path / "data")


def _write_folder(root, **files):
    os.makedirs(root, exist_ok=True)
    for name, content in files.items():
        with open(os.path.join(root, name), "wb") as stream:
            stream.write(content)


def _write_zip(path, prefix, files):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(prefix + name, content)
        archive.writestr(prefix.partition("/")[0] + "/" if prefix.count("/") > 1 else "method.txt", "")


def test_every_kind_scores_the_same(tmp_path, data):
    _write_folder(tmp_path / "pred" / "n0", **KINDS)
    _write_folder(tmp_path / "split" / "validation" / "n0", **KINDS)
    expected = evaluate_folder(str(tmp_path / "pred"), data, "validation", CLASSES, match="identity")
    assert expected["ious"] == pytest.approx([100, 100, 0, 100])
    roots = [str(tmp_path / "split")]
    for number, prefix in enumerate(("n0/", "validation/n0/", "anything/n0/")):
        roots.append(str(tmp_path / f"{number}.zip"))
        _write_zip(roots[-1], prefix, KINDS)
    for root in roots:
        assert evaluate_folder(root, data, "validation", CLASSES, match="identity") == expected
    assert evaluate_folder(roots[1], data, "validation", CLASSES, match="identity", workers=2) == expected


def test_a_png_beside_an_attention_map_is_the_prediction(tmp_path, data):
    for name in KINDS:
        _write_folder(tmp_path / "pred" / "n0", **{name.partition(".")[0] + ".png": _mode("RGB")})
        np.save(tmp_path / "pred" / "n0" / (name.partition(".")[0] + ".npy"), np.where(IDS == 3, 0.4, 0.6).astype(np.float32))
    whole = evaluate_folder(str(tmp_path / "pred"), data, "validation", CLASSES, match="identity")
    assert whole["ious"][3] == pytest.approx(100)
    cut = evaluate_folder(str(tmp_path / "pred"), data, "validation", CLASSES, match="identity", threshold=0.5)
    assert cut["ious"][3] == 0
    np.save(tmp_path / "pred" / "n0" / "rgb.npy", np.zeros((2, 2), np.float32))
    with pytest.raises(LussError, match=r"rgb\.npy: 2 x 2 pixels \(width x height\), but the mask .*rgb\.png has 4 x 3"):
        evaluate_folder(str(tmp_path / "pred"), data, "validation", CLASSES, match="identity", threshold=0.5)


def test_predictions_without_a_mask_are_counted(tmp_path, data):
    _write_folder(tmp_path / "pred" / "n0", **KINDS)
    _write_folder(tmp_path / "pred" / "n0", **{"more.png": b"", "other.png": b"", "notes.txt": b"", ".hidden.png": b""})
    result = evaluate_folder(str(tmp_path / "pred"), data, "validation", CLASSES, match="identity")
    assert any("2 PNG files in" in note and "n0/more.png" in note for note in result["notes"])


def _bad(kind):
    good = _mode("RGB")
    if kind == "sixteen bit RGB":
        return good[:24] + b"\x10" + good[25:]
    return {
        "empty": b"",
        "truncated": encode_label_map(np.random.default_rng(0).integers(0, 4, (60, 60)))[:-200],
        "text": b"not a picture",
        "jpeg": _jpeg(),
        "transposed": encode_label_map(IDS.T),
        "larger": encode_label_map(np.pad(IDS, 1)),
        "id above K": encode_label_map(IDS + (IDS == 3)),
        "ignore predicted": encode_label_map(np.where(IDS == 3, 1000, IDS)),
        "grey and alpha": _png_mode("LA"),
        "one bit": _png_mode("1"),
    }[kind]


def _jpeg():
    stream = io.BytesIO()
    Image.fromarray(IDS.astype(np.uint8)).save(stream, "JPEG")
    return stream.getvalue()


def _png_mode(mode):
    stream = io.BytesIO()
    Image.fromarray(IDS.astype(np.uint8)).convert(mode).save(stream, "PNG")
    return stream.getvalue()


BAD = {
    "empty": "an empty file",
    "truncated": "damaged or unreadable PNG",
    "text": "13 bytes that are no PNG",
    "jpeg": "bytes that are no PNG",
    "sixteen bit RGB": "16-bit RGB PNG",
    "transposed": r"3 x 4 pixels \(width x height\), but the mask .* has 4 x 3",
    "larger": "6 x 5 pixels",
    "id above K": r"found the predicted id 4; expected 0\.\.3",
    "ignore predicted": "found the predicted id 1000",
    "grey and alpha": r"8-bit grey \+ alpha PNG",
    "one bit": "1-bit grey PNG",
    "missing": r"1 of 7 prediction files are missing: .*rgb\.png",
}


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("zipped", [False, True])
def test_bad_predictions_are_refused_by_name_or_count_as_empty(tmp_path, data, kind, zipped):
    files = dict(KINDS)
    if kind == "missing":
        del files["rgb.png"]
    else:
        files["rgb.png"] = _bad(kind)
    root = str(tmp_path / ("pred.zip" if zipped else "pred"))
    if zipped:
        _write_zip(root, "n0/", files)
    else:
        _write_folder(os.path.join(root, "n0"), **files)
    for match in ("identity", "image"):
        with pytest.raises(LussError, match=rf"rgb\.png.*{BAD[kind]}" if kind != "missing" else BAD[kind]):
            evaluate_folder(root, data, "validation", CLASSES, match=match)
        skipped = evaluate_folder(root, data, "validation", CLASSES, match=match, skip_bad=True)
        assert len(skipped["bad"]) == 1 and "rgb.png" in skipped["bad"][0]
        assert any("1 of 7 predictions were bad and count as empty" in note for note in skipped["notes"])
        files["rgb.png"], good = encode_label_map(np.zeros_like(IDS)), files.get("rgb.png")
        _write_folder(str(tmp_path / "empty" / "n0"), **files)
        expected = evaluate_folder(str(tmp_path / "empty"), data, "validation", CLASSES, match=match)
        assert (skipped["metrics"], skipped["match"]) == (expected["metrics"], expected["match"])
        files["rgb.png"] = good
    np.testing.assert_array_less(skipped["metrics"]["Acc"], 100)


def test_a_bad_prediction_counts_as_empty_in_the_curve_too(tmp_path, data):
    for name in KINDS:
        stem = name.partition(".")[0]
        _write_folder(tmp_path / "pred" / "n0", **{stem + ".png": _mode("RGB")})
        np.save(tmp_path / "pred" / "n0" / (stem + ".npy"), np.where(IDS == 3, 0.4, 0.6).astype(np.float32))
    where = (str(tmp_path / "pred"), data, "validation", CLASSES)
    _write_folder(tmp_path / "pred" / "n0", **{"rgb.png": encode_label_map(np.zeros_like(IDS))})
    empty = curve_folder(*where)
    os.unlink(tmp_path / "pred" / "n0" / "rgb.npy")
    _write_folder(tmp_path / "pred" / "n0", **{"rgb.png": b"bad"})
    with pytest.raises(LussError, match=r"rgb\.npy"):
        curve_folder(*where)
    assert curve_folder(*where, skip_bad=True) == empty
    result = evaluate_folder(*where, skip_bad=True, threshold=0.5, curve=DEFAULT_THRESHOLDS)
    assert result["curve"] == empty and len(result["bad"]) == 1


@pytest.mark.parametrize(
    ("content", "complaint"), [(b"", "an empty file"), (encode_label_map(np.full((3, 4), 4)), "found the class id 4; expected 0..3")]
)
def test_a_bad_mask_is_never_skipped(tmp_path, data, content, complaint):
    _write_folder(tmp_path / "pred" / "n0", **KINDS)
    _write_folder(f"{data}/validation-segmentation/n0", **{"rgb.png": content})
    for skip_bad in (False, True):
        with pytest.raises(LussError, match=rf"validation-segmentation.n0.rgb\.png: .*{complaint}"):
            evaluate_folder(str(tmp_path / "pred"), data, "validation", CLASSES, match="identity", skip_bad=skip_bad)


def test_roots_that_hold_no_predictions(tmp_path, data):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.zip").write_text("hello")
    for root, complaint in (
        ("nowhere", "nowhere: no such folder or file"),
        ("empty", "7 of 7 prediction files are missing"),
        ("text.zip", r"text\.zip: no folder and no readable zip"),
    ):
        with pytest.raises(LussError, match=complaint):
            evaluate_folder(str(tmp_path / root), data, "validation", CLASSES)
    shutil.rmtree(f"{data}/validation-segmentation/n0")
    with pytest.raises(LussError, match="no PNG in it"):
        evaluate_folder(str(tmp_path / "empty"), data, "validation", CLASSES)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_zip_with_a_file_twice_or_a_bomb(tmp_path, data, monkeypatch):
    _write_zip(tmp_path / "a.zip", "n0/", KINDS)
    with zipfile.ZipFile(tmp_path / "a.zip", "a") as archive:
        archive.writestr("n0/rgb.png", b"again")
    with pytest.raises(LussError, match=r"a\.zip: the zip holds n0/rgb\.png twice"):
        evaluate_folder(str(tmp_path / "a.zip"), data, "validation", CLASSES)
    _write_zip(tmp_path / "b.zip", "n0/", {**KINDS, "rgb.png": bytes(5000)})
    monkeypatch.setattr("luss.benchmark.sources.MAX_BYTES", 4000)
    with pytest.raises(LussError, match=r"b\.zip::n0/rgb\.png: would unpack to 5000 bytes"):
        evaluate_folder(str(tmp_path / "b.zip"), data, "validation", CLASSES)


def test_damaged_member_of_a_zip(tmp_path, data):
    _write_zip(tmp_path / "a.zip", "n0/", KINDS)
    content = bytearray((tmp_path / "a.zip").read_bytes())
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        start = archive.getinfo("n0/rgb.png").header_offset
    content[start + 60] ^= 255
    (tmp_path / "a.zip").write_bytes(bytes(content))
    with pytest.raises(LussError, match=r"a\.zip::n0/rgb\.png: "):
        evaluate_folder(str(tmp_path / "a.zip"), data, "validation", CLASSES)


@pytest.mark.parametrize(
    ("array", "complaint"),
    [
        (np.zeros((2, 2), np.float32), "found float32 of shape"),
        (np.zeros((2, 2, 1), np.int32), r"found int32 of shape \(2, 2, 1\)"),
        (np.array([[-1]]), r"found ids -1\.\.-1"),
        (np.array([[70000]]), "found ids 70000"),
        (np.array([[None]]), "damaged or no NumPy file"),
    ],
)
def test_bad_arrays(tmp_path, array, complaint):
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(LussError, match=rf"a\.npy: {complaint}"):
        read_ids(MapFile(str(tmp_path / "a.npy")))


@pytest.mark.parametrize("array", [np.zeros((2, 2)), np.full((2, 2), np.nan, np.float32), np.zeros((2, 2), np.uint8)])
def test_bad_attention(tmp_path, array):
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(LussError, match=r"a\.npy: found .*expected finite float32"):
        read_attention(MapFile(str(tmp_path / "a.npy")))
    np.savez(tmp_path / "b.npz", array)
    os.rename(tmp_path / "b.npz", tmp_path / "b.npy")
    with pytest.raises(LussError, match=r"b\.npy: found several arrays"):
        read_attention(MapFile(str(tmp_path / "b.npy")))
    with pytest.raises(LussError, match=r"c\.npy: damaged or no NumPy file"):
        read_attention(MapFile(str(tmp_path / "c.npy")))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('{"1": 2, "1": 3, "0": 0}', "the generated id '1' stands there more than once"),
        ('{"1": 2, "2": {"3": 1, "3": 1}}', "the generated id '3' stands there more than once"),
        ('{"1": 7}', "class ids from 0 to 3 and 0 for 0; found '1': 7"),
        ("[]", "found a list"),
        ('{"1": 2', "not valid JSON"),
        ("\xff", "not valid JSON"),
    ],
)
def test_bad_match_files_are_named(tmp_path, text, complaint):
    (tmp_path / "match.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(LussError, match=rf"match\.json: .*{complaint}"):
        read_match(tmp_path / "match.json", CLASSES)


def test_a_match_that_lacks_an_id_names_the_prediction(tmp_path, data):
    _write_folder(tmp_path / "pred" / "n0", **KINDS)
    (tmp_path / "match.json").write_text(json.dumps({"1": 1, "3": 3, "0": 0}))
    match = read_match(tmp_path / "match.json", CLASSES)
    for boundary in ("after", "before"):
        with pytest.raises(LussError, match=r"n0.\w+\.(png|npy): match: no entry for id 2; it has ids up to 3"):
            evaluate_folder(str(tmp_path / "pred"), data, "validation", CLASSES, match=match, boundary=boundary)


def test_names_of_missing_files(tmp_path):
    _write_folder(tmp_path / "pred" / "n0", **KINDS)
    folder = MapFolder(str(tmp_path / "pred"), "validation")
    assert [file is not None for file in folder.find(["n0/rgb.png", "n0/long.png", "n0/none.png"])] == [True, True, False]
    assert folder.find(["n0/rgb.npy"], "attention") == [None]
