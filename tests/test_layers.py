"""Who may import whom (docs/architecture.md): walks the syntax trees of `engine` and `luss`."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def imported(path: Path, root: Path) -> Iterator[tuple[str, bool]]:
    """(dotted name, was it relative) of everything a file imports; `from a import b` gives a and a.b."""
    package = path.relative_to(root).with_suffix("").parts[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, False
        elif isinstance(node, ast.ImportFrom):
            base = list(package[: len(package) - node.level + 1]) if node.level else []
            module = ".".join(base + ([node.module] if node.module else []))
            yield module, node.level > 0
            for alias in node.names:
                yield f"{module}.{alias.name}", node.level > 0


def within(name: str, *rooms: str) -> bool:
    return any(name == room or name.startswith(room + ".") for room in rooms)


def broken_rules(root: Path) -> list[str]:
    """One sentence for every import, or mention of CUDA source, that the architecture does not allow."""
    found = []
    for path in sorted([*root.glob("engine/**/*.py"), *root.glob("luss/**/*.py")]):
        file = path.relative_to(root).as_posix()
        for name, relative in imported(path, root):
            if file.startswith("engine/") and within(name, "luss"):
                found.append(f"{file} imports {name}: engine must not know luss")
            if file.startswith("engine/") and within(name, "engine") and not relative:
                found.append(f"{file} imports {name}: inside engine imports are relative")
            if within(name, "jittor", "jittor_utils") and not file.startswith("engine/runtime/"):
                found.append(f"{file} imports {name}: Jittor comes from engine.runtime")
            if file.startswith(("luss/benchmark/", "luss/report/")) and within(name, "luss.stages", "luss.models"):
                found.append(f"{file} imports {name}: benchmark and report read files, no models and no stages")
            if file == "luss/losses.py" and within(name, "luss.stages"):
                found.append(f"{file} imports {name}: losses must not know stages")
            if file.startswith("luss/models/") and within(name, "luss.stages", "luss.pipeline"):
                found.append(f"{file} imports {name}: models must not know stages")
            if not file.startswith("luss/cli/") and within(name, "luss.cli"):
                found.append(f"{file} imports {name}: only the command line knows the command line")
        if not file.startswith("engine/ops/") and ".cuh" in path.read_text(encoding="utf-8"):
            found.append(f"{file} mentions CUDA source: only engine/ops may")
    return found


def test_the_tree_keeps_its_layers():
    assert broken_rules(ROOT) == []


@pytest.mark.parametrize(
    ("file", "text", "complaint"),
    [
        ("engine/data/a.py", "import luss.settings", "engine must not know luss"),
        ("engine/data/a.py", "from luss import settings", "engine must not know luss"),
        ("engine/data/a.py", "from engine.runtime import jt", "imports are relative"),
        ("engine/data/a.py", "def f():\n    import jittor as jt", "Jittor comes from engine.runtime"),
        ("luss/stages/a.py", "from jittor import nn", "Jittor comes from engine.runtime"),
        ("luss/benchmark/a.py", "from luss import models", "no models"),
        ("luss/report/a.py", "from ..stages.pretrain import run", "no stages"),
        ("luss/losses.py", "from luss.stages import pretrain", "losses must not know stages"),
        ("luss/models/a.py", "from luss.stages import pretrain", "models must not know stages"),
        ("luss/stages/a.py", "from luss.cli.main import main", "only the command line"),
        ("luss/stages/a.py", 'SOURCE = "luss/sinkhorn.cuh"', "only engine/ops may"),
    ],
)
def test_a_broken_rule_is_named(tmp_path, file, text, complaint):
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    path.write_text(text)
    found = broken_rules(tmp_path)
    assert found and all(file in line and complaint in line for line in found)


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("engine/data/a.py", "from ..runtime import jt\nfrom .folder import find"),
        ("engine/runtime/a.py", "import jittor"),
        ("engine/ops/a.py", 'HEADER = "luss/sinkhorn.cuh"'),
        ("luss/stages/a.py", "from engine.runtime import jt\nfrom luss.models import resnet"),
    ],
)
def test_what_is_allowed_passes(tmp_path, file, text):
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    path.write_text(text)
    assert broken_rules(tmp_path) == []
