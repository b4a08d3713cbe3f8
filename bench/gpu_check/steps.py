"""Steps that are tried one by one: each one's outcome is on disk before the next begins, and the budget of time is kept."""

from __future__ import annotations

import json
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"


class Skip(Exception):
    """This machine lacks what the step needs; the text says what."""


@dataclass
class Step:
    group: str  # "machine", "check", "time", "sanitizer"
    name: str
    outcome: str
    seconds: float
    facts: dict = field(default_factory=dict)
    reason: str = ""  # of a skip; the traceback of a failure


class Record:
    """What was tried, in `folder`/results.json after every step; one that is there already is gone on with.

    `folder`/current.json names the step under way, so that a process that is killed leaves behind what killed it.
    """

    def __init__(self, folder: Path, budget: float, clock: Callable[[], float] = time.monotonic):
        self.folder, self.budget, self.clock = Path(folder), budget, clock
        self.begin = clock()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.current = self.folder / "current.json"
        results = self.folder / "results.json"
        self.steps = [Step(**step) for step in json.loads(results.read_text())] if results.exists() else []

    @property
    def left(self) -> float:
        return self.budget - (self.clock() - self.begin)

    def step(self, group: str, name: str, work: Callable[[], dict | None], expected: float = 0.0) -> Step:
        """Try `work`; its result becomes the step's facts. Skipped where fewer than `expected` seconds are left; not done twice."""
        before = self.find(group, name)
        if before is not None:
            return before
        begin = self.clock()
        step = Step(group, name, PASSED, 0.0)
        self.current.write_text(json.dumps({"group": group, "name": name, "since": time.time()}))
        if self.left <= expected:
            step.outcome, step.reason = SKIPPED, f"{max(self.left, 0):.0f} s of {self.budget:.0f} s left, {expected:.0f} s wanted"
        else:
            try:
                step.facts = work() or {}
            except Skip as skip:
                step.outcome, step.reason = SKIPPED, str(skip)
            except Exception:  # whatever it was: it is recorded, and the other steps are still worth having
                step.outcome, step.reason = FAILED, traceback.format_exc()
        step.seconds = self.clock() - begin
        self.add(step)
        return step

    def add(self, step: Step) -> None:
        self.steps.append(step)
        self.save()
        self.current.unlink(missing_ok=True)
        told = step.reason.strip().splitlines()[-1] if step.reason else " ".join(f"{key}={_short(value)}" for key, value in step.facts.items())
        print(f"{step.outcome:8} {step.seconds:6.1f} s  {step.group:9} {step.name}  {told}", flush=True)

    def find(self, group: str, name: str) -> Step | None:
        return next((step for step in self.steps if (step.group, step.name) == (group, name)), None)

    def save(self) -> None:
        temporary = self.folder / "results.json.tmp"
        temporary.write_text(json.dumps([asdict(step) for step in self.steps], indent=1, default=str) + "\n")
        temporary.replace(self.folder / "results.json")

    @property
    def failed(self) -> list[Step]:
        return [step for step in self.steps if step.outcome == FAILED]


def _short(value) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)[:80]
