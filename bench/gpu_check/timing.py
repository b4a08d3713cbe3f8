"""One size of one op on the GPU against its peers and against the card's measured limits."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass, field

from .gpu import seconds_of


@dataclass
class Timing:
    """What is to be timed.

    Args:
        sides: "ours" and peers by name.
        operations, moved: least operations and bytes of the task. rate: the measured matrix rate that bounds the operations.
        goals: least ratio to a peer by its name; "limit": least fraction of the card's limit; "seconds": most seconds.
    """

    op: str
    case: str
    sides: dict[str, Callable[[], object]]
    operations: float
    moved: float
    rate: str = "fp32"
    goals: dict[str, float] = field(default_factory=dict)


def measured(gpu, timing: Timing, limits: dict[str, float], rounds: int, most: float) -> dict:
    """The facts of one row of the table. limits: "copy" in bytes a second, "fp32" and "fp16" in operations a second."""
    times = seconds_of(gpu, timing.sides, rounds, most)
    best = {name: min(values) for name, values in times.items()}
    floors = {"copy": timing.moved / limits["copy"] if "copy" in limits else 0.0}
    if timing.rate in limits:
        floors[timing.rate] = timing.operations / limits[timing.rate]
    bound = max(floors, key=floors.get)
    facts = {
        "op": timing.op,
        "case": timing.case,
        "seconds": best,
        "median": {name: statistics.median(values) for name, values in times.items()},
        "rounds": len(times["ours"]),
        "out_of_memory": sorted(set(timing.sides) - set(times)),
        "ratio": {name: best[name] / best["ours"] for name in best if name != "ours"},
        "bound": bound,
        "fraction": floors[bound] / best["ours"],
        "extra_bytes": {name: gpu.peak_bytes(timing.sides[name]) for name in times},
        "operations": timing.operations,
        "moved": timing.moved,
    }
    facts["goals"] = {name: _judged(name, goal, facts) for name, goal in timing.goals.items()}
    return facts


def _judged(name: str, goal: float, facts: dict) -> dict:
    """{"goal", "found", "met"}; found is None where the peer is absent, met True where it ran out of memory."""
    if name in facts["out_of_memory"]:
        return {"goal": goal, "found": None, "met": True}
    found = {"limit": facts["fraction"], "seconds": facts["seconds"]["ours"]}.get(name, facts["ratio"].get(name))
    met = None if found is None else (found <= goal if name == "seconds" else found >= goal)
    return {"goal": goal, "found": found, "met": met}
