"""`luss data index` and `luss data pack`: what is printed, and the exit codes."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time

import pytest

from engine.data.manifest import load_manifest
from engine.data.packed import PackedImages
from engine.runtime.errors import LussError
from luss.cli.main import main
from luss.cli.parser import build_parser, parse, subcommands
from tests.engine.data.samples import image_tree, photo

ACTIONS = subcommands(subcommands(build_parser())["data"])


@pytest.fixture
def root(tmp_path):
    """Six images, one of them broken."""
    root = image_tree(tmp_path / "set")
    (root / "train" / "n02" / "n02_1.JPEG").write_bytes(b"<html>")
    return root


@pytest.fixture(autouse=True)
def handlers():
    """The commands take over these signals for the rest of the process."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("name", ["index", "pack"])
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


def test_index_check_update_check(root, capsys):
    assert main(["data", "index", "--data", str(root)]) == 0
    shown = capsys.readouterr()
    assert "n02/n02_1.JPEG: unreadable: an HTML page, not an image\n" in shown.out
    assert re.search(r"train.manifest: 6 images in 2 classes, .* kB, 1 unreadable$", shown.out, re.MULTILINE)
    assert "index: 6/6 images" in shown.err
    assert load_manifest(root / "train.manifest").fingerprint() in shown.out
    assert main(["data", "index", "--data", str(root), "--check", "--deep", "--quiet"]) == 0
    assert capsys.readouterr().err == ""
    photo(30, 20).save(root / "train" / "n01" / "n01_0.JPEG")
    assert main(["data", "index", "--data", str(root), "--check", "--quiet"]) == 2
    assert "no longer true of its 6 images: 1 changed (n01/n01_0.JPEG)" in capsys.readouterr().err
    assert main(["data", "index", "--data", str(root), "--quiet"]) == 0
    assert main(["data", "index", "--data", str(root), "--check", "--quiet"]) == 0


def test_pack_then_check_then_damage(root, tmp_path, capsys):
    line = ["data", "pack", "--data", str(root), "--out", str(tmp_path / "p"), "--shorter", "30", "--workers", "0"]
    assert main(line) == 0
    shown = capsys.readouterr()
    assert "n02/n02_1.JPEG: left out: an HTML page, not an image\n" in shown.out
    assert re.search(r"p: 5 images, .* kB, manifest [0-9a-f]{32}$", shown.out, re.MULTILINE)
    assert "0 of them as their original files; 1 left out" in shown.out
    assert "pack: 6/6 images" in shown.err and re.search(r"the pack will take about .* kB; free: .* GB", shown.err)
    pack = PackedImages(tmp_path / "p")
    assert (pack.settings.side, pack.settings.length) == ("shorter", 30)
    assert main([*line, "--quiet"]) == 0 and capsys.readouterr().err == ""
    assert main(["data", "pack", "--check", str(tmp_path / "p")]) == 0
    assert re.search(r"p: whole, 5 images, .* 1 were left out", capsys.readouterr().out)
    with open(tmp_path / "p" / "shard-00000.pack", "r+b") as stream:
        stream.seek(100)
        stream.write(b"?!")
    assert main(["data", "pack", "--check", str(tmp_path / "p"), "--quiet"]) == 2
    shown = capsys.readouterr()
    assert "shard-00000.pack: record 0 (n01/n01_0.JPEG" in shown.out and "1 problems, each is named on standard output" in shown.err


def test_the_manifest_goes_beside_the_pack_or_where_it_is_already(root, tmp_path):
    assert main(["data", "pack", "--data", str(root), "--out", str(tmp_path / "a"), "--workers", "0", "--quiet", "--format", "raw"]) == 0
    assert (tmp_path / "a.manifest").exists() and not (root / "train.manifest").exists()
    assert main(["data", "index", "--data", str(root), "--quiet"]) == 0
    assert main(["data", "pack", "--data", str(root), "--out", str(tmp_path / "b"), "--workers", "0", "--quiet", "--format", "raw"]) == 0
    assert not (tmp_path / "b.manifest").exists()
    contents = [[path.read_bytes() for path in sorted((tmp_path / name).iterdir())] for name in "ab"]
    assert contents[0] == contents[1]


def test_interrupted_with_exit_code_3_and_completed_by_the_same_command(tmp_path):
    root = image_tree(tmp_path / "set", per_class=60, size=(500, 400))
    words = ["data", "pack", "--data", str(root), "--out", str(tmp_path / "p"), "--longest", "400", "--shard-mb", "1", "--workers", "2"]
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path))
    child = subprocess.Popen([sys.executable, "-m", "luss.cli", *words], env=environment, stderr=subprocess.PIPE, text=True)
    while child.poll() is None and not (tmp_path / "p" / "pack.json").exists():
        time.sleep(0.002)
    child.send_signal(signal.SIGINT)
    text = child.communicate(timeout=120)[1]
    assert child.returncode == 3 and "shards are complete, and kept; the same command goes on" in text, text
    assert main([*words, "--quiet"]) == 0
    assert len(PackedImages(tmp_path / "p")) == 120


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("data pack --data D --out O --longest 3 --shorter 4", "not allowed with argument"),
        ("data pack --data D --out O --format png", "invalid choice"),
        ("data index", "required: --data"),
        ("data index --data D --worker 3", "did you mean|unrecognized|unknown argument"),
    ],
)
def test_refusals_of_the_parser(line, complaint):
    with pytest.raises(LussError, match=complaint):
        parse(line.split())


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("index --data /nonexistent", "/nonexistent: no such folder"),
        ("index --data {root} --split test", "no test images"),
        ("index --data {root} --workers 0", "--workers 0: expected 1 or more"),
        ("index --data {root} --check", "train.manifest: cannot be read"),
        ("pack --data {root}", "needs --data and --out, or --check"),
        ("pack --data {root} --out {root}/p --workers -1", "--workers -1: expected 0 or more"),
        ("pack --data {root} --out {root}/p --longest 0", "side length 0: expected 1 to 65,500"),
        ("pack --data {root} --out {root}/p --quality 0", "quality 0: expected 1 to 100"),
        ("pack --data {root} --out {root}/p --shard-mb 0", "shard size 0"),
        ("pack --data {root} --out {root}/train --workers 0 --manifest {root}/m", "train: not empty, and no pack in it"),
        ("pack --check {root}", "no pack in it"),
    ],
)
def test_refusals(root, capsys, line, complaint):
    assert main(["data", *line.format(root=root).split()]) == 2
    assert complaint in capsys.readouterr().err
