"""The images of a split as a run sees them: one manifest, made once, kept where all later commands find it."""

from __future__ import annotations

import os

from engine.data import Manifest, PackedImages, check_manifest, load_manifest, open_manifest
from engine.runtime.errors import LussError
from engine.runtime.processes import barrier, rank
from luss.settings import Settings
from luss.workspace import Workspace

FOLDER = "manifests"
_opened: dict[tuple[str, str, str], Manifest] = {}  # by workspace, root and split: looked at once a process


def root_of(settings: Settings, stage: str = "") -> str:
    """Folder of the data set; stage 1 may have one of its own."""
    return settings.data.pretrain_root if stage == "pretrain" and settings.data.pretrain_root else settings.data.root


def manifest_path(space: Workspace, settings: Settings, split: str, stage: str = "") -> str:
    """<root>/<split>.manifest where `luss data index` has made one, else <workspace>/manifests/<split>.manifest."""
    root = root_of(settings, stage)
    shared = os.path.join(root, f"{split}.manifest")
    name = split if root == settings.data.root else f"{stage}-{split}"
    return shared if os.path.exists(shared) else str(space.path / FOLDER / f"{name}.manifest")


def split_images(space: Workspace, settings: Settings, split: str, stage: str = "") -> Manifest:
    """Manifest of a split: made or brought up to date by the first process, when it is first asked for.

    Raises:
        LussError: no such images; images changed, and the manifest beside them cannot be written.
    """
    root = root_of(settings, stage)
    key = (str(space.path), root, split)
    if key not in _opened:
        path = manifest_path(space, settings, split, stage)
        if rank() == 0:
            _make_current(root, split, path)
        barrier()
        _opened[key] = load_manifest(path, root)
    return _opened[key]


def known_images(space: Workspace, settings: Settings, split: str, stage: str = "") -> Manifest | None:
    """The manifest as it was made last, without a look at the images; None where there is none as yet."""
    root = root_of(settings, stage)
    path = manifest_path(space, settings, split, stage)
    return load_manifest(path, root) if os.path.exists(path) else None


def _make_current(root: str, split: str, path: str) -> None:
    quiet = os.environ.get("LUSS_QUIET") == "1"
    folder = os.path.dirname(path)
    if os.path.exists(path) and not os.access(folder, os.W_OK):
        found = check_manifest(load_manifest(path, root), quiet=quiet)
        if not found.current:
            raise LussError(f"{found}; {folder} is not writable here")
        return
    os.makedirs(folder, exist_ok=True)
    open_manifest(root, split, path, quiet=quiet)


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
        counts = f"{len(pack):,} packed, {len(manifest):,} there"
        remedy = "pack them again, or leave data.packed empty"
        raise LussError(f"{settings.data.packed}: packed from other images than {manifest.folder} holds now ({counts}): {remedy}")
    return pack
