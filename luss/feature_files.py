"""The feature caches of a run: which there are, opening, checking and repairing them. Knows files alone, no model and no Jittor."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from engine.features import Damage, FeatureCache, check_cache, drop_damaged
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
    summary = read_json(stage.path / SUMMARY)
    expected = summary.get(split, {}).get("rows") if isinstance(summary, dict) else None
    if len(cache) != expected:
        raise LussError(f"{cache.folder}: has {len(cache)} rows, {SUMMARY} says {expected}: {remedy(workspace)}")
    return cache


def check_features(workspace: Workspace, progress: Callable[[str, int, int], None], *, repair: bool = False) -> tuple[int, list[Damage]]:
    """Hold every cache of the features stage against its checksums: (rows that are whole, everything that is damaged).

    Args:
        progress: called with a split, bytes read, and bytes in all.
        repair: remove what is damaged and take the stage's mark of completeness away, so that its next run makes it again.

    Raises:
        LussError: there is no cache.
    """
    stage = workspace.stage("features")
    splits = sorted(path.parent.name for path in stage.path.glob("*/cache.json"))
    if not splits:
        raise LussError(f"{stage.path}: no feature cache; it is made by `luss features --workspace {workspace.path}`")
    rows, found = 0, []
    for split in splits:
        look = drop_damaged if repair else check_cache
        damage = look(stage.path / split, progress=lambda done, total: progress(split, done, total), remedy=remedy(workspace))  # noqa: B023
        found += damage
        if not damage:
            cache = open_features(workspace, split) if stage.done() else FeatureCache(stage.path / split, verify="none", partial=True)
            rows += len(cache)
    if found and repair:
        stage.reopen()
    return rows, found


def cache_fingerprint(stage: StageFolder, split: str) -> str:
    """Of what the vectors of a split are made from: the stage's settings, weights and images."""
    begun = stage.begun()
    if begun is None:
        raise LussError(f"{stage.path}: not begun by a run (it has no STARTED.json): move the folder away, then run `luss features`")
    inputs = {name: value for name, value in begun["inputs"].items() if not name.startswith("images of ") or name == f"images of {split}"}
    return fingerprint({"settings": begun["settings"], "inputs": inputs})


def remedy(workspace: Workspace) -> str:
    return f"run `luss features --workspace {Path(workspace.path)} --repair`"
