"""The images of a split as a run sees them: one manifest, made once, kept where all later commands find it."""

from __future__ import annotations

import os

from engine.data import PackedImages
from engine.data.manifest import Manifest, load_manifest
from engine.data.manifest_build import open_manifest
from engine.data.manifest_check import check_manifest
from engine.runtime.errors import LussError
from engine.runtime.processes import barrier, rank
from luss.settings import Settings
from luss.workspace import Workspace

FOLDER = "manifests"
_opened: dict[tuple[str, str, str], Manifest] = {}  # by workspace, root and split: looked at once a process


def root_of(settings: Settings, stage: str = "") -> str:
    """Folder of the data set; stage 1 may have one of its own."""
    return settings.data.pretrain_root if stage == "pretrain" and settings.data.pretrain_root else settings.data.root


def manifest_path(space: Workspace, root: str, split: str) -> str:
    """<root>/<split>.manifest where `luss data index` has made one, else <workspace>/manifests/<split>.manifest."""
    shared = os.path.join(root, f"{split}.manifest")
    if os.path.exists(shared):
        return shared
    name = split if os.path.realpath(root) == _known_root(space, root, split) else f"{split}-{_short(root)}"
    return str(space.path / FOLDER / f"{name}.manifest")


def split_images(space: Workspace, settings: Settings, split: str, stage: str = "") -> Manifest:
    """Manifest of a split: made or brought up to date by the first process, when it is first asked for.

    Raises:
        LussError: no such images; images changed, and the manifest beside them cannot be written.
    """
    root = root_of(settings, stage)
    key = (str(space.path), root, split)
    if key not in _opened:
        path = manifest_path(space, root, split)
        if rank() == 0:
            _make_current(root, split, path)
        barrier()
        _opened[key] = load_manifest(path, root)
    return _opened[key]


def known_images(space: Workspace, settings: Settings, split: str, stage: str = "") -> Manifest | None:
    """The manifest as it was made last, without a look at the images; None where there is none as yet."""
    root = root_of(settings, stage)
    path = manifest_path(space, root, split)
    return load_manifest(path, root) if os.path.exists(path) else None


def forget() -> None:
    """Look at the images anew: a new run in the same process begins."""
    _opened.clear()


def training_images(space: Workspace, settings: Settings, stage: str):
    """What the training stages load from: the pack that data.packed names, else the files.

    Raises:
        LussError: the pack was made from other images.
    """
    manifest = split_images(space, settings, "train", stage)
    if not settings.data.packed:
        return manifest
    pack = PackedImages(settings.data.packed)
    if pack.manifest != manifest.fingerprint():
        raise LussError(
            f"{settings.data.packed}: packed from other images than {manifest.folder} holds now ({len(pack.items):,} packed, {len(manifest):,} there): "
            "pack them again, or leave data.packed empty"
        )
    return pack
