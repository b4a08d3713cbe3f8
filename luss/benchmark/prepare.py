"""Build the ImageNet-S layout from an ImageNet folder, the published lists and the masks (spec/benchmark.md 1.1 and 1.5).

What is already there and whole is left alone, so that a second run does only what is missing. Files appear whole or not at all. Links are
absolute. Nothing is ever written through a link: folders below the target must be real ones.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from engine.data.folder import MASK_FOLDER
from engine.runtime.errors import LussError
from engine.runtime.progress import Progress
from engine.storage.atomic import atomic_file, flush_file_system, remove_stale_temporaries, write_bytes, write_json
from luss.benchmark.categories import MERGED, category_names
from luss.benchmark.imagenet_source import ImageNetSource
from luss.benchmark.layout import name_problems, scan_layout
from luss.benchmark.lists import ImageNetLists, MappedImage, read_lists
from luss.benchmark.mask_source import MaskSource, open_masks

WITH_ALL_OF_TRAIN = 919  # the set that also gets train-full, a link to ImageNet's 1000 training folders


@dataclass
class Prepared:
    """What a run did, and what it could not do."""

    out: str
    made: Counter = field(default_factory=Counter)  # by what: "train", "validation", "validation-segmentation", ...
    kept: Counter = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)  # one sentence each; none: the set is complete


def prepare(
    imagenet: str,
    lists: str,
    masks: str | None,
    num_classes: int,
    out: str,
    *,
    copy: bool = False,
    published: bool = True,
    check_md5: bool = True,
    quiet: bool = True,
) -> Prepared:
    """Build the set with `num_classes` categories in `out`.

    Args:
        imagenet: folder with train/<wnid>/ and val/, flat or in class folders.
        lists: folder of the published list files, see `read_lists`.
        masks: zip archive of the masks, or a folder of them; None: they are named as missing, unless they are in `out` already.
        copy: copy training images and do not link to them.
        published: hold lists and counts to the published numbers.
        check_md5: hold the archive of masks to the MD5 in its name.
        quiet: no progress on stderr.

    Raises:
        LussError: what can not be begun: folders, lists or archive are absent or wrong, or `out` is in the way. Single images and masks that
            are missing do not stop it: they are counted in the result's `problems`.
    """
    source = ImageNetSource(imagenet)
    content = read_lists(lists, num_classes, published)
    out = os.path.abspath(out)
    _refuse_overlap(out, source)
    wanted = {"train-semi": _mask_keys("train-semi", content.semi), "validation": _mask_keys("validation", content.validation)}
    private = _mask_keys("test", content.test)  # on the benchmark's server; a set of one's own may bring them
    opened = None
    if masks is not None:
        opened = open_masks(masks, [*wanted["train-semi"], *wanted["validation"], *private], num_classes if published else None, check_md5)
        private = [key for key in private if opened.size(key) is not None]
        if private:
            wanted["test"] = private
    work = _Preparation(source, content, Prepared(out), quiet)
    try:
        work.begin()
        work.train(copy)
        for split in ("train-semi", "validation", "test"):
            work.split(split)
        for split, keys in wanted.items():
            work.masks(split, keys, opened)
    finally:
        if opened is not None:
            opened.close()
    flush_file_system(out)
    work.check(num_classes if published else None)
    if not work.done.problems:
        _write_record(work.done, content, published, imagenet, masks)
    return work.done


class _Preparation:
    """The steps; each counts what it made and kept, and adds what it lacked to the problems."""

    def __init__(self, source: ImageNetSource, lists: ImageNetLists, done: Prepared, quiet: bool):
        self.source, self.lists, self.done, self.quiet = source, lists, done, quiet

    def begin(self) -> None:
        os.makedirs(self.done.out, exist_ok=True)
        remove_stale_temporaries(self.done.out)

    def train(self, copy: bool) -> None:
        """A link per category; a real folder where two categories merge, or with `copy`."""
        folder = _real_folder(self.done.out, "train")
        origins = {name: [name] for name in self.lists.categories}
        for merged, target in MERGED.items():
            if target in origins:
                origins[target].append(merged)
        missing = []
        with self._progress("train", len(origins), "category") as progress:
            for name, wnids in origins.items():
                present = [wnid for wnid in wnids if self.source.train_folder(wnid) is not None]
                missing += [wnid for wnid in wnids if wnid not in present]
                target = os.path.join(folder, name)
                if present and (copy or len(wnids) > 1 or _is_real_folder(target)):  # a real one: an earlier run copied, and its files serve
                    self._fill(target, present, copy)
                elif present:
                    self._count("train", _link(self.source.train_folder(name), target))
                progress.update()
        if self.lists.num_classes == WITH_ALL_OF_TRAIN:
            self._count("train-full", _link(self.source.train, os.path.join(self.done.out, "train-full")))
        self._lack(missing, sum(map(len, origins.values())), "training folders", f"not in {self.source.train}")

    def split(self, split: str) -> None:
        """Copies: the annotated training images, or ImageNet's validation images in the folders of their corrected labels."""
        if split == "train-semi":
            images, find, where = self.lists.semi, self.source.train_image, self.source.train
        else:
            images = self.lists.validation if split == "validation" else self.lists.test
            find, where = self.source.validation_image, self.source.validation
        _make_class_folders(self.done.out, [f"{split}/{image.target}" for image in images])
        missing = []
        with self._progress(split, len(images), "image") as progress:
            for image in images:
                path = find(image.source)
                if path is None:
                    missing.append(image.source)
                else:
                    self._count(split, _copy(path, os.path.join(self.done.out, split, *image.target.split("/"))))
                progress.update()
        self._lack(missing, len(images), f"{split} images", f"not in {where}")

    def masks(self, split: str, keys: Sequence[str], source: MaskSource | None) -> None:
        """The masks "<split>-segmentation/<class>/<stem>.png" of these keys."""
        folder = split + MASK_FOLDER
        _make_class_folders(self.done.out, keys)
        missing = []
        with self._progress(folder, len(keys), "mask") as progress:
            for key in keys:
                target = os.path.join(self.done.out, *key.split("/"))
                size, there = None if source is None else source.size(key), _file_size(target)
                if size is None and there is None:
                    missing.append(key)
                elif size in (None, there):  # None: what an earlier run unpacked from elsewhere stays
                    self._count(folder, False)
                else:
                    write_bytes(target, source.read(key), durable=False)
                    self._count(folder, True)
                progress.update()
        self._lack(missing, len(keys), f"{split} masks", f"not in {source.path}" if source is not None else "no --masks were given")

    def check(self, published: int | None) -> None:
        """Hold the finished layout to the published counts, or at least to itself."""
        kinds: dict[str, list[str]] = {}
        for problem in name_problems(scan_layout(self.done.out), published):
            if problem.kind not in ("image without mask", "missing masks folder"):  # named already, as masks that are not in their source
                kinds.setdefault(problem.kind, []).append(str(problem))
        for kind, found in kinds.items():
            self.done.problems.append(f"{kind}: {_first(found, '; ')}")

    def _fill(self, target: str, origins: Iterable[str], copy: bool) -> None:
        """Links to, or copies of, all training images of these categories in one real folder."""
        if os.path.islink(target):
            os.unlink(target)  # of an earlier run; what it leads to is untouched
        os.makedirs(target, exist_ok=True)
        place = _copy if copy else _link
        for origin in origins:
            for name in self.source.train_images(origin):
                self._count("train", place(os.path.join(self.source.train_folder(origin), name), os.path.join(target, name)))

    def _count(self, what: str, made: bool) -> None:
        (self.done.made if made else self.done.kept)[what] += 1

    def _lack(self, missing: Sequence[str], total: int, what: str, reason: str) -> None:
        if missing:
            self.done.problems.append(f"{len(missing):,} of {total:,} {what} are missing ({reason}): {_first(missing)}")

    def _progress(self, title: str, total: int, unit: str) -> Progress:
        return Progress(title, total, unit, quiet=self.quiet)


