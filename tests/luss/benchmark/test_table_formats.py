"""Every format is parsed back, also with names that would break it."""

from __future__ import annotations

import csv
import io
import json
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from luss.benchmark.table_formats import FORMATS, format_table, latex_text, to_csv, to_json, to_latex, to_text
from luss.benchmark.tables import PROVENANCE, Row, Table, Value

HOSTILE = [
    '<b>&"x"</b>',
    "a_b%c#d$e",
    'comma, quote" and\nnewline',
    "\\input{/etc/passwd}",
    "{x}",
    "[1ex]",
    "*",
    "--~^|",
    "\x1b[2J\x07",
    "=1+1",
    "ümlaut",
    "",
]
NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)


def table_of(names, **changes) -> Table:
    rows = [Row((name,), (Value(22.168743019663047), None), "run", {**dict.fromkeys(PROVENANCE, ""), "split": "validation"}) for name in names]
    rows += [
        Row(("g",), (Value(14.3, 11.25, 1.0, 27.5), Value(-0.004)), "group", {**dict.fromkeys(PROVENANCE, ""), "seeds": "1, 2"}),
        Row(("d",), (Value(-3.25, None, -5.5, 1.5), None), "difference", dict.fromkeys(PROVENANCE, "")),
        Row(("PASS & co",), (Value(29.2, digits=1), None), "published", {**dict.fromkeys(PROVENANCE, ""), "source": "a_b"}),
    ]
    return Table(
        **{**dict(caption="50 % & more", head=("run",), columns=("mIoU", "S"), rows=tuple(rows), notes=("a_note",), shown=("source",)), **changes}
    )


# --- a reader of the LaTeX that we write ---------------------------------------------------------------------------------------------------------

_COMMANDS = {"textbackslash": "\\", "textasciitilde": "~", "textasciicircum": "^", "textless": "<", "textgreater": ">", "textbar": "|"}


def read_latex(text: str) -> str:
    """What LaTeX would print of a cell; fails on any command or special character that is not of the writer's set."""
    out, position = "", 0
    pattern = re.compile(
        r"\\(textbackslash|textasciitilde|textasciicircum|textless|textgreater|textbar)\{\}|\\([{}&%$#_])|\$(\\pm|-)\$|\{([\[*])\}|-(\{\})"
    )
    while position < len(text):
        found = pattern.match(text, position)
        if found:
            command, special, math, guarded, dash = found.groups()
            out += _COMMANDS[command] if command else special or {"\\pm": "±", "-": "-"}.get(math) or guarded or "-"
            position = found.end()
        else:
            assert text[position] not in "\\{}&%$#_~^<>|[*", text[position:]
            assert text[position : position + 2] != "--", text
            out += text[position]
            position += 1
    return out


def latex_rows(text: str) -> list[list[str]]:
    body = text[text.index("\\begin{tabular}") : text.index("\\end{tabular}")].split("\n")[1:]
    rows = [line for line in body if line and line != "\\hline"]
    assert all(line.endswith(" \\\\") for line in rows)
    return [["--" if cell == "--" else read_latex(cell) for cell in line[:-3].split(" & ")] for line in rows]


def as_latex_prints(name: str) -> str:
    return "".join(c if c.isprintable() else " " for c in name)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_in_latex(name):
    text = to_latex(table_of([name]))
    rows = latex_rows(text)
    assert len(rows) == 5 and {len(row) for row in rows} == {4}
    assert rows[1][0] == as_latex_prints(name)
    assert "\\caption{50 \\% \\& more}" in text and "\\par\\footnotesize a\\_note" in text
    assert text.count("\\begin{") == text.count("\\end{") == 2


@given(NAMES)
@example("---")
@example("\\\\[")
def test_any_text_in_latex_is_read_back(name):
    assert read_latex(latex_text(name)) == as_latex_prints(name)
    assert "\n" not in latex_text(name)


def test_latex_cells():
    rows = latex_rows(to_latex(table_of(["a"])))
    assert rows[0] == ["run", "mIoU", "S", "source"]
    assert rows[1:] == [
        ["a", "22.17", "--", ""],
        ["g", "14.30 ± 11.25 [1.00, 27.50]", "-0.00", ""],
        ["d", "-3.25 [-5.50, 1.50]", "--", ""],
        ["PASS & co", "29.2", "--", "a_b"],
    ]
    assert to_latex(table_of(["a"])).count("\\hline") == 5  # top, head, before differences, before published, bottom


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_in_csv(name):
    head, first, group, difference, published = csv.reader(io.StringIO(to_csv(table_of([name])), newline=""))
    assert head == ["run", "kind", *PROVENANCE, "mIoU", "mIoU std", "mIoU low", "mIoU high", "S"]
    row = dict(zip(head, first))
    assert row["run"] == name and float(row["mIoU"]) == 22.168743019663047 and row["mIoU std"] == row["S"] == "" and row["split"] == "validation"
    assert dict(zip(head, group))["mIoU std"] == "11.25" and dict(zip(head, difference))["mIoU low"] == "-5.5" and published[-1] == ""


@given(st.lists(NAMES, min_size=1, max_size=3))
def test_csv_and_json_give_every_name_back(names):
    table = table_of(names)
    read = [row[0] for row in csv.reader(io.StringIO(to_csv(table), newline=""))][1:]
    assert read == [row.labels[0] for row in table.rows] == [row["run"] for row in json.loads(to_json(table))["rows"]]


def test_json_holds_everything():
    content = json.loads(to_json(table_of(["a"])))
    assert content["caption"] == "50 % & more" and content["notes"] == ["a_note"] and content["columns"] == ["mIoU", "S"]
    assert content["rows"][0]["values"] == {"mIoU": {"mean": 22.168743019663047}, "S": None}
    assert content["rows"][1]["values"]["mIoU"] == {"mean": 14.3, "std": 11.25, "low": 1.0, "high": 27.5}
    assert content["rows"][3]["provenance"]["source"] == "a_b" and content["rows"][3]["kind"] == "published"


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_in_text(name):
    lines = to_text(table_of([name])).splitlines()
    assert len(lines) == 10 and lines[-1] == "a_note"  # caption, empty, head, rule, four rows, empty, note
    assert all(line.isprintable() for line in lines)
    assert lines[4].startswith(name.encode("unicode_escape").decode() if not name.isprintable() else name)


def test_text_is_aligned_and_rounded():
    assert to_text(table_of(["a"])).splitlines()[2:8] == [
        "run                               mIoU      S  source",
        "\u2500" * 9 + "  " + "\u2500" * 27 + "  " + "\u2500" * 5 + "  " + "\u2500" * 6,
        "a                                22.17      \u2013",
        "g          14.30 \u00b1 11.25 [1.00, 27.50]  -0.00",
        "d                  -3.25 [-5.50, 1.50]      \u2013",
        "PASS & co                         29.2      \u2013  a_b",
    ]


def test_a_positive_difference_has_its_sign():
    table = table_of([], rows=(Row(("a minus b",), (Value(1.5), Value(0.0)), "difference", dict.fromkeys(PROVENANCE, "")),))
    assert "+1.50  +0.00" in to_text(table)


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_ends_in_one_newline(kind):
    text = format_table(table_of(HOSTILE), kind)
    assert text.endswith("\n") and not text.endswith("\n\n")


def test_an_unknown_format():
    with pytest.raises(ValueError, match="kind='html': expected one of text, csv, json, latex"):
        format_table(table_of(["a"]), "html")
