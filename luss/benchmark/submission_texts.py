"""The two texts of a submission: method.txt with its six lines, and match.json, read with distrust."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, fields

from engine.runtime.errors import LussError
from engine.storage.atomic import parse_json
from luss.benchmark.label_map import MAX_ID

METHOD_FILE, MATCH_FILE = "method.txt", "match.json"
MAX_TEXT = 1 << 20  # bytes of either file; real ones have some hundred and some 10,000
LABELS = {
    "name": "Method name",
    "training_data": "Training data",
    "training_scheme": "Training scheme",
    "networks": "Networks",
    "link": "Paper/Project link",
    "description": "Method description",
}


@dataclass(frozen=True)
class MethodText:
    """What method.txt says about a method, each field one line of text."""

    name: str
    training_data: str
    training_scheme: str  # SSL, Sup, SSL+Sup, ...
    networks: str
    link: str
    description: str

    def text(self) -> str:
        """The file's six lines, without a newline after the last.

        Raises:
            LussError: a field is empty, or holds a line break or another control character.
        """
        for field, label in LABELS.items():
            value = getattr(self, field)
            if not value.strip():
                raise LussError(f"{METHOD_FILE}: {label!r} is empty; expected one line of text")
            if not value.isprintable():
                raise LussError(f"{METHOD_FILE}: {label!r} holds a line break or a control character ({value!r}); expected one line of text")
        return "\n".join(f"{label}: {getattr(self, field).strip()}" for field, label in LABELS.items())


def read_method(data: bytes, name: str = METHOD_FILE) -> MethodText:
    """The method in the bytes of a method.txt.

    Raises:
        LussError: the first thing that is wrong with it.
    """
    errors, _ = method_problems(data)
    if errors:
        raise LussError(f"{name}: {errors[0]}")
    values = [line.partition(":")[2].strip() for line in _lines(data.decode("utf-8"))]
    return MethodText(**dict(zip((field.name for field in fields(MethodText)), values)))


def method_problems(data: bytes) -> tuple[list[str], list[str]]:
    """(errors, warnings) of a method.txt."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        return [f"not UTF-8 text ({error.reason} at byte {error.start})"], []
    lines = _lines(text)
    expected = "expected six lines: " + ", ".join(f'"{label}: ..."' for label in LABELS.values())
    if len(lines) != len(LABELS):
        return [f"found {len(lines)} lines; {expected}"], []
    errors = []
    for number, (line, label) in enumerate(zip(lines, LABELS.values()), 1):
        head, colon, value = line.partition(":")
        if not colon or head != label:
            errors.append(f'line {number} begins with {_short(line)}; expected "{label}: ..."')
        elif not value.strip():
            errors.append(f'line {number}, "{label}", is empty')
        elif not value.isprintable():
            errors.append(f'line {number}, "{label}", holds a control character')
    warnings = []
    if "\r" in text:
        warnings.append("the lines end as on Windows (CR LF); the published file has plain line ends")
    elif text.endswith("\n"):
        warnings.append("there is a newline after the last line; the published file has none")
    return errors, warnings


def match_problems(data: bytes, num_classes: int) -> tuple[dict[int, int], list[str]]:
    """The entries {generated id: class id} of a match.json and what is wrong with it.

    Returns:
        match: 0 is in it where the file has it; class -1 stands for what is no class id. Empty where the file cannot be read.
        problems: one text each.
    """
    pairs: list[tuple[str, object]] = []

    def collect(found: list[tuple[str, object]]) -> dict:
        pairs[:] = found  # the outermost object is the last to be closed
        return dict(found)

    try:
        parse_json(data)  # measures the depth first: Python's parser recurses
        content = json.loads(data.decode("utf-8"), object_pairs_hook=collect)
    except (ValueError, RecursionError) as error:
        return {}, [f"not valid JSON ({' '.join(str(error).split())})"]
    if not isinstance(content, dict):
        return {}, [f'found a {type(content).__name__}; expected one object {{"<generated id>": <class id>, ..., "0": 0}}']
    problems = [f"the key {_short(key)} occurs {number} times; expected each id once" for key, number in _repeated(pairs)]
    match: dict[int, int] = {}
    for key, label in pairs:
        if not (key.isascii() and key.isdigit() and len(key) <= 5 and int(key) <= MAX_ID and str(int(key)) == key):
            problems.append(f"the key {_short(key)} is no id; expected a decimal number from 0 to {MAX_ID}")
            continue
        good = type(label) is int and 0 <= label <= num_classes and (key != "0" or label == 0)
        match[int(key)] = label if good else -1
        if not good:
            expected = '0, "other" stays "other"' if key == "0" else f"a class id, an integer from 0 to {num_classes}"
            problems.append(f"id {key} is given {_short(json.dumps(label))}; expected {expected}")
    if not any(key == "0" for key, _ in pairs):
        problems.append('there is no entry "0": 0; the published evaluator stops at the first pixel of "other" without it')
    if not any(match):
        problems.append("there is no generated id in it")
    return match, problems


def read_match(path: str | os.PathLike, num_classes: int) -> dict[int, int]:
    """The match in a match.json, without its entry for 0.

    Raises:
        LussError: absent, too large, or anything that `match_problems` finds.
    """
    name = os.fspath(path)
    try:
        with open(path, "rb") as stream:
            data = stream.read(MAX_TEXT + 1)
    except OSError as error:
        raise LussError(f"{name}: cannot be read ({error.strerror}); expected a match.json") from error
    match, problems = match_problems(data, num_classes) if len(data) <= MAX_TEXT else ({}, [f"more than {MAX_TEXT} bytes, which no match.json has"])
    if problems:
        more = f" (and {len(problems) - 3} more problems)" if len(problems) > 3 else ""
        raise LussError(f"{name}: {'; '.join(problems[:3])}{more}")
    return {cluster: label for cluster, label in match.items() if cluster}


def match_bytes(match: Mapping[int, int]) -> bytes:
    """match.json as published: ids in order, "0": 0 last."""
    from luss.benchmark.matching import match_to_json

    return json.dumps(match_to_json(match)).encode()


def _lines(text: str) -> list[str]:
    text = text.replace("\r\n", "\n")
    return (text[:-1] if text.endswith("\n") else text).split("\n")


def _repeated(pairs: list[tuple[str, object]]) -> list[tuple[str, int]]:
    return [(key, number) for key, number in Counter(key for key, _ in pairs).items() if number > 1]


def _short(text: str) -> str:
    shown = ascii(text)
    return shown if len(shown) <= 60 else shown[:57] + "..."
