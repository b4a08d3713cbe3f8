"""From arguments to settings, the preset command, and the file form of settings."""

from __future__ import annotations

import json
import sys
import types

import pytest

from engine.runtime.errors import LussError
from luss.cli.commands import HANDLERS, resolve
from luss.cli.parser import parse
from luss.cli.toml import dump_settings
from luss.settings import load_settings


def arguments(line: str):
    return parse(line.split())[0]


def test_workspace_and_data_defaults(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    workspace, settings = resolve(arguments("run --preset imagenet-s-50 --data D --seed 5"))
    assert (workspace, settings.data.root, settings.run.seed) == ("runs/imagenet-s-50", "D", 5)
    assert resolve(arguments("run --data D"))[0] == "runs/demo"
    with pytest.raises(LussError, match=r"no images: .*runs/demo/data.*--data DIR"):
        resolve(arguments("pretrain"))
    (tmp_path / "runs" / "demo" / "data").mkdir(parents=True)
    assert resolve(arguments("pretrain"))[1].data.root == "runs/demo/data"


def test_set_wins_over_the_short_options():
    settings = resolve(arguments("run --data D --seed 1 --set run.seed=2 --set data.root=E"))[1]
    assert (settings.run.seed, settings.data.root) == (2, "E")


def test_an_existing_workspace_keeps_its_settings(tmp_path):
    crops = ["pretrain.crops=2", "pretrain.sizes=64", "pretrain.min_scale=0.1", "pretrain.max_scale=1"]
    made = load_settings("imagenet-s-50", None, ["data.root=D", *crops])
    (tmp_path / "settings.json").write_text(json.dumps(made.as_dict()))
    assert resolve(arguments(f"attend --workspace {tmp_path}"))[1] == made
    changed = resolve(arguments(f"attend --workspace {tmp_path} --set attend.epochs=3"))[1]
    assert changed.attend.epochs == 3 and changed.pretrain == made.pretrain and changed.model == made.model
    assert resolve(arguments(f"attend --workspace {tmp_path} --preset demo --data D"))[1].cluster.clusters == 8  # an explicit preset wins
    with pytest.raises(LussError, match="nearest valid name: attend.epochs"):
        resolve(arguments(f"attend --workspace {tmp_path} --set attend.epoch=3"))


@pytest.mark.parametrize("text", ["", "[1]", '{"pretrain": {"epochs": 3}', "null"])
def test_damaged_stored_settings_are_named(tmp_path, text):
    (tmp_path / "settings.json").write_text(text)
    with pytest.raises(LussError, match="settings.json: not the stored settings"):
        resolve(arguments(f"attend --workspace {tmp_path}"))


@pytest.mark.parametrize(("line", "stages"), [("run --data D --dry-run", None), ("attend --data D --dry-run", ["attend"])])
def test_stages_reach_the_pipeline(monkeypatch, tmp_path, line, stages):
    calls = []
    fake = types.ModuleType("luss.pipeline")
    fake.run = lambda workspace, settings, **options: calls.append((workspace, settings, options))
    monkeypatch.setitem(sys.modules, "luss.pipeline", fake)
    monkeypatch.setattr(sys.modules["luss"], "pipeline", fake, raising=False)
    given = arguments(f"{line} --workspace {tmp_path}")
    HANDLERS[given.command](given)
    workspace, settings, options = calls[0]
    assert workspace == str(tmp_path) and settings.data.root == "D"
    assert options == {"stages": stages, "dry_run": True, "untrained": False}


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("evaluate P", "--data DIR is missing"),
        ("evaluate P --data D", "--classes K is missing"),
        ("evaluate P --data D --classes 8 --workspace W", "--workspace belongs to a run"),
        ("evaluate P --data D --classes 8 --set run.seed=1", "--set belongs to a run"),
        ("evaluate --classes 8", "--classes needs PRED;"),
        ("report /nonexistent/folder", "no such folder"),
        ("preset show dmo", "did you mean demo"),
        ("export a.npz b.txt", "ends in .pth.tar"),
    ],
)
def test_refusals(line, complaint):
    given = arguments(line)
    with pytest.raises(LussError, match=complaint):
        HANDLERS[given.command](given)


def test_preset_list_and_show(capsys, tmp_path):
    HANDLERS["preset"](arguments("preset list"))
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["demo", "imagenet-s-300", "imagenet-s-50", "imagenet-s-919"]
    for options in ("", " --resolved"):
        HANDLERS["preset"](arguments("preset show imagenet-s-50" + options))
        file = tmp_path / "shown.toml"
        file.write_text(capsys.readouterr().out, encoding="utf-8")
        assert load_settings("imagenet-s-50", str(file)) == load_settings("imagenet-s-50")
    assert load_settings("demo", str(file)) == load_settings("imagenet-s-50")  # resolved: nothing of the other preset is left


def test_toml_text_survives_awkward_values(tmp_path):
    root = 'a "quoted" \\ path\twith ümlaut\u2028and \x7f'
    tree = load_settings("demo", None, ["optimizer.weight_decay=1e-06"]).as_dict()
    tree["data"]["root"] = root
    file = tmp_path / "a.toml"
    file.write_text(dump_settings(tree), encoding="utf-8")
    settings = load_settings("imagenet-s-919", str(file))
    assert settings.data.root == root and settings.optimizer.weight_decay == 1e-6 and settings.as_dict() == tree


@pytest.mark.parametrize(("options", "prefix"), [("", "module."), (" --no-prefix", "")])
def test_export_writes_what_can_be_read_back(tmp_path, capsys, options, prefix):
    import numpy as np

    from engine.storage.torch_file import read_torch
    from engine.training.checkpoint import save_checkpoint
    from luss.models.state_dict import read_state_dict

    weight = np.arange(6, dtype=np.float32).reshape(2, 3)
    source, target = tmp_path / "checkpoint.npz", tmp_path / "out.pth.tar"
    save_checkpoint(source, arrays={"model/last_layer.weight": weight, "momentum/last_layer.weight": 0 * weight}, state={"epoch": 7})
    HANDLERS["export"](arguments(f"export {source} {target}{options}"))
    assert capsys.readouterr().out == f"{target}\n"
    tree = read_torch(target)
    assert tree["epoch"] == 7 and list(tree["state_dict"]) == [f"{prefix}last_layer.weight"]
    assert np.array_equal(read_state_dict(target)["last_layer.weight"], weight)
