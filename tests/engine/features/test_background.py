from __future__ import annotations

import threading

import pytest

from engine.features.background import Background


def test_jobs_are_done_in_order_by_another_thread():
    done = []
    background = Background(2)
    for i in range(20):
        background.submit(lambda i=i: done.append((i, threading.get_ident())))
    background.wait()
    background.stop()
    assert [i for i, _ in done] == list(range(20)) and {thread for _, thread in done} != {threading.get_ident()}


def test_the_first_error_comes_back_and_ends_the_work():
    done = []

    def fail():
        raise KeyError("first")

    background = Background(4)
    background.submit(fail)
    with pytest.raises(KeyError, match="first"):
        for _ in range(100):
            background.submit(lambda: done.append(1))
            background.wait()
    with pytest.raises(KeyError, match="first"):
        background.check()
    background.stop()
    assert done == []


def test_submitting_waits_for_room():
    gate = threading.Event()
    background = Background(1)
    background.submit(gate.wait)
    background.submit(lambda: None)
    returned = threading.Event()
    giver = threading.Thread(target=lambda: (background.submit(lambda: None), returned.set()))
    giver.start()
    assert not returned.wait(0.1)
    gate.set()
    giver.join()
    assert returned.is_set()
    background.stop()


def test_stopping_twice_or_without_work():
    background = Background(1)
    background.stop()
    background.submit(lambda: None)
    background.stop()
    background.stop()
    assert threading.active_count() >= 1 and background.wait() is None
