"""Figures of a training stage: one CSV row a logged step, and TensorBoard scalars."""

from __future__ import annotations

import csv
import os
import sys

from ..runtime.errors import LussError
from ..storage.atomic import write_bytes


class MetricLog:
    """Appends to `<folder>/<name>.csv` and to `<folder>/tensorboard`.

    Rows reach the file line by line, so that a kill loses at most the last one. On a resumed run rows of steps after
    `resume_step`, and a torn last line, are dropped first: no step appears twice.
    """

    def __init__(self, folder: str, name: str = "log", tensorboard: bool = True, resume_step: int = 0):
        self.path = os.path.join(folder, f"{name}.csv")
        self.columns = _trim(self.path, resume_step)
        self._stream = open(self.path, "a", buffering=1, newline="", encoding="utf-8")  # noqa: SIM115 - closed in close()
        self._writer = csv.writer(self._stream)
        self._board = _tensorboard(os.path.join(folder, "tensorboard"), resume_step) if tensorboard else None

    def write(self, step: int, epoch: int, values: dict[str, float]) -> None:
        """One row. The first row fixes the columns; a later row may lack some of them, which are left empty.

        Raises:
            ValueError: a figure that the first row did not have.
            LussError: the file cannot be written, usually because the disk is full.
        """
        if self.columns is None:
            self.columns = ["step", "epoch", *values]
            self._append(self.columns)
        unknown = [name for name in values if name not in self.columns]
        if unknown:
            raise ValueError(f"values: {', '.join(unknown)} not among the columns of {self.path} ({', '.join(self.columns)})")
        row = {"step": step, "epoch": epoch, **{name: repr(float(value)) for name, value in values.items()}}
        self._append([row.get(name, "") for name in self.columns])
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(name, value, step)

    def close(self) -> None:
        self._stream.close()
        if self._board is not None:
            self._board.close()

    def _append(self, row: list) -> None:
        try:
            self._writer.writerow(row)
        except OSError as error:
            advice = "make room and start the same command again, it continues from the last checkpoint"
            raise LussError(f"{self.path}: a row of the log cannot be written ({error.strerror}): {advice}") from error


def _tensorboard(folder: str, resume_step: int):
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        print("luss: tensorboardX is not installed: figures go to log.csv alone (pip install tensorboardX)", file=sys.stderr)
        return None
    return SummaryWriter(folder, purge_step=resume_step + 1)  # TensorBoard then hides what a killed run had written after that step


def _trim(path: str, resume_step: int) -> list[str] | None:
    """Keep the whole rows up to `resume_step`; returns the columns, None where there is no file yet."""
    if not os.path.exists(path):
        return None
    with open(path, newline="", encoding="utf-8") as stream:
        text = stream.read()
    lines = text.splitlines(keepends=True)
    if not lines or not lines[0].endswith("\n") or resume_step == 0:
        os.unlink(path)
        return None
    kept = [lines[0]]
    for line in lines[1:]:
        step = line.split(",", 1)[0]
        if line.endswith("\n") and step.isdigit() and int(step) <= resume_step:
            kept.append(line)
    write_bytes(path, "".join(kept).encode())
    return next(csv.reader([lines[0]]))


def read_log(path: str) -> dict[str, list[float]]:
    """Columns of a log; a torn last line is left out, an empty field is NaN.

    Raises:
        ValueError: a field is no number, or the file is not text.
    """
    with open(path, newline="", encoding="utf-8") as stream:
        lines = stream.read().splitlines(keepends=True)
    try:
        rows = list(csv.reader(line for line in lines if line.endswith("\n")))
    except csv.Error as error:
        raise ValueError(f"{path}: {error}") from error
    if not rows:
        return {}
    columns: dict[str, list[float]] = {name: [] for name in rows[0]}
    for row in rows[1:]:
        for name, value in zip(columns, row):
            columns[name].append(float(value) if value else float("nan"))
    return columns
