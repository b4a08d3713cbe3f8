"""The report of a run: one self-contained HTML page, made from the files of the workspace alone.

String templates and `html.escape` suffice for one page, and a few lines of SVG for its charts; jinja2 and matplotlib would be
two more things to install, for a page that nobody restyles. No script and no outside resource: it can be mailed and opened from a disk.
"""

from __future__ import annotations

import functools
import html
import math
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Callable

from engine.runtime.errors import LussError
from engine.storage.atomic import write_bytes
from luss.settings import flatten, load_settings, preset_names
from luss.workspace import STAGES

from .clusters import cluster_charts
from .confusion import confused_pairs, confusion_counts, drawn_categories, heat_map
from .curves import line_chart
from .extremes import extremes
from .gallery import gallery, swatch
from .palette import IGNORE_DARK, IGNORE_LIGHT, css
from .scored import Scored, scored_images
from .sources import Absent, Run, figure, figures, read_object

_STYLE = f"""
:root{{color-scheme:light}}*{{box-sizing:border-box}}
body{{font:15px/1.5 system-ui,-apple-system,"Segoe UI",sans-serif;color:#222;background:#fff;max-width:1180px;margin:1.5em auto;padding:0 1em}}
h1,h2{{font-weight:600;line-height:1.25;overflow-wrap:anywhere}}h2{{margin-top:2em;padding-bottom:.2em;border-bottom:2px solid #e6e6e6}}
table{{border-collapse:collapse;font-variant-numeric:tabular-nums}}th{{position:sticky;top:0;background:#fff}}
td,th{{padding:.2em .7em;border-bottom:1px solid #e6e6e6;text-align:left;vertical-align:top;overflow-wrap:anywhere}}
td.n,th.n{{text-align:right;white-space:nowrap}}td:first-child,th{{overflow-wrap:normal}}
.scroll{{overflow:auto}}.long{{max-height:26em}}.row+.note,.row+div{{margin-top:1em}}
.row{{display:flex;flex-wrap:wrap;gap:1em 2em;align-items:flex-start}}.chart{{flex:1 1 300px;max-width:540px;margin:0}}
.map{{flex:1 1 420px;max-width:680px;margin:0}}
svg{{width:100%;height:auto;display:block}}
.note,.label,figcaption{{color:#5a5a5a}}.label,figcaption,.absent{{font-size:.85em}}.absent{{margin:0;padding:.6em;background:#f5f5f5;overflow-wrap:anywhere}}
.strip{{margin:1.2em 0;break-inside:avoid}}.strip figcaption{{overflow-wrap:anywhere}}
.cells{{display:grid;grid-template-columns:repeat(auto-fit,minmax(130px,220px));gap:.5em}}
img{{max-width:100%;height:auto;display:block;border:1px solid #ddd}}.label{{display:block}}
.legend span{{margin-right:1em;display:inline-block}}.legend .key,.key{{display:inline-block}}
.key{{width:1em;height:1em;margin-right:.35em;vertical-align:-.12em}}
.key{{border:1px solid #bbb;print-color-adjust:exact;-webkit-print-color-adjust:exact}}.legend .scale{{width:6em}}
.hatch{{background:repeating-linear-gradient(135deg,{css(IGNORE_DARK)} 0 2px,{css(IGNORE_LIGHT)} 2px 5px)}}
@media print{{body{{margin:0;max-width:none}}.scroll{{max-height:none;overflow:visible}}th{{position:static}}
.cells{{grid-template-columns:repeat(5,1fr)}}}}
"""
_SAFE = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"  # whatever a name smuggled in, the browser would load nothing
_METRICS = {
    "mIoU": "mean IoU over other and all categories",
    "mBIoU": "mean IoU of boundaries",
    "FMeasure": "F-measure of foreground against background",
    "Acc": "share of images whose largest category is right",
    "S": "mean IoU, small objects",
    "MS": "mean IoU, medium-small objects",
    "ML": "mean IoU, medium-large objects",
    "L": "mean IoU, large objects",
    "BS": "boundary IoU, small objects",
    "BMS": "boundary IoU, medium-small objects",
    "BML": "boundary IoU, medium-large objects",
    "BL": "boundary IoU, large objects",
}
_TRAINING = (("pretrain", "pre-training"), ("attend", "pixel attention"), ("finetune", "fine-tuning"))
_AGREEMENT = (("nmi", "NMI"), ("accuracy", "one-to-one accuracy"))
_TIMES = ("seconds", "data_seconds", "prepare_seconds", "images_per_second")
_NOT_SHOWN = ("step", "epoch", "loss", "lr", *_TIMES)  # columns of no interest below a loss curve
_ROWS = 1000  # rows of a table at most: all of the 919 categories
_PAIRS = 15  # confused pairs that are listed
_SHORT = 20  # rows that are shown without scrolling