def _first(found: Sequence[str], separator: str = ", ") -> str:
    """The first three, and how many more there are."""
    return separator.join(found[:3]) + (f"{separator}and {len(found) - 3:,} more" if len(found) > 3 else "")


def _mask_keys(split: str, images: Iterable[MappedImage]) -> list[str]:
    return [f"{split}{MASK_FOLDER}/{os.path.splitext(image.target)[0]}.png" for image in images]


def _refuse_overlap(out: str, source: ImageNetSource) -> None:
    """LussError where the target is ImageNet itself, or inside its images."""
    real = os.path.realpath(out)
    for folder in (source.root, os.path.dirname(source.train)):
        if real == os.path.realpath(folder):
            raise LussError(f"{out}: that is the ImageNet folder itself; expected another folder for the prepared set")
    for folder in (source.train, source.validation):
        if real.startswith(os.path.realpath(folder) + os.sep) or real == os.path.realpath(folder):
            raise LussError(f"{out}: that is inside {folder}; expected a folder of its own for the prepared set")


def _make_class_folders(out: str, keys: Iterable[str]) -> None:
    """The real folders <out>/<split>/<class> of keys "<split>/<class>/<file>"."""
    for split, name in sorted({tuple(key.split("/")[:2]) for key in keys}):
        _real_folder(_real_folder(out, split), name)


