"""The command tree: what parses, what is refused, and what --help shows."""

from __future__ import annotations

import re
import shlex

import pytest

from engine.runtime.errors import LussError
from luss.cli.commands import HANDLERS
from luss.cli.parser import build_parser, parse, subcommands
from luss.workspace import STAGES

COMMANDS = subcommands(build_parser())


def test_every_command_has_a_handler_and_every_stage_a_command():
    assert set(COMMANDS) == set(HANDLERS)
    assert set(STAGES) <= set(COMMANDS)
    assert {"demo", "run", "report", "doctor", "preset", "export"} <= set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_defaults_two_examples_and_exit_codes(name):
    text = COMMANDS[name].format_help()
    examples = re.findall(r"^  (luss .*)$", text, re.MULTILINE)
    assert len(examples) == 2
    for example in examples:
        words = shlex.split(example.partition(">")[0])
        assert parse(words[1:])[0].command == words[1]
    assert "exit codes: 0 done" in text
    for action in COMMANDS[name]._actions:
        if action.option_strings and "--help" not in action.option_strings and action.nargs != 0:
            assert "default" in action.help or "repeatable" in action.help or "required" in action.help, action.option_strings


@pytest.mark.parametrize("name", ["run", *STAGES])
def test_common_options(name):
    line = f"{name} --preset demo --config a.toml --data D --workspace W --set a.b=1 --set c.d=2 --seed 3 --dry-run --debug --quiet"
    arguments, notes = parse(line.split())
    assert (arguments.preset, arguments.config, arguments.data, arguments.workspace) == ("demo", "a.toml", "D", "W")
    assert (arguments.set, arguments.seed) == (["a.b=1", "c.d=2"], 3)
    assert arguments.dry_run and arguments.debug and arguments.quiet and notes == []


def test_demo_and_standalone_evaluation():
    demo = parse(["demo"])[0]
    assert (demo.workspace, demo.untrained, demo.seed) == ("runs/demo", False, None)
    assert parse(["demo", "--untrained", "--seed", "2"])[0].untrained
    alone = parse("evaluate P --data D --split test --classes 50 --match identity".split())[0]
    assert (alone.predictions, alone.data, alone.split, alone.classes, alone.match) == ("P", "D", "test", 50, "identity")
    assert parse(["evaluate"])[0].predictions is None


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("pretrian", "did you mean pretrain"),
        ("submitt", "did you mean submit"),
        ("run --presett demo", "did you mean --preset"),
        ("run --pre demo", "unknown argument --pre"),
        ("run --seed many", "--seed.*invalid int"),
        ("run --preset", "--preset.*expected one argument"),
        ("preset", "ACTION"),
        ("preset shw", "invalid choice"),
        ("export a.npz", "OUT.pth.tar"),
        ("run extra", "unknown argument extra"),
        ("--frobnicate", "unknown argument --frobnicate"),
    ],
)
def test_refusals(line, complaint):
    with pytest.raises(LussError, match=complaint):
        parse(line.split())
