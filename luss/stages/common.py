"""What the stages share: where they work, how they open images, and the rules that follow from the settings."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass

import numpy as np

from engine.data import STD, STD_PUBLISHED, BadImages, ImageFolder, Loader, list_images, normalize
from engine.runtime import LussError, jt
from engine.runtime.processes import rank, world_size
from engine.storage.atomic import write_json
from engine.training.checkpoint import read_checkpoint, section
from luss.settings import Settings
from luss.workspace import StageFolder, Workspace


@dataclass(frozen=True)
class Job:
    """One stage about to run."""

    workspace: Workspace
    settings: Settings
    folder: StageFolder
    untrained: bool = False

    @property
    def path(self):
        return self.folder.path

    def bad_images(self, folder: ImageFolder) -> BadImages:
        return BadImages(len(folder.items), self.settings.data.max_unreadable, str(self.path / "bad_images.csv"))


def say(text: str) -> None:
    if rank() == 0 and os.environ.get("LUSS_QUIET") != "1":
        print(f"luss: {text}", file=sys.stderr, flush=True)


def workers(settings: Settings) -> int:
    return settings.data.workers if settings.data.workers >= 0 else min(8, os.cpu_count() or 1)


def evaluation_workers(settings: Settings) -> int | None:
    """Processes that score label maps; None = as many as pay."""
    return settings.data.workers if settings.data.workers >= 0 else None


def images(settings: Settings, split: str, stage: str = "") -> ImageFolder:
    """Images of a split; stage 1 may have a root of its own."""
    root = settings.data.pretrain_root if stage == "pretrain" and settings.data.pretrain_root else settings.data.root
    return list_images(root, split)


def has_masks(settings: Settings, split: str) -> bool:
    return os.path.isdir(os.path.join(settings.data.root, f"{split}-segmentation"))


def batch_size(total: int, name: str) -> int:
    """Images of this process out of a batch over all processes."""
    if total % world_size():
        raise LussError(f"{name} = {total} does not divide by the {world_size()} processes: choose a multiple")
    return total // world_size()


def training_loader(job: Job, dataset, folder: ImageFolder, batch: int, seed: int, drop_last: bool = True) -> Loader:
    """Shuffled batches of `batch` images of this process, out of the images of `folder` that `dataset` is made of."""
    return Loader(
        dataset,
        batch,
        seed=seed,
        workers=workers(job.settings),
        shuffle=True,
        drop_last=drop_last,
        rank=rank(),
        world_size=world_size(),
        on_bad=job.bad_images(folder).record,
    )


def run_options(settings: Settings) -> dict:
    """What every TrainingRun takes from the settings: checkpoints and log."""
    r = settings.run
    return {
        "checkpoint_minutes": r.checkpoint_minutes,
        "checkpoint_steps": r.checkpoint_steps,
        "keep_every_epochs": r.keep_every_epochs,
        "log_every": r.log_every,
        "tensorboard": r.tensorboard,
    }


def nothing_to_score(job: Job, title: str) -> bool:
    """Whether the evaluation split has no masks; then metrics.json says so."""
    s = job.settings
    split = s.data.evaluation_split
    if has_masks(s, split):
        return False
    say(f"{title}: {s.data.root} has no {split}-segmentation/: there is nothing to score against")
    write_json(str(job.path / "metrics.json"), {"note": f"no masks for {split}"})
    return True


def training_std(settings: Settings) -> tuple:
    """Standard deviation used by stages 1 and 2: the published runs had a typo in its first value."""
    return STD_PUBLISHED if settings.run.published_quirks else STD


def optimizer_kind(settings: Settings) -> str:
    return "sgd" if settings.run.published_quirks else settings.optimizer.kind


def to_crop_major(crops: np.ndarray, std) -> jt.Var:
    """(b, n, s, s, 3) uint8 -> (n b, 3, s, s) normalised: all images of crop 0, then all of crop 1."""
    b, n, s = crops.shape[:3]
    return jt.array(normalize(np.ascontiguousarray(crops.transpose(1, 0, 2, 3, 4)).reshape(n * b, s, s, 3), std))


def stage_weights(job: Job, stage: str) -> dict[str, np.ndarray]:
    """Model arrays of an earlier stage's checkpoint."""
    arrays, _ = read_checkpoint(str(job.workspace.stage(stage).path / "checkpoint.npz"), prefix="model/")
    return section(arrays, "model/")


def whole_images(job: Job, dataset, folder: ImageFolder, size: int, skip=frozenset(), *, share: bool = True):
    """Yield (positions, images (n, h, w, 3) uint8, sizes (n, 2)) in batches of at most `size` of equal shape, for this process's share,
    or with share=False all of them in every process.

    Positions in `skip` are left out. At most eight batches are held at a time.
    """
    s = job.settings
    seen = set(skip)
    todo = [i for i in range(len(folder.items)) if i not in seen]
    subset = Subset(dataset, todo)
    if not todo:
        return
    pending: dict[tuple, list] = {}
    held = 0
    with Loader(
        subset,
        min(size, len(todo)),
        seed=0,
        workers=workers(s),
        shuffle=False,
        drop_last=False,
        rank=rank() if share else 0,
        world_size=world_size() if share else 1,
        collate="list",
        on_bad=job.bad_images(folder).record,
    ) as loader:
        for batch in loader.epoch(0):
            for index, image, original in zip(batch["index"], batch["image"], batch["size"]):
                position = todo[int(index)]
                if position in seen:  # padding to a multiple of the processes repeats some
                    continue
                seen.add(position)
                pending.setdefault(image.shape, []).append((position, image, original))
                held += 1
            for shape in [k for k, v in pending.items() if len(v) >= size or held >= 8 * size]:
                group = pending.pop(shape)
                held -= len(group)
                yield from _pieces(group, size)
        for group in pending.values():
            yield from _pieces(group, size)


def _pieces(group: list, size: int):
    for first in range(0, len(group), size):
        part = group[first : first + size]
        yield [p for p, _, _ in part], np.stack([image for _, image, _ in part]), np.stack([original for _, _, original in part])


class Subset:
    """Some positions of a dataset; picklable."""

    def __init__(self, dataset, positions: list[int]):
        self.dataset, self.positions = dataset, positions

    def __len__(self) -> int:
        return len(self.positions)

    def load(self, epoch: int, index: int) -> dict:
        return self.dataset.load(epoch, self.positions[index])
