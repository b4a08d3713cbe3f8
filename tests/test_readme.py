"""The commands that README and docs show are commands that exist, and .ci/run runs README's."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from engine.runtime.errors import LussError
from luss.cli.parser import parse

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def shell_lines(text: str) -> list[str]:
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line.strip()]


def luss_commands(text: str) -> list[str]:
    """Every `luss ...` in a shell block or between backticks, without those that name no command."""
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    pieces = [piece for line in shell_lines(text) for piece in line.split("&&")] + re.findall(r"`([^`\n]+)`", prose)
    return [piece.strip() for piece in pieces if re.match(r"\s*luss [a-z]", piece)]


def all_commands() -> list[str]:
    documents = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    return sorted({command for path in documents for command in luss_commands(path.read_text(encoding="utf-8"))})


@pytest.mark.parametrize("command", all_commands())
def test_command_parses(command):
    words = shlex.split(command.partition(">")[0], comments=True)
    if "--help" in words:
        with pytest.raises(SystemExit) as leaving:
            parse(words[1:])
        assert leaving.value.code == 0
    else:
        assert parse(words[1:])[0].command == words[1]


def test_there_are_commands_to_check():
    commands = luss_commands(README)
    assert "luss run --preset imagenet-s-50 --data DIR" in commands
    assert len(commands) >= 15


def test_an_outdated_command_would_be_noticed():
    with pytest.raises(LussError, match="did you mean pretrain"):
        parse(["pretrane"])


def test_the_two_commands_are_the_ones_that_ci_runs():
    first, second = shell_lines(README)[:2]
    assert first == "pip install . && luss demo"
    assert second == "pip install '.[test]' && pytest"
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    for part in ("pip install", "luss demo", "pytest"):
        assert part in script
    lines = [line.strip() for line in script.splitlines()]
    install = [shlex.split(line)[-1] for line in lines if line.startswith("step") and "pip install" in line]
    assert install == [shlex.split(command.partition("&&")[0])[-1] for command in (first, second)]
    assert lines[-1] == "pytest"


def test_what_is_needed_is_one_line():
    assert "Needs: Python 3.9-3.12 with headers and g++, nothing else." in README.splitlines()