def _real_folder(parent: str, name: str) -> str:
    """Make <parent>/<name>; LussError if a link or a file stands there, for writing through a link could change ImageNet."""
    path = os.path.join(parent, name)
    if os.path.islink(path) or (os.path.exists(path) and not os.path.isdir(path)):
        raise LussError(f"{path}: found a link or a file; expected a folder, or nothing: move it away")
    os.makedirs(path, exist_ok=True)
    return path


def _is_real_folder(path: str) -> bool:
    return os.path.isdir(path) and not os.path.islink(path)


def _file_size(path: str) -> int | None:
    """Bytes of a regular file; None for anything else, links included."""
    return os.path.getsize(path) if os.path.isfile(path) and not os.path.islink(path) else None


def _link(origin: str, target: str) -> bool:
    """Absolute link at `target`; False if there was nothing to do. A file or folder that stands there stays: an earlier run copied it."""
    if os.path.islink(target):
        if os.readlink(target) == origin:
            return False
    elif os.path.lexists(target):
        return False
    temporary = f"{target}.tmp-{os.getpid()}"
    if os.path.lexists(temporary):
        os.unlink(temporary)
    os.symlink(origin, temporary)
    try:
        os.replace(temporary, target)  # replaces a link that led elsewhere in one step
    except BaseException:
        os.unlink(temporary)
        raise
    return True


def _copy(origin: str, target: str) -> bool:
    """Copy of a file; False if one of this size is there already."""
    size = os.path.getsize(origin)
    if _file_size(target) == size:
        return False
    with open(origin, "rb") as reading, atomic_file(target, size=size, durable=False) as writing:
        shutil.copyfileobj(reading, writing, 1 << 20)
    return True


def _write_record(done: Prepared, lists: ImageNetLists, published: bool, imagenet: str, masks: str | None) -> None:
    """meta/class_names.txt, which reports read, and meta/prepared.json: from what the set was made."""
    names = category_names()
    folder = _real_folder(done.out, "meta")
    write_bytes(os.path.join(folder, "class_names.txt"), "".join(f"{wnid}\t{names.get(wnid, wnid)}\n" for wnid in lists.categories).encode())
    record = {
        "set": lists.num_classes,
        "published": published,
        "imagenet": os.path.abspath(imagenet),
        "masks": None if masks is None else os.path.abspath(masks),
        "lists": lists.checksums,
        "images": {"train-semi": len(lists.semi), "validation": len(lists.validation), "test": len(lists.test)},
    }
    write_json(os.path.join(folder, "prepared.json"), record)
