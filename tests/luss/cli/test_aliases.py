"""PASS option names: what each becomes, and which are refused."""

from __future__ import annotations

import pytest

from engine.runtime.errors import LussError
from luss.cli.aliases import alias_targets, translate
from luss.cli.parser import parse
from luss.settings import load_settings, setting_names


def test_every_alias_names_a_setting():
    assert alias_targets() <= set(setting_names())
    assert len(alias_targets()) > 30


@pytest.mark.parametrize(
    ("command", "words", "expected"),
    [
        ("pretrain", "--nmb_prototypes 500", "--set model.prototypes=500"),
        ("run", "--nmb-prototypes=500", "--set model.prototypes=500"),
        ("pretrain", "--epochs 3", "--set pretrain.epochs=3"),
        ("attend", "--epochs 3", "--set attend.epochs=3"),
        ("finetune", "--base_lr 0.3", "--set finetune.base_lr=0.3"),
        ("pretrain", "--base_lr 0.3", "--set optimizer.base_lr=0.3"),
        ("attend", "--queue_length 3840", "--set attend.queue_length=3840"),
        ("pretrain", "--nmb_crops 2 6 --size_crops 224 96", "--set pretrain.crops=2,6 --set pretrain.sizes=224,96"),
        ("pretrain", "--weights 1 1 --shallow 3", "--set pretrain.weights=1,1 --set model.shallow=3"),
        ("cluster", "-c 50 -b 256 -s 7 -a resnet18", "--set cluster.clusters=50 --set features.batch_size=256 --seed 7 --set model.arch=resnet18"),
        ("label", "-t 0.41", "--set label.threshold=0.41"),
        ("threshold", "--min 0 --max 80", "--set label.curve_min=0 --set label.curve_max=80"),
        ("predict", "--mode validation --max_res 600", "--set predict.splits=validation --set predict.max_res=600"),
        ("pretrain", "--data_path /d/ImageNetS50/train/ --dump_path w", "--data /d/ImageNetS50 --workspace w"),
        ("cluster", "--data_path /d/ImageNetS50", "--data /d/ImageNetS50"),
        ("pretrain", "--pretrained a.pth.tar", "--set model.weights=a.pth.tar"),
        ("evaluate", "P --data_path D --mode test -c 50", "P --data D --split test --classes 50"),
        ("run", "--temperature 0.1 --epsilon 0.05 --sinkhorn_iterations 3", None),
        ("run", "--seed 3 --data D --set data.root=--epochs", "--seed 3 --data D --set data.root=--epochs"),
        ("doctor", "--json", "--json"),
    ],
)
def test_translation(command, words, expected):
    result, notes = translate(command, words.split())
    if expected is not None:
        assert result == expected.split()
    assert bool(notes) == (words.split() != result)


def test_one_note_for_each_name():
    arguments, notes = parse("pretrain --nmb_prototypes 64 --batch_size 8 --preset demo".split())
    assert arguments.set == ["model.prototypes=64", "pretrain.batch_size=8"]
    assert len(notes) == 2
    assert "--nmb_prototypes 64 is taken as --set model.prototypes=64" in notes[0]
    assert "over all processes" in notes[1]
    assert load_settings("demo", None, arguments.set).pretrain.batch_size == 8


@pytest.mark.parametrize(
    ("command", "words", "complaint"),
    [
        ("run", "--epochs 3", "say which with --set: attend.epochs, finetune.epochs, pretrain.epochs"),
        ("attend", "--use_fp16 true", "32-bit"),
        ("finetune", "--pseudo_path p", "read from the workspace"),
        ("attend", "--pretrained a.pth.tar", "model.weights"),
        ("pretrain", "--dist_url env://", "no counterpart"),
        ("label", "--mode train", "luss label the training images"),
        ("finetune", "--queue_length 3", "luss finetune has no such setting"),
        ("pretrain", "--epochs", "expected a value"),
        ("pretrain", "--epochs --batch_size 3", "--epochs: expected a value"),
    ],
)
def test_refusals(command, words, complaint):
    with pytest.raises(LussError, match=complaint):
        translate(command, words.split())
