"""A Table as text for the terminal, CSV, JSON, or LaTeX.

The LaTeX needs no package: a plain tabular with \\hline, in a table with caption. People get rounded figures and what differs between the rows;
CSV and JSON get every figure in full and every provenance.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Sequence

from luss.benchmark.tables import PROVENANCE, Row, Table, Value

FORMATS = ("text", "csv", "json", "latex")
_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "[": "{[}",  # after the end of a row a bracket or a star would be an argument of \\
    "*": "{*}",
    "\N{PLUS-MINUS SIGN}": r"$\pm$",
}


def format_table(table: Table, kind: str) -> str:
    """The table in one of FORMATS, ending in a newline. CSV has no place for caption and notes."""
    if kind not in FORMATS:
        raise ValueError(f"kind={kind!r}: expected one of {', '.join(FORMATS)}")
    return {"text": to_text, "csv": to_csv, "json": to_json, "latex": to_latex}[kind](table)


def to_text(table: Table) -> str:
    """Caption, aligned columns, notes. Whatever does not print, in names, stands as an escape: a name cannot move the cursor."""
    head, rows = _for_people(table, "\N{EN DASH}")
    cells = [[_printable(cell) for cell in line] for line in (head, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells)]
    figures = range(len(table.head), len(table.head) + len(table.columns))
    lines = []
    for line in cells:
        padded = [cell.rjust(width) if i in figures else cell.ljust(width) for i, (cell, width) in enumerate(zip(line, widths))]
        lines.append("  ".join(padded).rstrip())
    lines.insert(1, "  ".join("\N{BOX DRAWINGS LIGHT HORIZONTAL}" * width for width in widths))
    return "\n".join([_printable(table.caption), "", *lines, *([""] if table.notes else []), *map(_printable, table.notes)]) + "\n"


def to_csv(table: Table) -> str:
    """RFC 4180: labels, kind, provenance, then for each column the figure and, where there are any, std, low and high."""
    parts = [
        (name, part) for name in range(len(table.columns)) for part in ("mean", "std", "low", "high") if part == "mean" or _any(table, name, part)
    ]
    provenance = PROVENANCE if any(row.provenance for row in table.rows) else ()
    head = [*table.head, "kind", *provenance, *(table.columns[name] + ("" if part == "mean" else f" {part}") for name, part in parts)]
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\r\n")  # with "\n" alone a name with a carriage return would stand without quotes
    writer.writerow(head)
    for row in table.rows:
        values = [getattr(row.values[name], part, None) for name, part in parts]
        writer.writerow(
            [*row.labels, row.kind, *(row.provenance.get(name, "") for name in provenance), *("" if v is None else repr(v) for v in values)]
        )
    return stream.getvalue()


def to_json(table: Table) -> str:
    """One object: caption, notes, head, columns, rows; a row has its labels, kind, provenance and values, each null or an object."""
    rows = [
        {
            **dict(zip(table.head, row.labels)),
            "kind": row.kind,
            **({"provenance": row.provenance} if row.provenance else {}),
            "values": {name: _object(value) for name, value in zip(table.columns, row.values)},
        }
        for row in table.rows
    ]
    content = {"caption": table.caption, "notes": list(table.notes), "head": list(table.head), "columns": list(table.columns), "rows": rows}
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def to_latex(table: Table) -> str:
    """A table environment with caption; a line between runs, differences and published figures."""
    head, rows = _for_people(table, None)
    columns = "l" * len(table.head) + "r" * len(table.columns) + "l" * len(table.shown)
    lines = ["% needs no package", r"\begin{table}", r"\centering", rf"\caption{{{latex_text(table.caption)}}}", rf"\begin{{tabular}}{{{columns}}}"]
    lines += [r"\hline", _latex_row(head), r"\hline"]
    for number, (row, cells) in enumerate(zip(table.rows, rows)):
        if number and _part(row) != _part(table.rows[number - 1]):
            lines.append(r"\hline")
        lines.append(_latex_row(cells))
    lines += [r"\hline", r"\end{tabular}"]
    lines += [rf"\par\footnotesize {latex_text(note)}" for note in table.notes]
    return "\n".join([*lines, r"\end{table}"]) + "\n"


def latex_text(text: str) -> str:
    """Text in which LaTeX finds no command; what does not print becomes a space."""
    text = "".join(_LATEX.get(c, c) if c.isprintable() else " " for c in text)
    return re.sub("-(?=-)", "-{}", text)  # two of them would become one long dash


def _for_people(table: Table, nothing: str | None) -> tuple[list[str], list[list[str]]]:
    """Head and rows of rounded cells: labels, values, provenance that differs. `nothing` stands for no value, None = left to LaTeX."""
    rows = []
    for row in table.rows:
        values = [nothing or "\N{EN DASH}" if value is None else _figure(value, row.kind) for value in row.values]
        rows.append([*row.labels, *values, *(str(row.provenance.get(name, "")) for name in table.shown)])
    return [*table.head, *table.columns, *table.shown], rows


def _figure(value: Value, kind: str) -> str:
    text = f"{value.mean:+.{value.digits}f}" if kind == "difference" else f"{value.mean:.{value.digits}f}"
    if value.std is not None:
        text += f" \N{PLUS-MINUS SIGN} {value.std:.{value.digits}f}"
    if value.low is not None and value.high is not None:
        text += f" [{value.low:.{value.digits}f}, {value.high:.{value.digits}f}]"
    return text


def _object(value: Value | None) -> dict | None:
    if value is None:
        return None
    return {name: figure for name in ("mean", "std", "low", "high") if (figure := getattr(value, name)) is not None}


def _any(table: Table, column: int, part: str) -> bool:
    return any(getattr(row.values[column], part, None) is not None for row in table.rows)


def _latex_row(cells: Sequence[str]) -> str:
    return " & ".join(_latex_cell(cell) for cell in cells) + r" \\"


def _latex_cell(cell: str) -> str:
    if cell == "\N{EN DASH}":
        return "--"
    if re.fullmatch(r"-\d.*", cell):
        return "$-$" + latex_text(cell[1:])
    return latex_text(cell)


def _part(row: Row) -> str:
    return "run" if row.kind == "group" else row.kind


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "replace").decode("ascii") for c in text)
