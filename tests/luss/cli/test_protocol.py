"""luss protocol: what it refuses before anything runs."""

from __future__ import annotations

import pytest

from engine.runtime.errors import LussError
from luss.cli import protocol
from luss.cli.parser import parse
from luss.workspace import Workspace


def arguments(*words):
    return parse(["protocol", *map(str, words)])[0]


def test_an_unknown_protocol_and_an_absent_checkpoint_are_refused(tmp_path):
    with pytest.raises(LussError, match="invalid choice: 'distence'"):
        arguments("distence")
    with pytest.raises(LussError, match=r"absent\.pth\.tar: no such file"):
        protocol.run(arguments("distance", "--checkpoint", tmp_path / "absent.pth.tar", "--workspace", tmp_path / "w"))


def test_a_trained_stage_1_is_not_replaced_by_a_checkpoint(tmp_path):
    checkpoint = tmp_path / "other.npz"
    checkpoint.touch()
    (tmp_path / "data" / "train").mkdir(parents=True)
    stage = Workspace(tmp_path / "w").stage("pretrain")
    record = {"model": {"weights": ""}}
    stage.begin(record, {})
    stage.finish(record, {}, {})
    with pytest.raises(LussError, match=r"has a stage 1 already \(trained there\)"):
        protocol.run(arguments("semi", "--checkpoint", checkpoint, "--workspace", tmp_path / "w", "--data", tmp_path / "data"))
    assert stage.done() is not None
