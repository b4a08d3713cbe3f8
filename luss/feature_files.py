"""The feature caches of a run: which there are, opening, checking and repairing them. Knows files alone, no model and no Jittor."""

from __future__ import annotations

import functools
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from engine.features import Damage, FeatureCache, check_cache, drop_damaged
from engine.features.layout import HEADER_FILE, is_headless
from engine.runtime.errors import LussError
from engine.storage.atomic import read_json
from engine.storage.fingerprint import fingerprint
from luss.settings import Settings
from luss.workspace import StageFolder, Workspace

SUMMARY = "features.json"  # what the caches hold, by split: rows, dim, dtype, and a digest of images and values in order


def splits_of(settings: Settings) -> list[str]:
    """train, and the evaluation split where there is one; each has a cache in the stage's folder."""
    split = settings.data.evaluation_split
    return ["train", split] if split != "train" and os.path.isdir(os.path.join(settings.data.root, split)) else ["train"]


def open_features(workspace: Workspace, split: str) -> FeatureCache:
    """The finished cache of a split.

    Raises:
        LussError: it is absent, damaged, or not the one that the stage finished with.
    """
    stage = workspace.stage("features")
    cache = FeatureCache(stage.path / split, fingerprint=cache_fingerprint(stage, split), remedy=remedy(workspace))
    try:
        summary = read_json(stage.path / SUMMARY)
    except LussError as error:
        raise LussError(f"{error}: {remedy(workspace)}") from error
    expected = summary.get(split, {}).get("rows") if isinstance(summary, dict) else None
    if len(cache) != expected:
        raise LussError(f"{cache.folder}: has {len(cache)} rows, {SUMMARY} says {expected}: {remedy(workspace)}")
    return cache


def check_features(workspace: Workspace, progress: Callable[[str, int, int], None], *, repair: bool = False) -> tuple[int, list[Damage]]:
    """Hold every cache of the features stage against its checksums: (rows that are whole, everything that is damaged).

    Args:
        progress: called with a split, bytes read, and bytes in all.
        repair: remove what is damaged (all of a cache that lost its header) and reopen the stage, so that its next run makes it again.

    Raises:
        LussError: there is no cache.
    """
    stage = workspace.stage("features")
    if not stage.begun():
        raise LussError(f"{stage.path}: no feature cache; it is made by `luss features --workspace {workspace.path}`")
    look = drop_damaged if repair else check_cache
    rows, found = 0, []
    for folder in sorted(path for path in stage.path.iterdir() if is_headless(path)):
        found.append(Damage("", f"{folder}: holds shards, but no {HEADER_FILE} that tells what they are"))
        if repair:
            shutil.rmtree(folder)
    for folder in sorted(path.parent for path in stage.path.glob(f"*/{HEADER_FILE}")):
        found += look(folder, progress=functools.partial(progress, folder.name), remedy=remedy(workspace))
        rows += len(FeatureCache(folder, verify="none", partial=True)) if repair or not found else 0
    if not found and stage.done():
        found += _unlike_summary(workspace, stage)
    if found and repair:
        stage.reopen()
    return rows, found


def _unlike_summary(workspace: Workspace, stage: StageFolder) -> list[Damage]:
    """What is whole and yet not what the stage finished with: a cache or a process's part of it that is gone, another summary."""
    found = []
    try:
        summary = read_json(stage.path / SUMMARY)
        for split in summary if isinstance(summary, dict) and summary else ["train"]:
            open_features(workspace, split)
    except LussError as error:
        found.append(Damage("", str(error)))
    return found


def cache_fingerprint(stage: StageFolder, split: str) -> str:
    """Of what the vectors of a split are made from: the stage's settings, weights and images."""
    begun = stage.begun()
    if begun is None:
        raise LussError(f"{stage.path}: not begun by a run (it has no STARTED.json): move the folder away, then run `luss features`")
    inputs = {name: value for name, value in begun["inputs"].items() if not name.startswith("images of ") or name == f"images of {split}"}
    return fingerprint({"settings": begun["settings"], "inputs": inputs})


def remedy(workspace: Workspace) -> str:
    return f"run `luss features --workspace {Path(workspace.path)} --repair`"
