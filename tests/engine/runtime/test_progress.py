"""A bar on a terminal, plain lines elsewhere."""

import io

import pytest

from engine.runtime.progress import Progress


def test_lines_come_every_half_minute_with_rate_and_time_left():
    now, stream = [0.0], io.StringIO()
    with Progress("pretrain", 100, start=10, stream=stream, clock=lambda: now[0]) as progress:
        for _ in range(40):
            now[0] += 1
            progress.update(1, loss=2.5)
    lines = stream.getvalue().splitlines()
    assert lines[0] == "pretrain: 40/100 steps, 1 steps/s, 1 min 00 s left, loss 2.5"
    assert lines[-1].startswith("pretrain: 50/100") and len(lines) == 2


def test_quiet_prints_nothing():
    stream = io.StringIO()
    with Progress("x", 3, quiet=True, stream=stream) as progress:
        progress.update(3)
    assert stream.getvalue() == ""


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar_on_a_terminal():
    stream = Terminal()
    with Progress("attend", 50, unit="image", start=20, stream=stream) as progress:
        progress.update(10, loss=1.23456)
        progress.update(5)
    text = stream.getvalue()
    last = text.rsplit("\r", 1)[1]
    assert "attend:  70%" in last and "35/50" in last and "loss=1.235" in last and "image/s" in last
    assert text.endswith("\n") and text.count("\n") == 1


def test_a_quiet_terminal_stays_empty():
    stream = Terminal()
    with Progress("attend", 50, quiet=True, stream=stream) as progress:
        progress.update(50)
    assert stream.getvalue() == ""


def test_the_last_line_tells_the_whole_time_once():
    now, stream = [0.0], io.StringIO()
    progress = Progress("predict", 2, unit="image", stream=stream, clock=lambda: now[0])
    now[0] = 7200 + 61
    progress.update(2)
    progress.close()
    progress.close()
    assert stream.getvalue().splitlines()[-1] == "predict: 2/2 images, 0.000275 images/s, 2 h 01 min in all"


def test_nothing_to_do_prints_nothing():
    stream = io.StringIO()
    with Progress("predict", 0, stream=stream, clock=lambda: 0.0):
        pass
    assert stream.getvalue() == ""


def test_an_exception_passes_and_the_line_tells_how_far_it_came():
    now, stream = [0.0], io.StringIO()
    with pytest.raises(KeyError), Progress("label", 9, stream=stream, clock=lambda: now[0]) as progress:
        now[0] = 2.0
        progress.update(4)
        raise KeyError
    assert stream.getvalue() == "label: 4/9 steps, 2 steps/s, 2 s left\n"
