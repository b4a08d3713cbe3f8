"""Charts of a clustering: how the restarts of k-means went, and the sizes of the clusters."""

from __future__ import annotations

from .curves import bar_chart, line_chart, series_chart
from .sources import figure, figures


def cluster_charts(report: dict) -> tuple[list[str], list[str]]:
    """(sentences, <svg> elements) about the content of 3-cluster/report.json, also of runs that recorded less."""
    sizes = figures(report.get("sizes"))
    records = report.get("iterations")
    records = [record for record in records if isinstance(record, dict)] if isinstance(records, list) else []
    charts = [bar_chart(sorted(sizes, reverse=True), "images in a cluster, largest first", "rank")] if sizes else []
    facts, ways = _restarts(report, records) if records else ([], [])
    return facts, charts + ways


def _restarts(report: dict, records: list[dict]) -> tuple[list[str], list[str]]:
    """What is known of each restart; of runs that did not record which restart an iteration is of, one line after another."""
    if any(not isinstance(record.get(name), int) for record in records for name in ("restart", "iteration")):
        objective = [figure(record.get("objective")) for record in records]
        label = "iteration, restarts one after another"
        return [], [line_chart(range(1, len(objective) + 1), objective, "k-means objective", x_label=label, counted=True)]
    best = report.get("best_restart")
    numbers = sorted({record["restart"] for record in records}, key=lambda number: (number == best, number))  # the best is drawn last, over others
    title = "k-means objective" + (", estimated on mini-batches" if any(record.get("approximate") is True for record in records) else "")
    facts = [_about(report, records, numbers)]
    charts = [_chart(records, numbers, best, "objective", title)]
    moved = [record for record in records if isinstance(record.get("moved"), int)]
    if moved:
        charts.append(_chart(moved, numbers, best, "moved", "images that changed cluster"))
    splits = [record for record in records if figure(record.get("splits")) > 0]
    if splits:
        total = sum(int(record["splits"]) for record in splits)
        facts.append(f"Clusters ran empty {total} times, and took half of another one.")
        charts.append(_chart(records, numbers, best, "splits", "clusters that ran empty"))
    return facts, charts


def _about(report: dict, records: list[dict], numbers: list[int]) -> str:
    best, kept = report.get("best_restart"), figure(report.get("objective"))
    last = [record for record in records if record["restart"] == best]
    engine = f" by {report['engine']}" if isinstance(report.get("engine"), str) else ""
    text = f"k-means{engine}, {len(numbers)} restart{'s' if len(numbers) > 1 else ''}"
    if last:
        value = f" with objective {kept:.6g}" if kept == kept else ""
        text += f"; the dark line is restart {best + 1}, kept{value} after {len(last)} iterations"
    imbalance = figure(report.get("imbalance"))
    if imbalance == imbalance:
        text += f"; imbalance {imbalance:.2f} (1: clusters of one size)"
    return text + "."


def _chart(records: list[dict], numbers: list[int], best: object, name: str, title: str) -> str:
    lines = []
    for number in numbers:
        own = [record for record in records if record["restart"] == number]
        lines.append(([record["iteration"] + 1 for record in own], [figure(record.get(name)) for record in own]))
    return series_chart(lines, title, dark=numbers.index(best) if best in numbers else None, x_label="iteration")
