"""`luss data`: what is printed, and the exit codes."""

from __future__ import annotations

import json
import re
import shlex

import pytest

from engine.runtime.errors import LussError
from luss.cli.main import main
from luss.cli.parser import build_parser, parse, subcommands
from tests.luss.benchmark.imagenet_sample import Sample

ACTIONS = subcommands(subcommands(build_parser())["data"])


@pytest.mark.parametrize("name", ["prepare", "verify"])
def test_help_has_defaults_two_examples_and_exit_codes(name):
    text = ACTIONS[name].format_help()
    examples = re.findall(r"^  (luss .*)$", text, re.MULTILINE)
    assert len(examples) == 2
    for example in examples:
        given = parse(shlex.split(example)[1:])[0]
        assert (given.command, given.action) == ("data", name)
    assert "exit codes: 0 done" in text
    for action in ACTIONS[name]._actions:
        if action.option_strings and "--help" not in action.option_strings:
            assert "default" in action.help or "required" in action.help, action.option_strings


def prepared(sample, *more: str) -> int:
    line = f"data prepare --imagenet {sample.imagenet} --lists {sample.lists} --set 4 --out {sample.out} --unpublished"
    return main([*line.split(), *more])


def test_prepare_then_verify(tmp_path, capsys):
    sample = Sample(tmp_path)
    assert prepared(sample, "--masks", str(sample.archive())) == 0
    shown = capsys.readouterr()
    assert re.search(r"^validation-segmentation +8 +0$", shown.out, re.MULTILINE)
    assert "validation-segmentation: 8/8 masks" in shown.err
    assert prepared(sample, "--quiet") == 0
    shown = capsys.readouterr()
    assert re.search(r"^validation-segmentation +0 +8$", shown.out, re.MULTILINE) and shown.err == ""
    assert main(["data", "verify", str(sample.out), "--workers", "0", "--quiet"]) == 0
    shown = capsys.readouterr()
    assert shown.err == "" and re.search(r"^validation +4 +8 +- +8 +0$", shown.out, re.MULTILINE)
    assert "4 categories; not a published set" in shown.out


def test_prepare_names_what_is_missing(tmp_path, capsys):
    sample = Sample(tmp_path)
    next(sample.imagenet.glob("val/*/ILSVRC2012_val_00000003.JPEG")).unlink()
    assert prepared(sample, "--quiet") == 2
    shown = capsys.readouterr()
    assert "1 of 12 test images are missing (not in " in shown.out and "8 of 8 validation masks are missing (no --masks were given)" in shown.out
    assert shown.err.count("\n") == 1 and "not complete, for 3 reasons" in shown.err


def test_verify_names_each_problem_and_fails(tmp_path, capsys):
    sample = Sample(tmp_path)
    assert prepared(sample, "--quiet", "--masks", str(sample.archive())) == 0
    image, mask = (next(sample.out.glob(pattern)) for pattern in ("test/*/*.JPEG", "validation-segmentation/*/*.png"))
    image.write_bytes(b"")
    mask.unlink()
    capsys.readouterr()
    assert main(["data", "verify", str(sample.out), "--workers", "0"]) == 2
    shown = capsys.readouterr()
    assert f"{image.relative_to(sample.out)}: empty file\n" in shown.out
    assert f"its mask {mask.relative_to(sample.out)} does not exist\n" in shown.out
    assert "checking: 46/46 images" in shown.err
    assert f"luss: error: {sample.out}: 2 problems (1 image without mask, 1 unreadable image)" in shown.err
    assert main(["data", "verify", str(sample.out), "--fast"]) == 2  # the missing mask shows without opening a file
    assert "no file was opened (--fast)" in capsys.readouterr().out


def test_json_is_all_of_standard_output(tmp_path, capsys):
    sample = Sample(tmp_path)
    assert prepared(sample, "--quiet", "--masks", str(sample.mask_folder())) == 0
    next(sample.out.glob("test/*/*.JPEG")).write_bytes(b"")
    capsys.readouterr()
    assert main(["data", "verify", str(sample.out), "--workers", "0", "--json", "--quiet"]) == 2
    found = json.loads(capsys.readouterr().out)
    assert (found["set"], found["classes"], found["counts"]) == (None, 4, {"unreadable image": 1})
    assert found["problems"][0]["text"] == "empty file" and [row["images"] for row in found["splits"]] == [18, 8, 8, 12]


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("data", "the following arguments are required: ACTION"),
        ("data prepare --imagenet I", "required: --lists, --set, --out"),
        ("data verify D --set many", "--set.*invalid int"),
        ("data verify", "required: DIR"),
        ("data check D", "invalid choice"),
    ],
)
def test_refusals_of_the_parser(line, complaint):
    with pytest.raises(LussError, match=complaint):
        parse(line.split())


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("data verify /nonexistent", "/nonexistent: no such folder"),
        ("data verify {root} --set 51", "51: there is no ImageNet-S with so many categories"),
        ("data verify {root} --workers -1", "--workers -1: expected 0 or more"),
        ("data prepare --imagenet {root} --lists L --set 50 --out O", "no train/ beside a val/ in it"),
        ("data prepare --imagenet {root}/imagenet --lists L --set 0 --out O", "--set 0: expected a number of categories"),
        ("data prepare --imagenet {root}/imagenet --lists L --set 50 --out O", "L: no such folder; expected the folder with the published lists"),
        ("data prepare --imagenet {root}/imagenet --lists {root}/lists --set 4 --out O", "4: there is no ImageNet-S with so many categories"),
        ("data prepare --imagenet {root}/imagenet --lists {root}/lists --set 50 --out O", "im50.txt: cannot be read"),
    ],
)
def test_refusals(tmp_path, capsys, line, complaint):
    sample = Sample(tmp_path)
    assert main(line.format(root=sample.root).split()) == 2
    assert complaint in capsys.readouterr().err
