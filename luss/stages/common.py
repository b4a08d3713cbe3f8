"""What the stages share: where they work, how they open images, and the rules that follow from the settings."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass

import numpy as np

from engine.data import BadImages, Loader, Manifest, Ragged, Subset, WholeImageDataset, center_cuts, crop_major, whole_cuts
from engine.ops.augment_crops import augment_crops
from engine.ops.crop_labels import crop_labels_host
from engine.ops.crop_output import STD, STD_PUBLISHED
from engine.ops.resize_crops import resize_crops
from engine.runtime import LussError, jt
from engine.runtime.processes import barrier, rank, world_size
from engine.runtime.progress import Progress
from engine.storage.atomic import write_json
from engine.training.checkpoint import read_checkpoint, section
from luss.images import split_images
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

    def bad_images(self, folder: Manifest) -> BadImages:
        """Of this process's share; processes beside the first have lists of their own."""
        name = "bad_images.csv" if rank() == 0 else f"bad_images.{rank()}.csv"
        return BadImages(-(-len(folder.items) // world_size()), self.settings.data.max_unreadable, str(self.path / name))


def say(text: str) -> None:
    if rank() == 0 and os.environ.get("LUSS_QUIET") != "1":
        print(f"luss: {text}", file=sys.stderr, flush=True)


def workers(settings: Settings) -> int:
    return settings.data.workers if settings.data.workers >= 0 else min(8, os.cpu_count() or 1)


def evaluation_workers(settings: Settings) -> int | None:
    """Processes that score label maps; None = as many as pay."""
    return settings.data.workers if settings.data.workers >= 0 else None


def images(job: Job, split: str, stage: str = "") -> Manifest:
    """Manifest of a split; stage 1 may have a root of its own."""
    return split_images(job.workspace, job.settings, split, stage)


def has_masks(settings: Settings, split: str) -> bool:
    return os.path.isdir(os.path.join(settings.data.root, f"{split}-segmentation"))


def batch_size(total: int, name: str) -> int:
    """Images of this process out of a batch over all processes."""
    if total % world_size():
        raise LussError(f"{name} = {total} does not divide by the {world_size()} processes: choose a multiple")
    return total // world_size()


def training_loader(job: Job, dataset, folder: Manifest, batch: int, seed: int, drop_last: bool = True) -> Loader:
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
        borrow=True,
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


class DevicePixels:
    """Decoded images of a batch where the model is, to be cut as often as need be; made before the next batch is asked for."""

    def __init__(self, images: Ragged):
        if jt.flags.use_cuda:
            images = images.compact()
            # Jittor copies the bytes to pinned memory now, and from there to the device on a stream of its own
            self.pixels = jt.array(images.buffer)
        else:
            self.pixels = images.buffer
        self.table = images.table

    def crops(self, plans: np.ndarray, size: int, std=STD) -> jt.Var:
        """Normalised augmented crops (n b, 3, s, s) of plans (b, n), all images of crop 0 first."""
        return augment_crops(self.pixels, self.table, crop_major(plans), size, std=std)

    def whole(self, shorter: int, square: bool) -> jt.Var:
        """Normalised whole images (b, 3, h, w) with their shorter side at `shorter` pixels; of one shape after that."""
        cuts = whole_cuts(self.table["width"], self.table["height"], shorter, square)
        return resize_crops(self.pixels, self.table, cuts, (int(cuts[0]["height"]), int(cuts[0]["width"])))

    def centres(self, resize: int, crop: int, square: bool) -> jt.Var:
        """Normalised central crops (b, 3, crop, crop) of images with their shorter side at `resize` pixels."""
        return resize_crops(self.pixels, self.table, center_cuts(self.table["width"], self.table["height"], resize, crop, square), crop)


def crop_groups(batch: dict, counts, sizes, std) -> list[jt.Var]:
    """One (n b, 3, s, s) Var a resolution, crop-major, of a batch of MultiCropDataset."""
    pixels, groups, first = DevicePixels(batch["image"]), [], 0
    for count, size in zip(counts, sizes):
        groups.append(pixels.crops(batch["crops"][:, first : first + count], size, std))
        first += count
    return groups


def labelled_crops(batch: dict, size: int) -> tuple[jt.Var, np.ndarray]:
    """Normalised crops (b, 3, s, s) and their ids (b, s, s) int32, of a batch of PseudoLabelDataset or AnnotatedDataset."""
    maps = batch["label"]
    ids = crop_labels_host(maps.buffer, maps.table, np.arange(len(maps)), batch["rows"], batch["columns"])
    return DevicePixels(batch["image"]).crops(batch["crops"], size), ids


def stage_weights(job: Job, stage: str) -> dict[str, np.ndarray]:
    """Model arrays of an earlier stage's checkpoint."""
    arrays, _ = read_checkpoint(str(job.workspace.stage(stage).path / "checkpoint.npz"), prefix="model/")
    return section(arrays, "model/")


def map_progress(title: str, count: int, ready: set) -> Progress:
    """Progress over this process's share of `count` images, of which `ready` are done; shown by the first process.

    Every process has to have looked for what is ready before one begins: they share out the rest. So this waits for all of them.
    """
    barrier()
    share = -(-(count - len(ready)) // world_size())
    return Progress(title, len(ready) + share, unit="image", start=len(ready), quiet=rank() != 0 or os.environ.get("LUSS_QUIET") == "1")


def whole_images(job: Job, folder: Manifest, shorter: int, size: int, skip=frozenset(), *, share: bool = True):
    """Yield (positions, normalised images (n, 3, h, w) Var, sizes (n, 2) of the originals) in batches of at most `size` of equal shape, for
    this process's share, or with share=False all of them in every process. The shorter side is brought to `shorter` pixels.

    Positions in `skip` are left out. At most eight batches are held at a time.
    """
    s, quirks = job.settings, job.settings.run.published_quirks
    seen = set(skip)
    todo = [i for i in range(len(folder.items)) if i not in seen]
    if not todo:
        return
    pending: dict[tuple, list] = {}
    held = 0

    def pieces(group: list):
        for first in range(0, len(group), size):
            positions, images, originals = zip(*group[first : first + size])
            yield list(positions), DevicePixels(Ragged.of(images)).whole(shorter, quirks), np.stack(originals)

    with Loader(
        Subset(WholeImageDataset(folder), todo),
        min(size, len(todo)),
        seed=0,
        workers=workers(s),
        shuffle=False,
        drop_last=False,
        rank=rank() if share else 0,
        world_size=world_size() if share else 1,
        on_bad=job.bad_images(folder).record,
    ) as loader:
        for batch in loader.epoch(0):
            shapes = whole_cuts(batch["image"].table["width"], batch["image"].table["height"], shorter, quirks)
            for index, image, original, shape in zip(batch["index"], batch["image"], batch["size"], shapes):
                position = todo[int(index)]
                if position in seen:  # padding to a multiple of the processes repeats some
                    continue
                seen.add(position)
                # a copy: a view would hold the memory of its whole batch
                pending.setdefault((int(shape["height"]), int(shape["width"])), []).append((position, image.copy(), original))
                held += 1
            for shape in [k for k, v in pending.items() if len(v) >= size or held >= 8 * size]:
                group = pending.pop(shape)
                held -= len(group)
                yield from pieces(group)
        for group in pending.values():
            yield from pieces(group)
