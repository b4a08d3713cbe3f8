"""The roofline picture of a benchmark run: operations a second over operations a byte, with the machine's two measured limits."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # no screen
from matplotlib import pyplot as plt

from bench.harness import OURS, Result


def draw(path: Path, machine: str, limits: dict[str, float], results: list[Result]) -> None:
    """Filled marks are ours, hollow ones the peers of the same run; both are placed at the least bytes and operations of the task."""
    figure, axes = plt.subplots(figsize=(9, 6))
    counted = [r for r in results if r.operations > 0 and r.moved > 0]
    intensity = [r.operations / r.moved for r in counted] or [1.0]
    span = [min(intensity) / 2, max(max(intensity) * 2, 2 * limits["matrix"] / limits["copy"])]
    ridge = limits["matrix"] / limits["copy"]
    axes.plot([span[0], ridge, span[1]], [span[0] * limits["copy"], limits["matrix"], limits["matrix"]], color="black", linewidth=1)
    for colour, name in zip(plt.cm.tab10.colors, sorted({r.path for r in counted})):
        mine = [r for r in counted if r.path == name]
        axes.scatter([r.operations / r.moved for r in mine], [r.operations / r.seconds[OURS] for r in mine], color=colour, label=name, zorder=3)
        peers = [(r.operations / r.moved, r.operations / seconds) for r in mine for side, seconds in r.seconds.items() if side != OURS]
        if peers:
            axes.scatter(*zip(*peers), facecolors="none", edgecolors=[colour], zorder=2)
    axes.set(xscale="log", yscale="log", xlabel="operations a byte (least of the task)", ylabel="operations a second", title=machine)
    axes.title.set_fontsize(8)
    axes.grid(True, which="both", linewidth=0.3)
    axes.legend(fontsize=8, title="filled: ours, hollow: peers")
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)
