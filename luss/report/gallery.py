"""Photo, attention, pseudo label, prediction and ground truth of some images, side by side."""

from __future__ import annotations

import base64
import html
import io
import math
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from engine.data.decode import UnreadableImage, decode_image
from engine.data.folder import ImageItem, mask_path
from engine.runtime.errors import LussError
from luss.benchmark.curve import apply_threshold
from luss.benchmark.label_map import IGNORE, read_label_map
from luss.benchmark.matching import apply_match, match_table

from .palette import IGNORE_DARK, IGNORE_LIGHT, OTHER, colour, css, heat, heat_gradient
from .sources import Absent, Run

SIDE = 220  # pixels of a picture's longer side at most
_LEGEND = 30  # categories; with more only those in the pictures are listed
_COLUMNS = ("photo", "attention", "pseudo label", "prediction", "ground truth")
_MISSING = {
    "attention": "no attention map: stage threshold has not written it",
    "pseudo label": "no label map: stage threshold has not written it",
    "prediction": "no prediction: stage predict has not written it for this split",
    "ground truth": "no ground truth: the data set has no mask for it",
}


def gallery(run: Run, count: int) -> str:
    """HTML of `count` images of the run's split, or of all where there are fewer; raises Absent where there are no pictures."""
    if run.folder is None:
        raise Absent(run.folder_note)
    items = [run.folder.items[i] for i in choose([item.class_index for item in run.folder.items], count)]
    if not items:
        raise Absent("No pictures were asked for.")
    pictures = Pictures(run)
    rows = [{name: picture_cell(pictures, name, item) for name in _COLUMNS} for item in items]
    shown = [name for name in _COLUMNS if any(row[name].startswith("<img") for row in rows)]
    notes = [f"Left out, {_MISSING[name]}." for name in _COLUMNS if name not in shown and name in _MISSING]
    if not shown:
        raise Absent(f"No picture of {run.split} can be shown; the first image: {html.unescape(rows[0]['photo'])}.")
    if run.match is None and {"pseudo label", "prediction"} & set(shown):
        notes.append("Without an assignment the colours of pseudo labels and predictions are those of the clusters' numbers, not of categories.")
    head = f"{len(items)} of the {len(run.folder.items)} images of {run.split}, spread evenly over the class folders."
    figures = "".join(strip(item.key, [(_label(pictures, name, item), row[name]) for name in shown]) for item, row in zip(items, rows))
    return "".join(f'<p class="note">{html.escape(text)}</p>' for text in [head, *notes]) + legend(run, pictures, shown) + figures


def choose(classes: Sequence[int], count: int) -> list[int]:
    """Positions of `count` images, shared out evenly over the classes and spread evenly inside each; ascending, always the same.

    Args:
        classes: the class of every image.
    """
    if count < 0:
        raise ValueError(f"count={count}: expected 0 or more")
    labels = np.asarray(classes, np.int64)
    distinct, sizes = np.unique(labels, return_counts=True)
    quota = np.zeros(len(distinct), np.int64)
    left = min(count, len(labels))
    while left:
        open_ = np.flatnonzero(quota < sizes)
        take = open_ if len(open_) <= left else open_[np.linspace(0, len(open_) - 1, left).round().astype(int)]
        quota[take] += 1
        left -= len(take)
    chosen = []
    for label, size, share in zip(distinct, sizes, quota):
        inside = ((np.arange(share) + 0.5) * size / max(share, 1)).astype(int)
        chosen += np.flatnonzero(labels == label)[inside].tolist()
    return sorted(chosen)


def label_picture(ids: np.ndarray) -> np.ndarray:
    """Label map (H, W) in colours, (H, W, 3) uint8: the palette's, ignore as a light grey hatch."""
    distinct, index = np.unique(ids, return_inverse=True)
    picture = np.array([colour(int(number)) for number in distinct], np.uint8)[index.reshape(ids.shape)]
    ignored = ids == IGNORE
    rows, columns = np.indices(ids.shape)
    stripe = ((rows + columns) % 6 < 2)[..., None]
    return np.where(ignored[..., None], np.where(stripe, np.uint8(IGNORE_DARK), np.uint8(IGNORE_LIGHT)), picture)


def swatch(number: int) -> str:
    """A small field in the colour of a category."""
    return f'<span class="key" style="background:{css(colour(number))}"></span>'


