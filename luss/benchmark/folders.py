"""Ground-truth files of a split, checks of what was read, and a pool that goes through files in order."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Callable, TypeVar

import numpy as np

from engine.data.folder import MASK_FOLDER
from engine.runtime.errors import LussError

Job = TypeVar("Job")
Result = TypeVar("Result")
CHUNK = 16  # images a worker takes at once: some 50 ms of work
_WORTH_A_POOL = 256  # a second of work; starting a process takes a good part of one


def mask_folder(data_root: str, split: str) -> str:
    """<data_root>/<split>-segmentation."""
    return os.path.join(data_root, split + MASK_FOLDER)


def list_masks(data_root: str, split: str) -> list[str]:
    """Keys "<class>/<stem>.png" of all masks below <data_root>/<split>-segmentation in order; "<stem>.png" where there are no class folders.

    Raises:
        LussError: no such folder, no masks, or a mixture of the two layouts.
    """
    folder = mask_folder(data_root, split)
    expected = f"expected masks as {os.path.join(folder, '<class>', '<stem>.png')}"
    if not os.path.isdir(folder):
        raise LussError(f"{folder}: no such folder; {expected}: without masks the {split} split cannot be scored")
    plain, folders = _pngs_and_folders(folder)
    nested = [f"{name}/{file}" for name in folders for file in _pngs_and_folders(os.path.join(folder, name))[0]]
    if plain and nested:
        raise LussError(f"{folder}: {len(plain)} masks (e.g. {plain[0]}) stand beside class folders of masks; {expected}: move or remove them")
    if not plain and not nested:
        raise LussError(f"{folder}: no PNG in it or in its {len(folders)} folders; {expected}")
    return nested or plain


def check_shapes(pred: np.ndarray, gt: np.ndarray, pred_name: str, gt_name: str) -> None:
    """LussError unless the sizes agree: nothing is ever resized in the evaluation."""
    if pred.shape != gt.shape:
        sizes = [" x ".join(map(str, array.shape[::-1])) for array in (pred, gt)]
        raise LussError(
            f"{pred_name}: {sizes[0]} pixels (width x height), but the mask {gt_name} has {sizes[1]}; "
            "expected predictions at the size of the original image: make them again"
        )


def check_ids(ids: np.ndarray, top: int, name: str, what: str, advice: str) -> None:
    """LussError if one of these distinct ids is above `top`."""
    wrong = ids[ids > top]
    if len(wrong):
        raise LussError(f"{name}: found the {what} id {', '.join(map(str, wrong[:5].tolist()))}; expected 0..{top}: {advice}")


def map_in_order(
    function: Callable[[Job], Result], jobs: Sequence[Job], workers: int | None, progress: Callable[[int, int], object] | None = None
) -> Iterator[Result]:
    """Results of `function` for all jobs in their order, from spawned processes; jobs, results and the function are pickled.

    Args:
        workers: number of processes; 0 = this one; None = all cores where there are enough jobs to pay for starting processes.
        progress: called with (done, total) after each result.

    Raises:
        LussError: what a job raised, or a worker that died.
    """
    if workers is None:
        workers = _cores() if len(jobs) >= _WORTH_A_POOL else 0
    if workers < 0:
        raise ValueError(f"workers={workers}: expected 0 or more")
    if workers == 0:
        yield from _reported(map(function, jobs), len(jobs), progress)
        return
    pool = ProcessPoolExecutor(min(workers, max(1, len(jobs))), mp_context=multiprocessing.get_context("spawn"))
    try:
        yield from _reported(pool.map(function, jobs, chunksize=CHUNK), len(jobs), progress)
    except BrokenProcessPool as error:
        raise LussError(
            f"a worker process of the evaluation died ({error}): most often the machine ran out of memory; use fewer workers, or 0 for none"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _cores() -> int:
    """Cores that this process may use, which in a container are not all of the machine."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _reported(results: Iterator[Result], total: int, progress: Callable[[int, int], object] | None) -> Iterator[Result]:
    for done, result in enumerate(results, 1):
        yield result
        if progress is not None:
            progress(done, total)


def _pngs_and_folders(folder: str) -> tuple[list[str], list[str]]:
    """Sorted names of PNG files and of folders; hidden ones (leading dot) are passed over."""
    files, folders = [], []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir():
                    folders.append(entry.name)
                elif entry.name.endswith(".png"):
                    files.append(entry.name)
    except OSError as error:
        raise LussError(f"{folder}: cannot be listed ({error.strerror}); expected a readable folder of masks") from error
    return sorted(files), sorted(folders)
