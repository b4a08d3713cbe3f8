"""Masks from archives and folders: only what is asked for is read, and nothing hostile is."""

import hashlib
import stat
import zipfile

import pytest

from engine.runtime.errors import LussError
from luss.benchmark import mask_source
from luss.benchmark.mask_source import MaskArchive, open_masks
from tests.luss.benchmark.imagenet_sample import Sample, label_map

KEY = "validation-segmentation/n01/a.png"


def make(path, members, **options):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members:
            archive.writestr(name, data, **options)
    return str(path)


@pytest.mark.parametrize("prefix", ["", "ImageNetS50/"])
def test_archive_and_folder_give_the_same(tmp_path, prefix):
    sample = Sample(tmp_path)
    noise = {"readme.txt": b"x", f"__MACOSX/{KEY}": b"x", f"{prefix}validation-segmentation/n01/._a.png": b"x", "other/deep/" + KEY: b"x"}
    archive = open_masks(str(sample.archive(prefix=prefix, extra=noise)), list(sample.masks), None)
    folder = open_masks(str(sample.mask_folder()), list(sample.masks), None)
    (tmp_path / "above").mkdir()
    sample.mask_folder().rename(tmp_path / "above" / "ImageNetS4")
    one_down = open_masks(str(tmp_path / "above"), list(sample.masks), None)
    folder.path = one_down.path
    for source in (archive, folder, one_down):
        assert {key: source.read(key) for key in sample.masks if source.size(key) == len(sample.masks[key])} == sample.masks
        assert source.size(KEY) is None
        source.close()


@pytest.mark.parametrize(
    "name",
    [
        "../validation-segmentation/n01/a.png",
        "/validation-segmentation/n01/a.png",
        "validation-segmentation/../../a.png",
        "validation-segmentation/n01/..\\..\\a.png",
        "C:/validation-segmentation/n01/a.png",
    ],
)
def test_a_name_that_leads_out_refuses_the_archive(tmp_path, name):
    path = make(tmp_path / "a.zip", [(KEY, label_map(1)), (name, label_map(1))])
    with pytest.raises(LussError, match="leads out of the folder; an archive with such members is not unpacked"):
        MaskArchive(path, [KEY])


def test_links_refuse_the_archive(tmp_path):
    link = zipfile.ZipInfo(KEY)
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with pytest.raises(LussError, match="a link or special file"):
        MaskArchive(make(tmp_path / "a.zip", [(link, "/etc/passwd")]), [KEY])


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_twice_the_same_mask(tmp_path):
    with pytest.raises(LussError, match=f"holds {KEY} twice"):
        MaskArchive(make(tmp_path / "a.zip", [(KEY, label_map(1)), (KEY, label_map(2))]), [KEY])


def test_bombs(tmp_path, monkeypatch):
    monkeypatch.setattr(mask_source, "MEMBER_LIMIT", 5000)
    bomb = make(tmp_path / "a.zip", [(KEY, label_map(1)[:8] + bytes(6000))])
    with pytest.raises(LussError, match="member validation-segmentation/n01/a.png: 5.9 kB; expected a label map of at most 4.9 kB"):
        MaskArchive(bomb, [KEY]).read(KEY)
    monkeypatch.setattr(mask_source, "MEAN_LIMIT", 3000)
    with pytest.raises(LussError, match="its 1 masks would unpack to 5.9 kB"):
        MaskArchive(bomb, [KEY])
    MaskArchive(bomb, [])  # what is not asked for is not read


def test_a_size_that_lies_gives_no_more_than_it_says(tmp_path):
    """The header of the member claims fewer bytes than are packed."""
    path = make(tmp_path / "a.zip", [(KEY, label_map(1) + bytes(100_000))])
    data = (tmp_path / "a.zip").read_bytes()
    true = (len(label_map(1)) + 100_000).to_bytes(4, "little")
    assert data.count(true) == 2
    (tmp_path / "a.zip").write_bytes(data.replace(true, (50).to_bytes(4, "little")))
    with pytest.raises(LussError, match="member .*a.png: damaged"):
        MaskArchive(path, [KEY]).read(KEY)


def test_every_flipped_byte_is_an_error_or_the_mask(tmp_path):
    path = tmp_path / "a.zip"
    make(path, [(KEY, label_map(1))])
    data = bytearray(path.read_bytes())
    outcomes = set()
    for position in range(len(data)):
        data[position] ^= 0x55
        path.write_bytes(data)
        try:
            archive = MaskArchive(str(path), [KEY])
            outcomes.add(archive.size(KEY) is None or archive.read(KEY) == label_map(1))
        except LussError as error:
            assert str(path) in str(error)
            outcomes.add("error")
        data[position] ^= 0x55
    assert outcomes == {True, "error"}


@pytest.mark.parametrize("content", [b"", b"<html>404</html>"])
def test_a_member_or_file_that_is_no_png(tmp_path, content):
    path = make(tmp_path / "a.zip", [(KEY, content)])
    (tmp_path / "masks" / KEY).parent.mkdir(parents=True)
    (tmp_path / "masks" / KEY).write_bytes(content)
    for place in (path, str(tmp_path / "masks")):
        with pytest.raises(LussError, match=f"a.png: found {len(content)} bytes that are no PNG"):
            open_masks(place, [KEY], None).read(KEY)


def test_what_is_no_source_of_masks(tmp_path):
    (tmp_path / "a.zip").write_bytes(b"PK no archive")
    with pytest.raises(LussError, match=r"a\.zip: no readable zip archive"):
        open_masks(str(tmp_path / "a.zip"), [KEY], None)
    with pytest.raises(LussError, match="none: no such file or folder; expected the archive"):
        open_masks(str(tmp_path / "none"), [KEY], None)
    with pytest.raises(LussError, match="found none of the folders .*validation-segmentation"):
        open_masks(str(tmp_path), [KEY], None)


def test_md5_of_the_archives_name(tmp_path):
    plain = make(tmp_path / "plain.zip", [(KEY, label_map(1))])
    data = (tmp_path / "plain.zip").read_bytes()
    digest = hashlib.md5(data).hexdigest()
    (tmp_path / f"ImageNetS4-{digest}.zip").write_bytes(data)
    wrong = tmp_path / f"ImageNetS4-{'0' * 32}.zip"
    wrong.write_bytes(data)
    for num in (None, 50):
        assert open_masks(str(tmp_path / f"ImageNetS4-{digest}.zip"), [KEY], num).size(KEY) == len(label_map(1))
        with pytest.raises(LussError, match=f"found MD5 {digest}, expected 0{{32}}, that in its name: fetch it again"):
            open_masks(str(wrong), [KEY], num)
        assert open_masks(str(wrong), [KEY], num, check_md5=False).size(KEY)
    assert open_masks(plain, [KEY], None).size(KEY)
    with pytest.raises(LussError, match="expected a0fe9d82231f9bc4787ee76e304dfa51, that of the published archive of ImageNet-S-50"):
        open_masks(plain, [KEY], 50)  # a renamed one of a published set


def test_the_archive_of_another_set_is_refused(tmp_path):
    path = make(tmp_path / f"ImageNetS300-{mask_source.ARCHIVE_MD5[300]}.zip", [(KEY, label_map(1))])
    with pytest.raises(LussError, match="the masks of ImageNet-S-300, which have other ids; expected the archive of ImageNet-S-50"):
        open_masks(path, [KEY], 50, check_md5=False)
