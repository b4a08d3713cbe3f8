"""What a report reads: the files of one workspace, each either usable or absent with a sentence that says why."""

from __future__ import annotations

import math
import os
from pathlib import Path

from engine.data.folder import ImageFolder, list_images
from engine.runtime.errors import LussError
from engine.storage.atomic import read_json
from luss.benchmark.matching import match_from_json
from luss.settings import flatten


class Absent(Exception):
    """A piece that the run has not produced, or that cannot be read; the text is the one sentence shown in its place."""


def read_object(path: Path, missing: str) -> dict:
    """The JSON object in a file; Absent with `missing` where there is no such file."""
    if not os.path.isfile(path):
        raise Absent(missing)
    try:
        content = read_json(path)
    except LussError as error:
        raise Absent(str(error)) from error
    if not isinstance(content, dict):
        raise Absent(f"{path}: found a {type(content).__name__}, expected a JSON object")
    return content


def figure(value: object) -> float:
    """A number out of a JSON file; NaN for null and for anything else."""
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else math.nan


def figures(value: object) -> list[float]:
    """The numbers of a JSON list, NaN in place of what is none; empty where there is no list."""
    return [figure(item) for item in value] if isinstance(value, list) else []


class Run:
    """One workspace, read once: settings, images, names of categories, match and threshold.

    Attributes:
        settings: dotted names and values as resolved for the run; empty where settings.json is absent (`settings_note` says why).
        folder: images of `split`, None where there are none (`folder_note` says why).
        split: data.evaluation_split; "train" where that does not exist and the run took the training images in its place.
        names: names of the categories 1, 2, ... as far as they are known.
        match: {generated id: category}, None where there is none (`match_note` says why).
        threshold: attention below it is background; NaN where none has been chosen.
    """

    def __init__(self, root: Path):
        self.root = root
        self.settings, self.settings_note = _settings(root / "settings.json")
        self.data_root = str(self.settings.get("data.root", ""))
        self.split = str(self.settings.get("data.evaluation_split", "validation"))
        self.folder, self.folder_note = self._images()
        self.names = _class_names(Path(self.data_root), self.folder.classes if self.folder else ())
        self.match, self.match_note = self._match()
        try:
            self.threshold = figure(read_object(root / "4-threshold" / "curve.json", "").get("best_threshold"))
        except Absent:  # the section on the threshold says why
            self.threshold = math.nan

    def category(self, number: int) -> str:
        """Name of a category; 0 is "other"."""
        if number == 0:
            return "other"
        return self.names[number - 1] if 0 < number <= len(self.names) else f"category {number}"

    def _images(self) -> tuple[ImageFolder | None, str]:
        if self.settings_note:
            return None, self.settings_note
        if not self.data_root:
            return None, "No pictures: settings.json names no data.root."
        if not os.path.isdir(os.path.join(self.data_root, self.split)) and os.path.isdir(self.root / "4-threshold" / "train"):
            self.split = "train"  # as stage 2.3 did for a folder of images alone
        try:
            return list_images(self.data_root, self.split), ""
        except LussError as error:
            return None, f"No pictures: {error}."

    def _match(self) -> tuple[dict[int, int] | None, str]:
        path = self.root / "7-predict" / "match.json"
        try:
            return match_from_json(read_object(path, "No assignment of clusters to categories: no predictions with masks to compare with."), None), ""
        except (Absent, LussError) as error:
            return None, str(error)


def _settings(path: Path) -> tuple[dict[str, object], str]:
    try:
        tree = read_object(path, "The workspace holds no settings.json: it says where the images are and how the run was made.")
    except Absent as error:
        return {}, str(error)
    return flatten({section: keys for section, keys in tree.items() if isinstance(keys, dict)}), ""


def _class_names(data: Path, folders: tuple[str, ...]) -> list[str]:
    """Names in the order of the class folders, from meta/class_names.txt ("folder<TAB>name" a line) where it knows them."""
    try:
        lines = (data / "meta" / "class_names.txt").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # there is no such file in most data sets: the folders' own names serve
        return list(folders)
    pairs = [(line.partition("\t")[0].strip(), line.rpartition("\t")[2].strip()) for line in lines if line.strip()]
    order = folders or tuple(folder for folder, _ in pairs)
    known = dict(pairs)
    names = [known.get(folder, folder) for folder in order]
    return [f"{name} ({folder})" if names.count(name) > 1 and name != folder else name for name, folder in zip(names, order)]
