"""Write the demo set in ImageNet-S layout.

    <root>/train/<wnid>/<wnid>_<n>.JPEG
    <root>/{validation,test,train-semi}/<wnid>/<wnid>_<n>.JPEG   with   <split>-segmentation/<wnid>/<wnid>_<n>.png
    <root>/meta/class_names.txt   one line a category: wnid, a tab, its name; line k is id k
    <root>/meta/generator.json    the request; present as soon as the folder is ours
    <root>/DONE.json              the request again, written last

A picture depends on (seed, split, number, classes) alone, not on how many are made or in which order.
"""

from __future__ import annotations

import io
import os
import shutil
from pathlib import Path
from typing import Callable

import numpy as np
from PIL import Image

from engine.runtime.errors import LussError
from engine.storage.atomic import flush_file_system, read_json, write_bytes, write_json
from luss.demo.categories import Category, categories
from luss.demo.scene import draw_scene

VERSION = 3  # raised whenever the pictures change
_SPLITS = ("train", "validation", "test", "train-semi")  # a split's position seeds its pictures
_MASKED = _SPLITS[1:]
_MARKER, _CLAIM = "DONE.json", Path("meta", "generator.json")
Progress = Callable[[int, int], None]  # pictures done, pictures in all


def generate(
    root: str,
    *,
    seed: int,
    train: int,
    validation: int,
    test: int,
    semi_per_class: int = 2,
    classes: int = 8,
    progress: Progress | None = None,
) -> dict:
    """Make the set in `root`; one made there before is replaced. About 20 ms a picture on one core.

    Args:
        root: absent, empty, or an earlier demo set.
        seed: 0 or more.
        train, validation, test: pictures of each split; categories take turns.
        semi_per_class: labelled training pictures of each category (`train-semi`).
        classes: categories, 2 to 35.
        progress: called after each picture.

    Returns:
        The content of DONE.json: generator version, seed, classes, pictures of each split.

    Raises:
        LussError: `root` holds something else, or cannot be written.
    """
    known = categories(classes)
    request = _request(seed, train, validation, test, semi_per_class, classes)
    folder = Path(root)
    _claim(folder, request)
    write_bytes(folder / "meta" / "class_names.txt", "".join(f"{category.wnid}\t{category.name}\n" for category in known).encode())
    total, done = sum(request["images"].values()), 0
    for split, count in request["images"].items():
        for name in (split, split + "-segmentation") if split in _MASKED else (split,):
            for category in known:
                (folder / name / category.wnid).mkdir(parents=True)
        for number in range(count):
            _write_picture(folder, split, number, seed, known)
            done += 1
            if progress is not None:
                progress(done, total)
    flush_file_system(folder)
    write_json(folder / _MARKER, request)
    return request


def is_complete(root: str, *, seed: int, train: int, validation: int, test: int, semi_per_class: int = 2, classes: int = 8) -> bool:
    """Whether `root` holds the whole set that `generate` makes from these arguments (files are counted, not opened)."""
    categories(classes)
    folder = Path(root)
    request = _request(seed, train, validation, test, semi_per_class, classes)
    if not (folder / _MARKER).is_file() or read_json(folder / _MARKER) != request:
        return False
    for split, count in request["images"].items():
        if len(list((folder / split).glob("*/*.JPEG"))) != count:
            return False
        if split in _MASKED and len(list((folder / (split + "-segmentation")).glob("*/*.png"))) != count:
            return False
    return True


def _request(seed: int, train: int, validation: int, test: int, semi_per_class: int, classes: int) -> dict:
    numbers = {"seed": seed, "train": train, "validation": validation, "test": test, "semi_per_class": semi_per_class}
    for name, value in numbers.items():
        if value < 0:
            raise ValueError(f"{name}={value}: expected 0 or more")
    images = dict(zip(_SPLITS, (train, validation, test, semi_per_class * classes)))
    return {"generator": "luss demo", "version": VERSION, "seed": seed, "classes": classes, "images": images}


def _claim(folder: Path, request: dict) -> None:
    """Make `folder` ours: refuse a foreign one, clear an earlier set, and leave the mark by which the next call knows it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # a call killed at its very start leaves meta/ without the mark
        foreign = any(path.name != "meta" for path in folder.iterdir()) and not (folder / _CLAIM).is_file()
    except OSError as error:
        raise LussError(f"{folder}: cannot be used for the demo set ({error.strerror}); expected a writable folder, or a path for one") from error
    if foreign:
        raise LussError(
            f"{folder}: not empty, and its files are not a demo set of ours (there is no {_CLAIM}); expected an absent or empty folder: "
            "choose another one, or empty this one yourself"
        )
    (folder / _MARKER).unlink(missing_ok=True)
    for name in [split + tail for split in _SPLITS for tail in ("", "-segmentation")]:
        if (folder / name).is_dir():
            shutil.rmtree(folder / name)
    (folder / _CLAIM).parent.mkdir(exist_ok=True)
    write_json(folder / _CLAIM, request)


def _write_picture(folder: Path, split: str, number: int, seed: int, known: tuple[Category, ...]) -> None:
    scene = draw_scene(seed, _SPLITS.index(split), number, known)
    stem = os.path.join(scene.main.wnid, f"{scene.main.wnid}_{number}")
    photograph = io.BytesIO()
    Image.fromarray(scene.image).save(photograph, "JPEG", quality=scene.quality)
    write_bytes(folder / split / f"{stem}.JPEG", photograph.getvalue(), durable=False)
    if split in _MASKED:
        coded = np.zeros((*scene.labels.shape, 3), np.uint8)
        coded[..., 0], coded[..., 1] = scene.labels & 255, scene.labels >> 8
        mask = io.BytesIO()
        Image.fromarray(coded).save(mask, "PNG")
        write_bytes(folder / f"{split}-segmentation" / f"{stem}.png", mask.getvalue(), durable=False)