class Markup(str):
    """Text that is HTML already."""


def write_report(workspace_root: str, images: int = 12) -> str:
    """Write <workspace_root>/report.html and return its path; what the run has not produced is left out with a sentence.

    Args:
        workspace_root: folder of a run, complete or not.
        images: pictures of the evaluation split; as many again, half of them the worst and half the best.

    Raises:
        LussError: the folder is absent or cannot be written.
    """
    if images < 0:
        raise ValueError(f"images={images}: expected 0 or more")
    root = Path(workspace_root)
    if not root.is_dir():
        raise LussError(f"{root}: no such folder; expected the workspace of a run, as `luss run` makes it")
    run = Run(root)
    scored = functools.lru_cache(maxsize=1)(scored_images)  # two sections need it
    name = html.escape(root.resolve().name)
    parts = [
        f"<h1>LUSS run {name}</h1>",
        _section("Metrics", _metrics, run),
        _section("Training", _training, run),
        _section("Attention threshold", _threshold, run),
        _section("Clusters and categories", _clusters, run),
        _section("Confusion between categories", lambda run: _confusion(run, scored(run)), run),
        _section("Images", lambda run: gallery(run, images), run),
        _section("Worst and best images", lambda run: extremes(run, scored(run), (images + 1) // 2), run),
        _section("Settings", _settings, run),
        _section("Stages", _stages, run),
    ]
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1"><title>LUSS run {name}</title>'
    head += f'<meta http-equiv="Content-Security-Policy" content="{_SAFE}"><style>{_STYLE}</style>'
    page = f'<!doctype html>\n<html lang="en"><head>{head}</head><body>{"".join(parts)}</body></html>\n'
    path = root / "report.html"
    write_bytes(path, page.encode("utf-8", "replace"))  # file names that are not UTF-8 hold characters that cannot be encoded
    return os.fspath(path)


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table that scrolls when it is long; cells are escaped unless they are Markup, numbers stand to the right, NaN is a dash."""
    rows = list(rows)
    numeric = [bool(rows) and all(isinstance(row[i], (int, float)) for row in rows) for i in range(len(head))]
    kinds = [' class="n"' if right else "" for right in numeric]
    heads = "".join(f"<th{kind}>{_text(cell)}</th>" for kind, cell in zip(kinds, head))
    body = "".join("<tr>" + "".join(f"<td{kind}>{_text(cell)}</td>" for kind, cell in zip(kinds, row)) + "</tr>" for row in rows[:_ROWS])
    box = "scroll long" if len(rows) > _SHORT else "scroll"
    more = f'<p class="note">and {len(rows) - _ROWS} more</p>' if len(rows) > _ROWS else ""
    return f'<div><div class="{box}"><table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div>{more}</div>'


def note(text: str) -> str:
    return f'<p class="note">{html.escape(text)}</p>'


def _text(cell: object) -> str:
    if isinstance(cell, Markup):
        return cell
    if isinstance(cell, float):
        return "–" if math.isnan(cell) else f"{cell:.2f}"
    return html.escape(str(cell))


def _section(title: str, body: Callable[[Run], str], run: Run) -> str:
    try:
        content = body(run)
    except Absent as error:
        content = note(str(error))
    return f'<section id="{title.split()[0].lower()}"><h2>{title}</h2>{content}</section>'


def _named(run: Run, number: int) -> Markup:
    return Markup(f"{swatch(number)}{html.escape(run.category(number))}")


def _metrics(run: Run) -> str:
    metrics = read_object(run.root / "8-evaluate" / "metrics.json", "No metrics: stage evaluate has not run yet.")
    if not any(name in metrics for name in _METRICS):
        raise Absent(f"No metrics: {metrics.get('note', 'nothing was scored')}.")
    shown = [(name, figure(metrics[name]), meaning) for name, meaning in _METRICS.items() if name in metrics]
    about = "In percent"
    if "images" in metrics:
        about += f", over {metrics['images']} images of {metrics.get('split', run.split)}"
    empty = "; a dash: nothing of that kind occurs." if any(math.isnan(value) for _, value, _ in shown) else "."
    ious = [(number, _named(run, number), value) for number, value in enumerate(figures(metrics.get("IoUs")))]
    per_category = table(("id", "category", "IoU"), ious) if ious else note("metrics.json holds no IoUs of single categories.")
    return note(about + empty) + f'<div class="row">{table(("metric", "percent", "meaning"), shown)}{per_category}</div>'


def _training(run: Run) -> str:
    charts = []
    for stage, title in _TRAINING:
        try:
            charts.append(_loss(run.root / STAGES[stage], stage, title))
        except Absent as error:
            charts.append(note(str(error)))
    return f'<div class="row">{"".join(charts)}</div>'


def _loss(folder: Path, stage: str, title: str) -> str:
    from engine.training.metric_log import read_log

    path = folder / "log.csv"
    finished = (folder / "DONE.json").is_file()
    if not path.is_file():
        raise Absent(f"No log of {title}: stage {stage} {'trained nothing' if finished else 'has not run yet'}.")
    try:
        log = read_log(str(path))
    except (OSError, ValueError) as error:
        raise Absent(f"{path}: not a readable log ({error}); expected the columns step, epoch, loss, ... with numbers") from error
    if not log.get("loss") or "step" not in log:
        raise Absent(f"No loss of {title}: stage {stage} {'trained nothing' if finished else 'has logged none yet'}.")
    last = [f"{name} {values[-1]:.4g}" for name, values in log.items() if name not in _NOT_SHOWN and values]
    count = min(len(log["step"]), len(log["loss"]))  # a row cut short leaves the later columns shorter
    text = f"after step {log['step'][count - 1]:.0f}: loss {log['loss'][count - 1]:.4g}" + "".join(f", {item}" for item in last)
    chart = line_chart(log["step"][:count], log["loss"][:count], f"{title}: loss", smooth=True, x_label="step", counted=True)
    return f'<figure class="chart">{chart}<figcaption>{html.escape(text)}</figcaption></figure>'


def _threshold(run: Run) -> str:
    curve = read_object(run.root / "4-threshold" / "curve.json", "No threshold: stage threshold has not finished yet.")
    best, miou = figure(curve.get("best_threshold")), figure(curve.get("best_miou"))
    rule = str(curve.get("rule", "best mIoU of the curve"))
    text = f"Attention below {best:.2f} is background ({rule})." if not math.isnan(best) else "curve.json names no threshold."
    x, y = figures(curve.get("thresholds")), figures(curve.get("miou"))
    if not x or len(x) != len(y):
        return note(f"{text} There is no curve: without masks no threshold can be scored.")
    if not math.isnan(miou):
        text += f" The best mIoU of the curve is {miou:.2f}."
    chart = line_chart(x, y, "mIoU of the pseudo labels in percent", mark=None if math.isnan(best) else best, x_label="attention threshold")
    return note(text) + f'<div class="row"><figure class="chart">{chart}</figure></div>'


def _clusters(run: Run) -> str:
    try:
        report = read_object(run.root / "3-cluster" / "report.json", "No clusters: stage cluster has not finished yet.")
    except Absent as error:
        return note(str(error)) + _assignment(run, [])
    sizes = figures(report.get("sizes"))
    facts = [f"{len(sizes)} clusters" + (f" of {report['train_images']} training images." if "train_images" in report else ".")]
    agreement = [f"{name} {figure(report.get(key)):.3f}" for key, name in _AGREEMENT if not math.isnan(figure(report.get(key)))]
    if agreement:
        facts.append(f"Against the class folders of the training images: {', '.join(agreement)}.")
    else:
        facts.append("The training images carry no classes to compare the clusters with.")
    told, charts = cluster_charts(report)
    facts += told
    row = "".join(f'<figure class="chart">{chart}</figure>' for chart in charts)
    return note(" ".join(facts)) + f'<div class="row">{row}</div>' + _assignment(run, sizes)


def _assignment(run: Run, sizes: list[float]) -> str:
    """Which cluster is which category, or why that is unknown."""
    text, head = "", ("cluster", "training images", "category")
    if run.match is None:
        text, head = note(run.match_note), head[:2]
    rows = []
    for cluster in sorted({*range(1, len(sizes) + 1), *(run.match or {})}):
        size = sizes[cluster - 1] if cluster <= len(sizes) else math.nan
        row = [cluster, size if math.isnan(size) else int(size)]
        if run.match is not None:
            category = run.match.get(cluster, 0)
            row.append(_named(run, category) if category else "none, counts as other")
        rows.append(row)
    return text + (table(head, rows) if rows else "")


def _confusion(run: Run, scored: Scored) -> str:
    counts = confusion_counts(scored.table, scored.num_classes)
    drawn, pairs = drawn_categories(counts), confused_pairs(counts, _PAIRS)
    about = "Share of each true category's pixels, by what they were predicted as: pale is little, dark is much. " + scored.note
    if len(drawn) < scored.num_classes:
        about += f" Of the {scored.num_classes} categories the {len(drawn)} of the most confused pairs are drawn."
    chart = heat_map(counts, drawn, [run.category(number) for number in range(scored.num_classes + 1)])
    rows = [(_named(run, true), _named(run, predicted), 100 * share, int(counts[true, predicted])) for true, predicted, share in pairs]
    head = ("category", "taken for", "percent of its pixels", "pixels")
    listed = table(head, rows) if rows else note("No pixel of a category was taken for another category.")
    return note(about) + f'<div class="row"><figure class="map">{chart}</figure>{listed}</div>'


def _settings(run: Run) -> str:
    if run.settings_note:
        raise Absent(run.settings_note)
    presets = {preset: flatten(load_settings(preset).as_dict()) for preset in preset_names()}
    differing = {preset: [name for name, value in sorted(run.settings.items()) if values.get(name) != value] for preset, values in presets.items()}
    nearest = min(differing, key=lambda preset: len(differing[preset]))
    rows = [(name, _value(run.settings[name]), _value(presets[nearest].get(name, "–"))) for name in differing[nearest]]
    if not rows:
        return note(f"All settings are those of the preset {nearest}.")
    return note(f"The nearest preset is {nearest}; what differs from it:") + table(("setting", "value", f"in {nearest}"), rows)


def _value(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(str(item) for item in value)
    return "(empty)" if value == "" else str(value)


def _stages(run: Run) -> str:
    rows = []
    for stage, folder in STAGES.items():
        try:
            done = read_object(run.root / folder / "DONE.json", "begun, not finished" if (run.root / folder).is_dir() else "not begun")
        except Absent as error:
            rows.append((stage, str(error), math.nan))
            continue
        outputs, settings = done.get("outputs"), done.get("settings")
        state = f"finished {done.get('finished', '')}"
        if isinstance(settings, dict) and settings.get("untrained"):
            state += ", left untrained"
        rows.append((stage, state, figure(outputs.get("seconds")) if isinstance(outputs, dict) else math.nan))
    return table(("stage", "state", "seconds"), rows)
