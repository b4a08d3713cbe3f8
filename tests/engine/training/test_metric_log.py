"""The CSV log over a stop and a resumed run."""

import csv
import errno
import math
import os
import struct
import sys

import numpy as np
import pytest

from engine.runtime.errors import LussError
from engine.training.metric_log import MetricLog, read_log


def test_rows_after_the_resumed_step_and_a_torn_line_are_dropped(tmp_path):
    log = MetricLog(str(tmp_path), tensorboard=False)
    for step in (10, 20, 30):
        log.write(step, 0, {"loss": step / 7, "lr": 0.1})
    log.close()
    with open(tmp_path / "log.csv", "a") as stream:
        stream.write("40,0,5.1")
    assert read_log(tmp_path / "log.csv")["step"] == [10, 20, 30]
    again = MetricLog(str(tmp_path), tensorboard=False, resume_step=20)
    again.write(30, 1, {"loss": 1.5, "lr": 0.1})
    again.close()
    found = read_log(tmp_path / "log.csv")
    assert found["step"] == [10, 20, 30] and found["loss"] == [10 / 7, 20 / 7, 1.5] and found["epoch"][-1] == 1


def test_a_run_from_the_start_begins_a_new_log(tmp_path):
    for _ in range(2):
        log = MetricLog(str(tmp_path), tensorboard=False)
        log.write(1, 0, {"loss": math.inf})
        log.close()
    assert read_log(tmp_path / "log.csv") == {"step": [1], "epoch": [0], "loss": [math.inf]}


def test_an_unknown_figure_is_an_error(tmp_path):
    log = MetricLog(str(tmp_path), tensorboard=False)
    log.write(1, 0, {"loss": 1.0})
    with pytest.raises(ValueError, match="accuracy not among the columns"):
        log.write(2, 0, {"accuracy": 1.0})
    log.close()


def test_values_that_are_not_finite_are_read_back(tmp_path):
    log = MetricLog(str(tmp_path), tensorboard=False)
    for step, value in enumerate((math.nan, math.inf, -math.inf, 0.1), 1):
        log.write(step, 0, {"loss": value, "lr": 1e-300})
    log.write(5, 1, {"lr": 0.5})
    found = read_log(str(tmp_path / "log.csv"))  # before close: every row is in the file at once
    assert np.isnan(found["loss"][0]) and found["loss"][1:4] == [math.inf, -math.inf, 0.1] and np.isnan(found["loss"][4])
    assert found["lr"] == [1e-300] * 4 + [0.5]
    log.close()


@pytest.mark.parametrize("torn", ["", "step,epo", "step,epoch,loss,lr"])
def test_a_header_that_is_torn_is_written_anew(tmp_path, torn):
    (tmp_path / "log.csv").write_text(torn)
    log = MetricLog(str(tmp_path), tensorboard=False, resume_step=7)
    log.write(8, 0, {"loss": 2.0})
    log.close()
    assert read_log(str(tmp_path / "log.csv")) == {"step": [8], "epoch": [0], "loss": [2.0]}


def test_a_cut_at_any_byte_loses_at_most_one_row(tmp_path):
    log = MetricLog(str(tmp_path), tensorboard=False)
    for step in range(1, 5):
        log.write(step, 0, {"loss": 10.0 * step})
    log.close()
    whole = (tmp_path / "log.csv").read_bytes()
    header = whole.index(b"\n") + 1
    for size in range(header, len(whole) + 1):
        (tmp_path / "log.csv").write_bytes(whole[:size])
        steps = whole[header:size].count(b"\n")
        assert read_log(str(tmp_path / "log.csv"))["step"] == list(range(1, steps + 1))
        again = MetricLog(str(tmp_path), tensorboard=False, resume_step=3)
        again.write(4, 0, {"loss": 40.0})
        again.close()
        assert read_log(str(tmp_path / "log.csv"))["step"] == [*range(1, min(steps, 3) + 1), 4]
    assert [path.name for path in tmp_path.iterdir()] == ["log.csv"]


def test_a_damaged_log_is_a_value_error(tmp_path):
    for content in (b"step,loss\n1,\0\n", b"step,loss\n1,oops\n", b"\xff\n"):
        (tmp_path / "log.csv").write_bytes(content)
        with pytest.raises(ValueError):
            read_log(str(tmp_path / "log.csv"))


def test_a_full_disk_is_named(tmp_path):
    class Full:
        def write(self, text):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    log = MetricLog(str(tmp_path), tensorboard=False)
    log._writer = csv.writer(Full())
    with pytest.raises(LussError, match=r"log\.csv: a row of the log cannot be written \(No space left on device\)"):
        log.write(1, 0, {"loss": 1.0})
    log.close()


def events(folder) -> list:
    """All events in TensorBoard's files: records of length (8 bytes), checksum (4), content, checksum (4)."""
    proto = pytest.importorskip("tensorboardX.proto.event_pb2")
    found = []
    for path in sorted(folder.iterdir()):
        data = path.read_bytes()
        while data:
            (size,) = struct.unpack("<Q", data[:8])
            found.append(proto.Event.FromString(data[12 : 12 + size]))
            data = data[16 + size :]
    return found


def test_tensorboard_gets_the_same_figures(tmp_path):
    pytest.importorskip("tensorboardX")
    log = MetricLog(str(tmp_path), resume_step=10)
    log.write(20, 1, {"loss": 0.25, "lr": 2.0})
    log.close()
    found = events(tmp_path / "tensorboard")
    scalars = {(event.step, value.tag): value.simple_value for event in found for value in event.summary.value}
    assert scalars == {(20, "loss"): 0.25, (20, "lr"): 2.0}
    assert [event.step for event in found if event.HasField("session_log")] == [11]  # hides what a killed run wrote from there on


def test_without_tensorboard_there_is_one_note(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    log = MetricLog(str(tmp_path))
    for step in (1, 2):
        log.write(step, 0, {"loss": 1.0})
    log.close()
    assert capsys.readouterr().err.count("tensorboardX is not installed") == 1
    assert read_log(str(tmp_path / "log.csv"))["step"] == [1, 2] and not (tmp_path / "tensorboard").exists()
