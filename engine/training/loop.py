"""What every training stage shares: resuming in the middle of an epoch, checkpoints, the log, stopping on request.

A stage reads like a page::

    run = TrainingRun(...)
    for step in run.steps():
        figures = one_step(step.batch, step.lr)
        run.after(step, figures)
"""

from __future__ import annotations

import math
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

import numpy as np

from ..data import Loader
from ..runtime import LussError, interrupt, jt
from ..runtime.processes import any_process, barrier, rank
from ..runtime.progress import Progress
from .checkpoint import keep_copy, load_checkpoint, save_checkpoint, section
from .larc import LarcSGD
from .metric_log import MetricLog


@dataclass(frozen=True)
class Step:
    index: int  # steps done before this one
    epoch: int
    lr: float
    batch: dict  # of the loader; what it borrows is valid until `after`
    inputs: object = None  # what `prepare` made of the batch


def overlaps() -> bool:
    """Whether this process is free while a step is computed."""
    return bool(jt.flags.use_cuda)


class TrainingRun:
    """Drives a loader through the epochs of one stage.

    Args:
        folder: the stage's folder; `checkpoint.npz`, `log.csv` and `checkpoints/` go there.
        variables: name -> Var, the whole state of the model (parameters and statistics).
        schedule: (epochs * steps_per_epoch,) learning rates.
        prepare: makes of a batch what the step takes (Vars: crops, on the device). On a GPU it is called for the next batch while the GPU
            computes a step, so that copying and augmenting overlap with it; every Var that it returns is put in motion.
        extra: returns further arrays for the checkpoint (the queue); `restore_extra` takes them back.
        checkpoint_minutes, checkpoint_steps: a checkpoint is written when either has passed, and after each epoch.
        keep_every_epochs: keep a copy of the checkpoint in `checkpoints/` every so many epochs and at the end; 0 = none.
    """

    def __init__(
        self,
        folder: Path,
        *,
        title: str,
        variables: dict,
        optimizer: LarcSGD,
        loader: Loader,
        epochs: int,
        schedule: np.ndarray,
        prepare: Callable[[dict], object] = lambda batch: None,
        extra: Callable[[], dict] = dict,
        restore_extra: Callable[[dict, int], None] = lambda arrays, epoch: None,
        checkpoint_minutes: float = 15.0,
        checkpoint_steps: int = 0,
        keep_every_epochs: int = 25,
        log_every: int = 10,
        tensorboard: bool = True,
    ):
        self.folder, self.title, self.loader, self.epochs, self.schedule = Path(folder), title, loader, epochs, schedule
        self.variables, self.optimizer, self.prepare, self.extra = variables, optimizer, prepare, extra
        self._batches = None
        self._next: tuple[dict, object] | None = None
        self.checkpoint_minutes, self.checkpoint_steps, self.keep_every = checkpoint_minutes, checkpoint_steps, keep_every_epochs
        self.log_every = log_every
        self.steps_per_epoch = loader.steps_per_epoch
        self.total = epochs * self.steps_per_epoch
        self.path = self.folder / "checkpoint.npz"
        self.done = self._resume(restore_extra)
        self.main = rank() == 0
        self.log = MetricLog(str(self.folder), tensorboard=tensorboard, resume_step=self.done) if self.main else None
        self._saved_at, self._saved_step = time.time(), self.done
        self.prepare_seconds = 0.0  # in `prepare`; on a GPU it only puts work in motion
        self.training_seconds = 0.0  # from the first step asked for to the latest one done
        self._began = time.perf_counter()
        self._mark = (time.time(), self.done, loader.data_seconds, 0.0)
        self._progress: Progress | None = None

    def _resume(self, restore_extra) -> int:
        found = load_checkpoint(self.path)
        if found is None:
            return 0
        arrays, state = found
        for name, value in section(arrays, "model/").items():
            self.variables[name].assign(jt.array(value))
        for name, value in section(arrays, "momentum/").items():
            self.optimizer.buffers[name].assign(jt.array(value).stop_grad())
        restore_extra(
            {name: value for name, value in arrays.items() if not name.startswith(("model/", "momentum/"))}, state["step"] // self.steps_per_epoch
        )
        for value in self.optimizer.parameters.values():
            value.start_grad()
        jt.sync_all()
        return int(state["step"])

    def steps(self):
        """Yield the steps that are left; writes the last checkpoint when they are through."""
        quiet = not self.main or os.environ.get("LUSS_QUIET") == "1"
        with Progress(self.title, self.total, start=self.done, quiet=quiet) as self._progress:
            self._batches = self.loader.steps(self.done, self.total)
            self._began = time.perf_counter()
            while self.done < self.total:
                batch, inputs = self._next or self._fetch()
                self._next = None
                yield Step(self.done, self.done // self.steps_per_epoch, float(self.schedule[self.done]), batch, inputs)
            self.save()
        if self.log:
            self.log.close()

    def _fetch(self) -> tuple[dict, object]:
        batch = next(self._batches)
        begin = time.perf_counter()
        inputs = self.prepare(batch)
        for value in inputs if isinstance(inputs, (list, tuple)) else [inputs]:
            if isinstance(value, jt.Var):
                value.sync()  # puts it in motion without waiting for the device
        self.prepare_seconds += time.perf_counter() - begin
        return batch, inputs

    def figures(self) -> dict:
        """Steps in all; and of the steps that this process did, the share of the time (0 to 1) that went into waiting for data and into
        `prepare`: on a CPU that is augmentation, on a GPU waiting overlaps with computing, so that it is the most the GPU can have waited."""
        seconds = max(self.training_seconds, 1e-9)
        return {
            "steps": self.total,
            "data_wait_share": round(self.loader.data_seconds / seconds, 4),
            "prepare_share": round(self.prepare_seconds / seconds, 4),
        }

    def after(self, step: Step, figures: dict) -> None:
        """Finish a step: wait for it, check its figures, log, save a checkpoint when one is due, stop when asked to.

        Raises:
            LussError: a figure is not finite; the last checkpoint stays. Interrupted: a stop was requested; saved.
        """
        # Each step is carried out as a whole. Were the updates left to the next step's graph, a checkpoint between the two would
        # change what Jittor fuses, and with it the rounding: a result would depend on when checkpoints were written.
        jt.sync_all()
        stopping = interrupt.stop_requested()
        if overlaps() and self.done + 1 < self.total and not stopping:
            self._next = self._fetch()  # the device is busy with the step: its figures are waited for below
        values = {name: float(value.item()) if isinstance(value, jt.Var) else float(value) for name, value in figures.items()}
        bad = [name for name, value in values.items() if not math.isfinite(value)]
        if bad:
            terms = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
            raise LussError(
                f"{self.title}: {', '.join(bad)} is not finite at step {step.index} ({terms}); the checkpoint of step {self._saved_step} is kept in "
                f"{self.path}. Usual cures: a smaller optimizer.base_lr, a larger swav.epsilon"
            )
        self.done = step.index + 1
        self.training_seconds = time.perf_counter() - self._began
        self._progress.update(1, **values)
        epoch_ends = self.done % self.steps_per_epoch == 0
        if self.log and (self.done % self.log_every == 0 or self.done == self.total):
            self._write_log(step, values)
        copying = epoch_ends and self.keep_every > 0 and (step.epoch % self.keep_every == 0 or self.done == self.total)
        # epochs of seconds: a checkpoint every five seconds is enough
        saving = stopping or self._due() or copying or (epoch_ends and (self.done == self.total or time.time() - self._saved_at >= 5))
        stopping, saving = any_process(stopping, saving)  # clocks and signals differ between processes, and saving is done together
        if saving:
            self.save()
            if copying and self.main:
                (self.folder / "checkpoints").mkdir(exist_ok=True)
                keep_copy(self.path, self.folder / "checkpoints" / f"epoch-{step.epoch}.npz")
        if stopping:
            raise interrupt.Interrupted(f"{self.title} stopped after step {self.done} of {self.total}; the same command continues it")

    def _due(self) -> bool:
        by_time = time.time() - self._saved_at >= 60 * self.checkpoint_minutes
        return by_time or (self.checkpoint_steps > 0 and self.done - self._saved_step >= self.checkpoint_steps)

    def _write_log(self, step: Step, values: dict) -> None:
        begin, first, data, prepared = self._mark
        now, count = time.time(), max(1, self.done - first)
        images = len(step.batch["index"]) * self.loader.world_size
        seconds, waiting = (now - begin) / count, (self.loader.data_seconds - data) / count
        preparing = (self.prepare_seconds - prepared) / count
        rates = {"lr": step.lr, "seconds": seconds, "data_seconds": waiting, "prepare_seconds": preparing}
        rates["images_per_second"] = images / max(seconds, 1e-9)
        self.log.write(self.done, step.epoch, {**values, **rates})
        self._mark = (now, self.done, self.loader.data_seconds, self.prepare_seconds)

    def save(self) -> None:
        """Write the checkpoint (first process), atomically; others wait."""
        if self.main:
            arrays = {f"model/{name}": value.numpy() for name, value in self.variables.items()}
            arrays.update({f"momentum/{name}": value for name, value in self.optimizer.state().items()})
            arrays.update(self.extra())
            state = {"step": self.done, "epoch": self.done // self.steps_per_epoch, "steps_per_epoch": self.steps_per_epoch}
            save_checkpoint(self.path, arrays=arrays, state=state)
        barrier()
        self._saved_at, self._saved_step = time.time(), self.done
