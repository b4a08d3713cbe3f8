"""The loop of the training stages: order of batches, preparation, resuming. The stages themselves are in tests/luss/test_pipeline.py."""

import numpy as np
import pytest

from engine.data.loader import Loader
from engine.runtime import jt
from engine.training import loop
from engine.training.larc import LarcSGD
from engine.training.loop import TrainingRun
from tests.engine.data.samples import Numbers


def training(folder, epochs=3, workers=0, **options):
    folder.mkdir(exist_ok=True)
    loader = Loader(Numbers(8), 2, seed=1, workers=workers, shuffle=True, drop_last=True, borrow=True)
    weight = jt.array(np.ones(3, np.float32))
    optimizer = LarcSGD({"w": weight})
    options = {"tensorboard": False, "log_every": 2, **options}
    run = TrainingRun(
        folder, title="t", variables={"w": weight}, optimizer=optimizer, loader=loader, epochs=epochs, schedule=np.full(4 * epochs, 0.1), **options
    )
    return run, loader, weight, optimizer


def steps_of(run, weight, optimizer, events=None, limit=None):
    seen = []
    for step in run.steps():
        if events is not None:
            events.append(("step", step.index))
        seen.append((step.index, step.epoch, step.batch["index"].tolist(), step.inputs))
        loss = (weight * weight).sum()
        optimizer.step(loss, step.lr)
        run.after(step, {"loss": loss})
        if limit == len(seen):
            return seen
    return seen


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("device", [False, True])
def test_every_step_gets_its_batch_whether_or_not_loading_overlaps(tmp_path, monkeypatch, device, workers):
    monkeypatch.setattr(loop, "overlaps", lambda: device)
    events = []

    def prepare(batch):
        events.append(("prepare", batch["index"].tolist()))
        return batch["index"].sum()

    run, loader, weight, optimizer = training(tmp_path, workers=workers, prepare=prepare)
    with loader:
        alone = Loader(Numbers(8), 2, seed=1, workers=0, shuffle=True, drop_last=True)
        expected = [batch["index"].tolist() for epoch in range(3) for batch in alone.epoch(epoch)]
        seen = steps_of(run, weight, optimizer, events)
    assert [(index, epoch) for index, epoch, _, _ in seen] == [(i, i // 4) for i in range(12)]
    assert [indices for _, _, indices, _ in seen] == expected and all(inputs == sum(indices) for _, _, indices, inputs in seen)
    order = [name for name, _ in events]
    assert order == ["prepare", "step"] * 12  # one ahead and never more
    figures = run.figures()
    assert figures["steps"] == 12 and 0 <= figures["data_wait_share"] <= 1 and 0 <= figures["prepare_share"] <= 1
    header, *rows = (tmp_path / "log.csv").read_text().splitlines()
    assert {"data_seconds", "prepare_seconds", "images_per_second"} <= set(header.split(",")) and len(rows) == 6


def test_on_a_device_the_next_batch_is_fetched_before_the_figures_are_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "overlaps", lambda: True)
    events = []
    run, loader, weight, optimizer = training(tmp_path, epochs=1, prepare=lambda batch: events.append("prepare"))

    class Figure(float):
        def __float__(self):
            events.append("figure")
            return 1.0

    for step in run.steps():
        run.after(step, {"loss": Figure()})
    assert events == ["prepare", "prepare", "figure", "prepare", "figure", "prepare", "figure", "figure"]


@pytest.mark.parametrize("device", [False, True])
def test_a_run_stopped_in_an_epoch_goes_on_with_the_next_batch(tmp_path, monkeypatch, device):
    monkeypatch.setattr(loop, "overlaps", lambda: device)
    run, loader, weight, optimizer = training(tmp_path / "whole")
    whole = steps_of(run, weight, optimizer)
    ended = weight.numpy()
    run, loader, weight, optimizer = training(tmp_path / "parts", checkpoint_steps=1)
    first = steps_of(run, weight, optimizer, limit=6)
    run.log.close()
    run, loader, weight, optimizer = training(tmp_path / "parts", checkpoint_steps=1)
    assert run.done == 6
    assert first + steps_of(run, weight, optimizer) == whole and np.array_equal(weight.numpy(), ended)