class Pictures:
    """Pictures of one run; remembers which ids have been seen."""

    def __init__(self, run: Run):
        self.run = run
        self.table = None if run.match is None else match_table(run.match)
        self.categories: set[int] = set()  # ids shown in category colours
        self.ranges: dict[str, str] = {}  # lowest and highest attention of an image: a flat map would not tell

    def photo(self, item: ImageItem) -> Image.Image:
        try:
            return _shrink(decode_image(item.path), Image.BILINEAR)
        except UnreadableImage as error:
            raise Absent(f"unreadable: {error.reason}") from error

    def attention(self, item: ImageItem) -> Image.Image:
        attention = self._attention(item)
        self.ranges[item.key] = f"{np.min(attention):.3f} to {np.max(attention):.3f}"
        values = Image.fromarray(np.nan_to_num(attention))
        return Image.fromarray(heat(np.asarray(_shrink(values, Image.BILINEAR))))

    def pseudo_label(self, item: ImageItem) -> Image.Image:
        ids = _ids(self._path("4-threshold", item, ".png"), "pseudo label")
        if math.isnan(self.run.threshold):
            raise Absent("no threshold: stage threshold has not finished")
        attention = self._attention(item)
        if attention.shape != ids.shape:
            raise Absent(f"label map of {ids.shape[1]} x {ids.shape[0]} pixels, attention of {attention.shape[1]} x {attention.shape[0]}")
        return self._generated(apply_threshold(ids, attention, self.run.threshold))

    def prediction(self, item: ImageItem) -> Image.Image:
        return self._generated(_ids(self._path("7-predict", item, ".png"), "prediction"))

    def ground_truth(self, item: ImageItem) -> Image.Image:
        ids = _ids(Path(mask_path(self.run.data_root, self.run.split, item.key)), "ground truth")
        return self._labels(ids, are_categories=True)

    def _path(self, stage: str, item: ImageItem, suffix: str) -> Path:
        return self.run.root / stage / self.run.split / (os.path.splitext(item.key)[0] + suffix)

    def _attention(self, item: ImageItem) -> np.ndarray:
        path = self._path("4-threshold", item, ".npy")
        if not path.is_file():
            raise Absent(_MISSING["attention"])
        try:
            values = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise Absent(f"damaged attention map: {error}") from error
        if values.ndim != 2 or values.size == 0 or values.dtype.kind != "f":
            raise Absent(f"attention map of shape {values.shape}, {values.dtype}; expected (H, W) float32")
        return values.astype(np.float32, copy=False)

    def _generated(self, ids: np.ndarray) -> Image.Image:
        if self.table is None:
            return self._labels(ids, are_categories=False)
        try:
            return self._labels(apply_match(ids, self.table), are_categories=True)
        except ValueError as error:
            raise Absent(f"not of this match: {error}") from error

    def _labels(self, ids: np.ndarray, are_categories: bool) -> Image.Image:
        small = np.asarray(_shrink(Image.fromarray(ids.astype(np.int32)), Image.NEAREST))
        if are_categories:
            self.categories.update(np.unique(small).tolist())
        return Image.fromarray(label_picture(small))


def picture_cell(pictures: Pictures, name: str, item: ImageItem, role: str = "") -> str:
    """An <img> element, or the escaped reason why there is none; `role` says in its text why this image is shown."""
    try:
        picture = getattr(pictures, name.replace(" ", "_"))(item)
    except Absent as error:
        return html.escape(str(error))
    kind = "jpeg" if name in ("photo", "attention") else "png"
    stream = io.BytesIO()
    if kind == "png":  # a few flat colours: a palette makes the file a third as large
        exact = len(picture.getcolors(SIDE * SIDE)) <= 256
        (picture.quantize(256, dither=Image.NONE) if exact else picture).save(stream, "PNG", optimize=True)
    else:
        picture.save(stream, "JPEG", quality=82)
    data = base64.b64encode(stream.getvalue()).decode()
    size = f'width="{picture.width}" height="{picture.height}"'
    why = f"{role}: " if role else ""
    return f'<img alt="{why}{name} of {html.escape(item.key)}" {size} src="data:image/{kind};base64,{data}">'


def _label(pictures: Pictures, name: str, item: ImageItem) -> str:
    return f"{name}, {pictures.ranges[item.key]}" if name == "attention" and item.key in pictures.ranges else name


def strip(caption: str, cells: list[tuple[str, str]]) -> str:
    """Cells (label, HTML) in a row under a caption."""
    body = "".join(
        f'<div>{cell if cell.startswith("<img") else f"<p class=absent>{cell}</p>"}<span class="label">{label}</span></div>' for label, cell in cells
    )
    return f'<figure class="strip"><figcaption>{html.escape(caption)}</figcaption><div class="cells">{body}</div></figure>'


def legend(run: Run, pictures: Pictures, shown: list[str]) -> str:
    """What the colours of these pictures mean, once all of them are made."""
    present = {number for number in pictures.categories if number not in (0, IGNORE)}
    total = max(len(run.names), max(present, default=0))
    listed = range(1, total + 1) if total <= _LEGEND else sorted(present)
    parts = []
    if "ground truth" in shown or run.match is not None:
        parts += [f"<span>{swatch(number)}{html.escape(run.category(number))}</span>" for number in listed]
        if total > len(listed):
            parts.append(f"<span>and {total - len(listed)} more that do not occur in these pictures</span>")
    parts.append(f'<span><span class="key" style="background:{css(OTHER)}"></span>other</span>')
    if "ground truth" in shown:
        parts.append('<span><span class="key hatch"></span>ignore</span>')
    if "attention" in shown:
        cut = "" if math.isnan(run.threshold) else f", threshold {run.threshold:.2f}"
        parts.append(f'<span>attention 0 <span class="key scale" style="background:{heat_gradient()}"></span>1{cut}</span>')
    return f'<p class="legend">{"".join(parts)}</p>'


def _ids(path: Path, name: str) -> np.ndarray:
    if not path.is_file():
        raise Absent(_MISSING[name])
    try:
        return read_label_map(path)
    except LussError as error:
        raise Absent(str(error)) from error


def _shrink(image: Image.Image, filter_: int) -> Image.Image:
    """At most SIDE pixels at the longer side; smaller images stay as they are."""
    scale = SIDE / max(image.size)
    if scale >= 1:
        return image
    return image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))), filter_)
