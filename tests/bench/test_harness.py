import numpy as np
import pytest

from bench.harness import Case, Result, machine_limits, measure, peak_extra_bytes, row


def result(**changes) -> Result:
    fields = {"path": "op", "name": "small", "operations": 1e6, "moved": 1e6, "goals": {"numpy": 4, "torch": 2}, "fraction": 0.5, "bound": "copy"}
    seconds, memory = {"ours": 0.002, "numpy": 0.01, "torch": 0.003}, {"ours": 1e6, "numpy": 2e6, "torch": 0.0}
    return Result(**{**fields, "seconds": seconds, "memory": memory, **changes})


def test_sides_take_turns_on_one_set_of_inputs():
    calls = []

    def prepare():
        calls.append("prepare")
        return {"ours": lambda: calls.append("ours"), "peer": lambda: calls.append("peer")}

    found = measure(Case("op", "small", prepare, 10.0, 1e3, {"peer": 1.0}, memory=False), rounds=3)
    assert calls == ["prepare", "ours", "peer"] + 3 * ["ours", "peer"]
    assert set(found.seconds) == {"ours", "peer"} and found.ratio("peer") == found.seconds["peer"] / found.seconds["ours"]
    limits = machine_limits()
    assert found.bound == "copy" and found.fraction == pytest.approx(1e3 / limits["copy"] / found.seconds["ours"])


def test_peak_memory_counts_what_a_call_holds_at_once():
    million = 1_000_000

    def twice():
        a = np.ones(8 * million, np.uint8)
        b = a + 1
        return int(b[0])

    lag = 2**20  # Linux counts resident pages for each core and adds them up later, by some tens of pages
    assert 16 * million - lag <= peak_extra_bytes(twice) < 20 * million
    assert peak_extra_bytes(lambda: np.ones(8 * million, np.uint8)) >= 8 * million - lag  # the result counts
    assert peak_extra_bytes(lambda: None) < million


def test_a_row_names_each_peer_and_whether_the_goal_is_met():
    lines = row(result()).splitlines()
    assert len(lines) == 2
    assert "ratio    5.00  goal 4 met   50 % of copy  memory 1.0 / 2.0 MB" in lines[0]
    assert "torch     3.000 ms  ratio    1.50  goal 2 MISSED" in lines[1]
    alone = row(result(seconds={"ours": 0.002}, memory={"ours": float("nan")}))
    assert "no peer is installed" in alone
