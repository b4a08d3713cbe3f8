"""Published figures on ImageNet-S with their sources, from baselines.csv beside this file. Nothing in it was measured here."""

from __future__ import annotations

import csv
import functools
from dataclasses import dataclass
from pathlib import Path

METRICS = ("mIoU", "mBIoU", "Acc", "FMeasure")  # those of which figures were published
PROTOCOLS = ("unsupervised", "distance", "semi", "unstated")
_FILE = Path(__file__).with_name("baselines.csv")


@dataclass(frozen=True)
class Baseline:
    """One published result.

    Attributes:
        protocol: "unsupervised", "distance" (distance matching), "semi" (semi-supervised), or "unstated" where the source names none.
        classes: 50, 300 or 919.
        split: "validation" or "test"; "" where the source does not say.
        method, details: who, and with which network, weights or addition.
        metrics: percentages by the names of `compute_metrics`; only those published.
        source: where the figures were published.
        remark: what a reader has to know before comparing, e.g. a prior that the protocol does not allow; often "".
    """

    protocol: str
    classes: int
    split: str
    method: str
    details: str
    metrics: dict[str, float]
    source: str
    remark: str

    @property
    def name(self) -> str:
        """Method and details."""
        return f"{self.method}, {self.details}" if self.details else self.method


@functools.lru_cache(maxsize=1)
def all_baselines() -> tuple[Baseline, ...]:
    """Every published figure known, in the order of the file."""
    with open(_FILE, encoding="utf-8", newline="") as stream:
        return tuple(
            Baseline(
                protocol=row["protocol"],
                classes=int(row["classes"]),
                split=row["split"],
                method=row["method"],
                details=row["details"],
                metrics={name: float(row[name]) for name in METRICS if row[name]},
                source=row["source"],
                remark=row["remark"],
            )
            for row in csv.DictReader(stream)
        )


def baselines(classes: int, split: str = "", protocol: str = "unsupervised") -> list[Baseline]:
    """The published figures of one set and protocol; with a split also those whose split is not stated.

    Args:
        classes: number of categories; there are figures for 50, 300 and 919 only, and an empty list for the rest.
        split: "validation", "test", or "" for both.
    """
    if protocol not in PROTOCOLS:
        raise ValueError(f"protocol={protocol!r}: expected one of {', '.join(PROTOCOLS)}")
    return [one for one in all_baselines() if one.classes == classes and one.protocol == protocol and (not split or one.split in (split, ""))]
