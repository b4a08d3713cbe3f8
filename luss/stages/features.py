"""Stage 2.2, first half: one attention-pooled vector of every image, in a feature cache for each split (spec/pass.md 5).

Each process takes every world_size-th image. A killed stage goes on after the last shard of each process.
"""

from __future__ import annotations

import os
import time

import numpy as np

from engine.data import Loader, Manifest, Subset, WholeImageDataset
from engine.features import FeatureCache, FeatureWriter, close_absent, drop_damaged
from engine.features.layout import HEADER_FILE, is_headless
from engine.runtime import LussError, interrupt, jt
from engine.runtime.processes import barrier, rank, world_size
from engine.runtime.progress import Progress
from engine.storage.atomic import write_json
from luss.feature_files import SUMMARY, cache_fingerprint, remedy, splits_of
from luss.models.build import attention_net, load
from luss.models.layers import set_training

from .common import DevicePixels, Job, images, say, stage_weights, workers


def extract(net, x) -> np.ndarray:
    """Normalised (n, 3, s, s) Var -> (n, C4) float32 attention-pooled features, not normalised."""
    with jt.no_grad():
        return net.pool(x).numpy()


def run(job: Job) -> dict:
    net = attention_net(job.settings)
    load(net, stage_weights(job, "attend"), required=("",), source="the checkpoint of stage 2.1")
    set_training(net, False)
    summary = {}
    for split in splits_of(job.settings):
        folder = images(job, split)
        if rank() == 0:
            make_ready(job, split, world_size())
        barrier()
        extract_images(job, lambda x: extract(net, x), net.channels[3], folder, split, rank(), world_size())
        barrier()
        summary[split] = _summary(job, folder, split)
    if rank() == 0:
        write_json(job.path / SUMMARY, summary)
    rows = {split: record["rows"] for split, record in summary.items()}
    say(f"features: {', '.join(f'{n} of {split}' for split, n in rows.items())}, {net.channels[3]} values each")
    return {"rows": rows, "digests": {split: record["digest"] for split, record in summary.items()}}


def make_ready(job: Job, split: str, processes: int) -> None:
    """What one process does while no other writes: drop what is damaged, and finish the parts of processes that are no longer there.

    Raises:
        LussError: the cache has lost its header, or its header is damaged.
    """
    folder, mend = job.path / split, remedy(job.workspace)
    if is_headless(folder):
        raise LussError(f"{folder}: holds shards, but no {HEADER_FILE}: {mend}")
    if (folder / HEADER_FILE).exists():  # a folder without it was left by a kill at the very start: the writers go on in it
        for damage in drop_damaged(folder, thorough=False, remedy=mend) + close_absent(folder, processes, remedy=mend):
            say(f"features: made again: {damage.text}")


def extract_images(job: Job, vectors, dim: int, folder: Manifest, split: str, process: int, processes: int) -> None:
    """Write the vectors of this process's images that no process has written yet.

    Batches are cut from the process's whole share, and one of which an image is missing is computed as a whole: the rounding of a
    vector depends on its batch, and must not depend on when the stage was killed.

    Args:
        vectors: normalised (n, 3, crop, crop) Var -> (n, dim) float32.
    """
    s, c = job.settings, job.settings.features
    made_from = cache_fingerprint(job.folder, split)
    with FeatureWriter(job.path / split, dim, c.dtype, rank=process, fingerprint=made_from, shard_bytes=c.shard_mb << 20) as writer:
        for damage in writer.dropped:
            say(f"features: made again: {damage.text}")
        share = np.arange(process, len(folder.items), processes)
        missing = ~np.isin(share, writer.done_ids())
        batches = [share[first : first + c.batch_size] for first in range(0, len(share), c.batch_size)]
        missing_batches = [missing[first : first + c.batch_size] for first in range(0, len(share), c.batch_size)]
        todo = [int(i) for batch, some in zip(batches, missing_batches) if some.any() for i in batch]
        wanted = set(share[missing].tolist())
        quiet = os.environ.get("LUSS_QUIET") == "1" or process != 0
        with Progress(f"features of {split}", len(share), unit="image", start=len(share) - len(todo), quiet=quiet) as progress:
            committed = time.monotonic()
            for positions, crops in _batches(job, folder, todo):
                fresh = np.array([p in wanted for p in positions], bool)
                writer.append(positions[fresh], vectors(crops)[fresh])
                progress.update(len(positions))
                if interrupt.stop_requested():
                    writer.flush(wait=True)
                    raise interrupt.Interrupted("features stopped; what was written is kept, the same command continues")
                if time.monotonic() - committed > 60 * s.run.checkpoint_minutes:
                    writer.flush()
                    committed = time.monotonic()


def _batches(job: Job, folder: Manifest, todo: list[int]):
    """Yield (positions (n,), normalised crops (n, 3, crop, crop) Var) of the images at `todo`, in order; unreadable ones are left out."""
    s, c = job.settings, job.settings.features
    if not todo:
        return
    dataset = Subset(WholeImageDataset(folder), todo)
    options = {"seed": 0, "shuffle": False, "drop_last": False, "borrow": True, "on_bad": job.bad_images(folder).record}
    where = np.array(todo)
    with Loader(dataset, min(c.batch_size, len(todo)), workers=workers(s), **options) as loader:
        for batch in loader.epoch(0):
            yield where[batch["index"]], DevicePixels(batch["image"]).centres(c.resize, c.crop, s.run.published_quirks)


def _summary(job: Job, folder: Manifest, split: str) -> dict:
    """What a finished cache holds; reads all of it."""
    cache = FeatureCache(job.path / split, fingerprint=cache_fingerprint(job.folder, split), remedy=remedy(job.workspace))
    if not len(cache):
        raise LussError(f"{folder.root}: none of the {len(folder.items)} images of {split} could be read; see {job.path / 'bad_images.csv'}")
    return {"rows": len(cache), "dim": cache.dim, "dtype": cache.header.dtype, "digest": cache.digest()}
