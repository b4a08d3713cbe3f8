"""The record as Markdown, ready for docs/gpu.md."""

from __future__ import annotations

from .steps import FAILED, SKIPPED, Step


def markdown(steps: list[Step], command: str) -> str:
    facts = {key: value for step in steps if step.group == "machine" for key, value in step.facts.items()}
    card, date, commit = (facts.get(key, f"{key} unknown") for key in ("card", "date", "commit"))
    lines = [f"Made by `{command}` on {card}, {date}, commit {commit}.", ""]
    lines += [f"- {key}: {_value(value)}" for key, value in facts.items() if key not in ("card", "date", "commit")]
    timed = [step.facts for step in steps if step.group == "time" and step.facts]
    if timed:
        lines += ["", "| op | case | ours, ms (median) | peers: ms, ratio | of the limit | extra MB: ours / peers | goals |"]
        lines += ["|---|---|---|---|---|---|---|"]
        lines += [_row(one) for one in timed]
    checks = [step for step in steps if step.group in ("check", "sanitizer")]
    lines += ["", "| check | outcome | found |", "|---|---|---|"]
    lines += [f"| {step.name} | {step.outcome} | {_cell(step)} |" for step in checks]
    failed = [step for step in steps if step.outcome == FAILED]
    for step in failed:
        lines += ["", f"### Failed: {step.group}, {step.name}", "", "```", step.reason.rstrip(), "```"]
    return "\n".join(lines) + "\n"


def _row(facts: dict) -> str:
    seconds, median = facts["seconds"], facts["median"]
    peers = [f"{name} {1e3 * seconds[name]:.3f}, {facts['ratio'][name]:.2f}x" for name in seconds if name != "ours"]
    peers += [f"{name} out of memory" for name in facts["out_of_memory"]]
    extra = facts["extra_bytes"]
    memory = " / ".join(f"{extra[name] / 1e6:.1f}" for name in seconds)
    ours = f"{1e3 * seconds['ours']:.3f} ({1e3 * median['ours']:.3f})"
    limit = f"{100 * facts['fraction']:.0f} % of {facts['bound']}"
    return f"| {facts['op']} | {facts['case']} | {ours} | {'; '.join(peers) or '-'} | {limit} | {memory} | {_goals(facts['goals'])} |"


def _goals(goals: dict) -> str:
    words = []
    for name, goal in goals.items():
        verdict = {True: "met", False: "MISSED", None: "not measured"}[goal["met"]]
        words.append(f"{name} {'<=' if name == 'seconds' else '>='} {goal['goal']:g}: {verdict}")
    return "; ".join(words) or "-"


def _cell(step: Step) -> str:
    if step.outcome == SKIPPED:
        return step.reason.replace("|", "/")
    if step.outcome == FAILED:
        return step.reason.strip().splitlines()[-1].replace("|", "/")[:200]
    return ", ".join(f"{key} {_value(value)}" for key, value in step.facts.items()) or "equal"


def _value(value) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
